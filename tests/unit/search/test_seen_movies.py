"""What users have seen, in memory, against a model of it that is obviously right."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import defaultdict
from collections.abc import Collection
from typing import Any, cast

import numpy as np
from hypothesis import given, settings
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

    def write(self, user_id: int, movie_ids: Collection[int] | None) -> None:
        """Record movies, or delete the user's data."""
        if movie_ids is None:
            self.rows = {row for row in self.rows if row[0] != user_id}
        else:
            self.rows |= {(user_id, movie_id) for movie_id in movie_ids}
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


PAUSE = st.sampled_from([0, 1, 2, 3, 5, 8, 13])
"""Turns of the event loop."""
WRITES = st.lists(st.tuples(USERS, st.none() | MOVIES, PAUSE, PAUSE), max_size=8)
"""User, the movies that are recorded or None for a deletion, and the pauses before and within."""
Write = tuple[int, list[int] | None, int, int]


async def pause(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


class Process:
    """The process with the replica: it writes to the store, and some turns later to the replica."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.replica = SeenReplica(cast(MilvusInteractions, store), limit=1000, shared=True)
        self.recorded = defaultdict[int, set[int]](set)
        """What it recorded, and nobody has deleted since."""
        self.deleted: set[int] = set()
        """Whose data it deleted, if nobody has recorded anything since."""

    async def write(self, writes: list[Write]) -> None:
        for user_id, movie_ids, before, within in writes:
            await pause(before)
            self.store.write(user_id, movie_ids)
            self.forget(user_id)
            marks = self.store.marks[bucket(user_id)]
            await pause(within)
            if movie_ids is None:
                self.replica.deleted(user_id)
            else:
                self.replica.recorded(user_id, movie_ids)
            self.forget(user_id)
            if marks == self.store.marks[bucket(user_id)]:  # nobody else wrote meanwhile
                self.deleted |= {user_id} if movie_ids is None else set()
                self.recorded[user_id] |= {*(movie_ids or ())}

    async def write_elsewhere(self, writes: list[Write]) -> None:
        for user_id, movie_ids, before, _ in writes:
            await pause(before)
            self.store.write(user_id, movie_ids)
            self.forget(user_id)

    def forget(self, user_id: int) -> None:
        self.deleted.discard(user_id)
        self.recorded.pop(user_id, None)

    def check(self) -> None:
        """Check that the process knows its own writes."""
        for user_id, movie_ids in self.recorded.items():
            assert movie_ids <= {*self.replica.of(user_id).tolist()}
        for user_id in self.deleted:
            assert not len(self.replica.of(user_id))


@settings(max_examples=400)
@given(WRITES, WRITES)
def test_however_writes_and_synchronizations_interleave_the_copy_becomes_equal(
    here: list[Write], elsewhere: list[Write]
) -> None:
    async def run() -> None:
        store = Store()
        process = Process(store)
        writing = asyncio.gather(process.write(here), process.write_elsewhere(elsewhere))
        while not writing.done():
            synchronization = asyncio.create_task(process.replica.synchronize())
            while not synchronization.done():
                await asyncio.sleep(0)
                process.check()
        await writing
        await process.replica.synchronize()
        for user_id in (1, 2, 3, 1 + BUCKETS, 2 + BUCKETS):
            stored = sorted(movie_id for user, movie_id in store.rows if user == user_id)
            assert process.replica.of(user_id).tolist() == stored
        assert process.replica.usable

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


def test_what_was_recorded_elsewhere_and_read_before_a_deletion_here_returned_is_kept() -> None:
    async def run() -> None:
        store = Store()
        replica = SeenReplica(cast(MilvusInteractions, store), limit=1000, shared=True)
        store.write(1, [5])
        await replica.synchronize()
        store.write(1, None)  # here
        store.write(1, [6])  # elsewhere
        await replica.synchronize()
        replica.deleted(1)
        await replica.synchronize()
        assert replica.of(1).tolist() == [6]

    asyncio.run(run())
