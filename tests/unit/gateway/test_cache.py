from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import page_token
from gateway.cache import ENTRY_BYTES, AnswerCache, Key
from gateway.canonical import canonical
from gateway.page_token import Page
from gateway.versions import Versions
from marquee.recommender.v1 import recommender_pb2 as pb
from rpckit.observing.telemetry import Telemetry

NOW = Versions("model-1", "index-1")
FIRST = Page(0, None)

genres = st.lists(st.sampled_from(["Action", "Comedy", "Drama", "Film-Noir"]), max_size=5)
movie_ids = st.lists(st.integers(0, 50), max_size=8)
users = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.integers(0, 3),
        "gender": st.integers(0, 3),
        "age": st.integers(0, 3),
        "occupation": st.integers(0, 3),
    },
)
filters = st.fixed_dictionaries(
    {}, optional={"genres": genres, "min_year": st.integers(0, 3), "max_year": st.integers(0, 3)}
)
fields = st.fixed_dictionaries(
    {}, optional={"user": users, "filter": filters, "exclude_movie_ids": movie_ids}
)


def meaning(asked: dict) -> tuple:
    """What a request says, independently of protobuf."""
    wanted = asked.get("filter", {})
    user = {"gender": 0, **asked.get("user", {})}
    return (
        sorted(user.items()),
        sorted(wanted.get("genres", [])),
        wanted.get("min_year"),
        wanted.get("max_year"),
        sorted(asked.get("exclude_movie_ids", [])),
    )


def cache(
    current: Versions | None = NOW,
    size: int = 1 << 20,
    ttl: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
) -> AnswerCache:
    recorder = Telemetry("test").cache("recommend")
    return AnswerCache(lambda: current, size=size, ttl=ttl, recorder=recorder, clock=clock)


def key(user_id: int = 1, page: Page = FIRST, end: int = 10) -> Key:
    request = pb.RecommendRequest(user={"user_id": user_id})
    return Key(canonical(request), page.offset, end, page.list_digest)


@given(fields, fields)
def test_requests_have_the_same_form_when_they_mean_the_same_and_only_then(
    one: dict, two: dict
) -> None:
    forms = [canonical(pb.RecommendRequest(**asked)) for asked in (one, two)]
    assert (forms[0] == forms[1]) == (meaning(one) == meaning(two))


@given(genres, movie_ids, st.randoms(use_true_random=False))
def test_the_order_in_which_genres_and_exclusions_are_named_does_not_count(
    names: list[str], excluded: list[int], order: random.Random
) -> None:
    def form() -> bytes:
        order.shuffle(names)
        order.shuffle(excluded)
        request = pb.RecommendRequest(filter={"genres": names}, exclude_movie_ids=excluded)
        before = request.SerializeToString()
        made = canonical(request)
        assert request.SerializeToString() == before  # the caller's request is as it was
        return made

    assert form() == form()


def test_a_request_with_too_many_of_a_field_does_not_pass_for_one_with_fewer() -> None:
    def form(times: int) -> bytes:
        return canonical(pb.RecommendRequest(exclude_movie_ids=[1] * times))

    assert form(1001) != form(1)


@given(fields, st.randoms(use_true_random=False))
def test_a_page_token_continues_whatever_means_the_same(asked: dict, order: random.Random) -> None:
    digest = page_token.request_digest(canonical(pb.RecommendRequest(**asked)))
    token = page_token.encode(10, digest, b"answer__")
    again = pb.RecommendRequest(user={}, filter={}, page_token=token)
    again.MergeFrom(pb.RecommendRequest(**asked))
    for values in (again.filter.genres, again.exclude_movie_ids):
        shuffled = list(values)
        order.shuffle(shuffled)
        values[:] = shuffled
    assert page_token.decode(token, canonical(again)) == Page(10, b"answer__")


def test_an_answer_is_given_for_its_page_only() -> None:
    kept = cache()
    kept.put(key(), NOW, b"answer")
    assert kept.get(key()) == b"answer"
    assert kept.get(key(end=20)) is None
    assert kept.get(key(user_id=2)) is None
    assert kept.get(key(page=Page(5, b"list----"))) is None
    assert kept.get(key(page=Page(0, b"list----"))) is None


@pytest.mark.parametrize(
    "current", [Versions("model-2", "index-1"), Versions("model-1", "index-2"), None], ids=str
)
def test_an_answer_of_other_versions_is_not_given(current: Versions | None) -> None:
    kept = cache(current=current)
    kept.put(key(), NOW, b"answer")
    assert kept.get(key()) is None


def test_an_answer_that_names_no_version_of_the_index_is_not_kept() -> None:
    unknown = Versions("model-1", "")
    kept = cache(current=unknown)
    kept.put(key(), unknown, b"answer")
    assert kept.get(key()) is None


def test_what_was_not_asked_for_the_longest_time_goes_first() -> None:
    size = ENTRY_BYTES + len(key().request) + 100
    kept = cache(size=3 * size)
    for user_id in (1, 2, 3):
        kept.put(key(user_id), NOW, bytes(100))
    assert kept.get(key(1)) is not None
    kept.put(key(4), NOW, bytes(100))
    assert [kept.get(key(user_id)) is not None for user_id in (1, 2, 3, 4)] == [
        True,
        False,
        True,
        True,
    ]


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 4000)), max_size=60))
def test_no_more_is_kept_than_fits(puts: list[tuple[int, int]]) -> None:
    size = 8000
    kept = cache(size=size)
    for user_id, length in puts:
        kept.put(key(user_id), NOW, bytes(length))
    found = [answer for user_id in range(21) if (answer := kept.get(key(user_id))) is not None]
    assert sum(ENTRY_BYTES + len(answer) for answer in found) <= size


def test_an_answer_that_is_larger_than_the_cache_is_left_out_and_nothing_goes_for_it() -> None:
    kept = cache(size=2000)
    kept.put(key(1), NOW, bytes(100))
    kept.put(key(2), NOW, bytes(2000))
    assert kept.get(key(1)) == bytes(100)
    assert kept.get(key(2)) is None


def test_an_answer_goes_when_its_time_is_over() -> None:
    now = 100.0
    kept = cache(ttl=60, clock=lambda: now)
    kept.put(key(), NOW, b"answer")
    now += 59
    assert kept.get(key()) == b"answer"
    now += 2
    assert kept.get(key()) is None


def test_hits_and_misses_are_counted() -> None:
    telemetry = Telemetry("test")
    recorder = telemetry.cache("recommend")
    kept = AnswerCache(lambda: NOW, size=1 << 20, ttl=60, recorder=recorder)
    kept.get(key())
    kept.put(key(), NOW, b"answer")
    kept.get(key())
    kept.get(key())
    assert (recorder.hits.value, recorder.misses.value) == (2, 1)
