"""Declaration of `marquee verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from marquee_cli.options import (
    BUNDLE,
    DATA,
    GATEWAY,
    BundleFolder,
    DataFolder,
    GatewayTarget,
    Json,
    connection_of,
)


def verify(
    context: typer.Context,
    bundle: BundleFolder = BUNDLE,
    data: DataFolder = DATA,
    target: GatewayTarget = GATEWAY,
    users: Annotated[int, typer.Option(min=1, help="Random users to compare.")] = 200,
    depth: Annotated[
        int, typer.Option(min=1, max=1000, help="Movies of each user's list to compare.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the random users.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare recommendations of the services with those of Paddle over the whole catalogue."""
    from marquee_cli.verification import verify

    verify(
        connection_of(context),
        target,
        bundle=bundle,
        data=data,
        users=users,
        depth=depth,
        seed=seed,
        as_json=as_json,
    )
