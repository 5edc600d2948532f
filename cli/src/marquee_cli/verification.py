"""`marquee verify`: compare recommendations of the services with those of Paddle alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from fusion.bundle import Bundle, BundleError
from fusion.records import User
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from marquee_cli.calls import CallError, connected
from marquee_cli.dataset import read_catalogue
from marquee_cli.errors import CommandError
from marquee_cli.options import Connection
from marquee_cli.parity import compare, random_users, reference_scores
from marquee_cli.recommendation import CALL_SECONDS, user_message
from marquee_cli.terminal import progress_bar
from suite.services import GATEWAY

if TYPE_CHECKING:  # it exists for type checkers only
    from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceAsyncStub

PAGE = 100
IN_FLIGHT = 4
"""Number of concurrent requests."""
UNREADY_SECONDS = 20.0
"""Longest time to retry a page while a service is not ready."""
PAUSE_SECONDS = 0.5
"""Between two attempts."""

Served = list[tuple[int, float]]
"""Movie ids and scores, best first."""


def verify(
    connection: Connection,
    target: str,
    *,
    bundle: Path,
    data: Path,
    users: int,
    depth: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compare the lists of random users and print the result.

    Args:
        connection: TLS and token.
        target: Where the gateway is.
        bundle: The bundle that the embedder serves.
        data: Folder of the catalogue that was indexed.
        users: Number of users.
        depth: Number of movies of each list to compare.
        seed: Seed of the random users.
        as_json: Print JSON.

    Raises:
        CommandError: A list differs, the services serve another model, or a call failed.
    """
    try:
        model = Bundle.load(bundle)
    except BundleError as error:
        raise CommandError(str(error)) from None
    people = random_users(model.encoder.vocabularies.user_id.values, users, seed)
    with progress_bar("calling the gateway", users) as progress:
        served = asyncio.run(
            _served_lists(connection, target, people, depth, model.manifest.version, progress)
        )
    reference = reference_scores(model, read_catalogue(data), people)
    found = [compare(mine, scores, depth) for mine, scores in zip(served, reference, strict=True)]
    largest = max(each.largest_difference for each in found)
    wrong = [
        (user, each.mismatch) for user, each in zip(people, found, strict=True) if each.mismatch
    ]
    if as_json:
        report = {
            "users": users,
            "movies": sum(map(len, served)),
            "model_version": model.manifest.version,
            "different_lists": len(wrong),
            "largest_score_difference": largest,
        }
        print(json.dumps(report, indent=2))
    if wrong:
        user, mismatch = wrong[0]
        raise CommandError(
            f"{len(wrong)} of {users} lists differ; the first, of {user}: {mismatch}"
        )
    if not as_json:
        print(
            f"{users} users, {sum(map(len, served))} movies: the same ids in the same order as "
            f"Paddle alone, scores within {largest:.1e}."
        )


async def _served_lists(
    connection: Connection,
    target: str,
    people: Sequence[User],
    depth: int,
    version: str,
    progress: Callable[[int], None],
) -> list[Served]:
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(user: User) -> Served:
        async with slots:
            served = await _served_list(stub, user, depth, version)
        progress(1)
        return served

    async with connected(connection, GATEWAY, target) as channel:
        stub = RecommenderServiceStub(channel)
        return await asyncio.gather(*map(one, people))


async def _served_list(
    stub: RecommenderServiceAsyncStub, user: User, depth: int, version: str
) -> Served:
    """Return a user's list, page by page."""
    request = pb.RecommendRequest(user=user_message(user), page_size=min(PAGE, depth))
    request.exclude_seen = False  # the bundle alone knows of nothing that was seen
    served: Served = []
    while True:
        page = await _recommend_when_ready(stub, request)
        if page.model_version != version:
            raise CommandError(
                f"the services serve model {page.model_version}, the bundle is {version}"
            )
        served += [(each.movie.movie_id, each.score) for each in page.recommendations]
        request.page_token = page.next_page_token
        if len(served) >= depth or not request.page_token:
            return served[:depth]


async def _recommend_when_ready(
    stub: RecommenderServiceAsyncStub, request: pb.RecommendRequest
) -> pb.RecommendResponse:
    """Return a page; retry while a service is not ready.

    Milvus Lite on a busy machine cannot always keep up with hundreds of pages.
    """
    deadline = time.monotonic() + UNREADY_SECONDS
    while True:
        try:
            return await stub.Recommend(request, timeout=CALL_SECONDS)
        except CallError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
        await asyncio.sleep(PAUSE_SECONDS)
