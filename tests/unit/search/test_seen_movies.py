"""What users have seen, in memory, against a model of it that is obviously right."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import defaultdict
from collections.abc import Collection
from typing import Any, cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from search_service.interactions.seen_movies import SeenMovies
from search_service.interactions.seen_replica import SeenReplica
from search_service.store.interaction_schema import BUCKETS, bucket
from search_service.store.milvus_interactions import MilvusInteractions, Seen

USERS = st.sampled_from([1, 2, 1 + BUCKETS, 2 + BUCKETS, 3])  # of three buckets
MOVIES = st.lists(st.integers(1, 6), min_size=1, max_size=4)
PAIRS = st.lists(st.tuples(USERS, st.integers(1, 6)), max_size=12)
STEPS = st.one_of(
    st.tuples(st.just("add"), USERS, MOVIES),
    st.tuples(st.just("remove"), USERS),
    st.tuples(st.just("replace"), st.frozensets(st.sampled_from([1, 2, 3])), PAIRS),
)


def columns(pairs: Collection[tuple[int, int]]) -> Seen:
    """Return pairs of user and movie as the store returns them."""
    values = np.array([*pairs], np.int64).reshape(-1, 2)
    return values[:, 0], values[:, 1]


@given(st.lists(STEPS, max_size=12))
def test_each_user_has_seen_what_was_added_and_not_removed_or_replaced(
    steps: list[tuple[Any, ...]],
) -> None:
    seen, model = SeenMovies(), defaultdict[int, list[int]](list)
    for step in steps:
        match step:
            case "add", user_id, movie_ids:
                seen.add(user_id, movie_ids)
                model[user_id] += movie_ids
            case "remove", user_id:
                seen.remove(user_id)
                model.pop(user_id, None)
            case "replace", buckets, pairs:
                inside = [pair for pair in pairs if bucket(pair[0]) in buckets]
                seen.replace(buckets, *columns(inside))
                for user_id in [user_id for user_id in model if bucket(user_id) in buckets]:
                    del model[user_id]
                for user_id, movie_id in inside:
                    model[user_id].append(movie_id)
        for user_id in (1, 2, 3, 1 + BUCKETS, 2 + BUCKETS):
            assert seen.of(user_id).tolist() == sorted({*model[user_id]})
            assert seen.count(user_id) == len(model[user_id])
        assert len(seen) == sum(map(len, model.values()))


class Store:
    """A store that two processes write to, and that answers after others had their turn."""

    def __init__(self) -> None:
        self.rows: set[tuple[int, int]] = set()
        self.marks = np.zeros(BUCKETS, np.int64)

    def record(self, user_id: int, movie_ids: Collection[int]) -> None:
        self.rows |= {(user_id, movie_id) for movie_id in movie_ids}
        self.marks[bucket(user_id)] += 1

    def delete(self, user_id: int) -> None:
        self.rows = {row for row in self.rows if row[0] != user_id}
        self.marks[bucket(user_id)] += 1

    async def exists(self) -> bool:
        await asyncio.sleep(0)
        return bool(self.marks.any())

    async def count(self) -> int:
        await asyncio.sleep(0)
        return len(self.rows)

    async def revisions(self) -> NDArray[np.int64]:
        await asyncio.sleep(0)
        marks = self.marks.copy()
        await asyncio.sleep(0)
        return marks

    async def seen_in_buckets(self, buckets: Collection[int]) -> Seen:
        await asyncio.sleep(0)
        found = [row for row in sorted(self.rows) if bucket(row[0]) in {*buckets}]
        await asyncio.sleep(0)
        return columns(found)


WRITES = st.tuples(st.sampled_from(["here", "elsewhere"]), USERS, st.none() | MOVIES)
SCHEDULE = st.lists(st.none() | WRITES, max_size=16)
"""What happens at each turn of the event loop; None: nothing."""


@given(SCHEDULE, SCHEDULE)
def test_however_writes_and_synchronizations_interleave_the_copy_becomes_equal(
    before: list[tuple[str, int, list[int] | None] | None],
    during: list[tuple[str, int, list[int] | None] | None],
) -> None:
    async def run() -> None:
        store = Store()
        replica = SeenReplica(cast(MilvusInteractions, store), limit=1000, shared=True)

        def write(place: str, user_id: int, movie_ids: list[int] | None) -> None:
            if movie_ids is None:
                store.delete(user_id)
            else:
                store.record(user_id, movie_ids)
            if place == "here":
                if movie_ids is None:
                    replica.deleted(user_id)
                else:
                    replica.recorded(user_id, movie_ids)
                known = set(replica.of(user_id).tolist())
                assert known >= set(movie_ids or ())
                assert movie_ids or not known

        for step in before:
            if step is not None:
                write(*step)
        await replica.synchronize()
        pending = [*during]
        while pending:
            synchronization = asyncio.create_task(replica.synchronize())
            while not synchronization.done():
                if pending and (step := pending.pop(0)) is not None:
                    write(*step)
                await asyncio.sleep(0)
            await synchronization
        await replica.synchronize()
        for user_id in (1, 2, 3, 1 + BUCKETS, 2 + BUCKETS):
            stored = sorted(movie_id for user, movie_id in store.rows if user == user_id)
            assert replica.of(user_id).tolist() == stored
        assert replica.usable

    asyncio.run(run())


def test_a_million_interactions_take_less_than_100_mebibytes() -> None:
    rng = np.random.default_rng(1)
    user_ids = rng.integers(1, 6041, 1_000_209)
    movie_ids = rng.integers(1, 3953, 1_000_209)
    tracemalloc.start()
    seen = SeenMovies()
    seen.replace(range(BUCKETS), user_ids, movie_ids)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(seen) == 1_000_209
    assert held < 20 << 20
