"""Declaration of `marquee serve`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from marquee_cli.options import (
    BUNDLE,
    CONTEXT_SETTINGS,
    HOST,
    MILVUS,
    PASS_THROUGH,
    BundleFolder,
    Json,
    MilvusUri,
    connection_of,
)
from suite import services

serve = typer.Typer(
    help="Run one service, or all three as children of this process.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@serve.command("embedder", context_settings=PASS_THROUGH)
def serve_embedder(context: typer.Context) -> None:
    """Run the embedder; `marquee serve embedder -h` explains its settings."""
    _become(services.EMBEDDER, context)


@serve.command("search", context_settings=PASS_THROUGH)
def serve_search(context: typer.Context) -> None:
    """Run the search service; `marquee serve search -h` explains its settings."""
    _become(services.SEARCH, context)


@serve.command("gateway", context_settings=PASS_THROUGH)
def serve_gateway(context: typer.Context) -> None:
    """Run the gateway; `marquee serve gateway -h` explains its settings."""
    _become(services.GATEWAY, context)


@serve.command("all", context_settings=CONTEXT_SETTINGS)
def serve_all(
    context: typer.Context,
    bundle: BundleFolder = BUNDLE,
    milvus_uri: MilvusUri = MILVUS,
    host: Annotated[str, typer.Option(help="Address that all three listen on.")] = HOST,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes a free one.")
    ] = services.GATEWAY.port,
    embedder_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the embedder; 0 takes a free one.")
    ] = services.EMBEDDER.port,
    search_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the search service; 0 takes a free one.")
    ] = services.SEARCH.port,
    as_json: Json = False,
) -> None:
    """Run all three services until SIGTERM or SIGINT (Ctrl-C), then stop them.

    Other settings come from the environment; docs/configuration.md lists them. If they give a
    service a certificate, `marquee --tls-ca FILE serve all` needs its authority.
    """
    from marquee_cli.serving import Ports, serve_all

    serve_all(
        host=host,
        ports=Ports(gateway=port, embedder=embedder_port, search=search_port),
        bundle=bundle,
        milvus_uri=milvus_uri,
        connection=connection_of(context),
        as_json=as_json,
    )


def _become(service: services.Service, context: typer.Context) -> None:
    """Replace this process by a service, which gets its signals, output and exit code."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", service.module, *context.args])  # noqa: S606
