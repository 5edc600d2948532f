from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.workload import (
    VectorSpace,
    Workload,
    WorkloadError,
    draw,
    parse_mix,
    unit_vectors,
)
from marquee.embedder.v1 import embedder_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import search_pb2


def test_a_mix_becomes_shares() -> None:
    assert parse_mix("Recommend:9, EmbedUsers:1") == {"Recommend": 0.9, "EmbedUsers": 0.1}
    assert parse_mix("SearchMovies") == {"SearchMovies": 1.0}


@pytest.mark.parametrize(
    "text", ["", "Nothing", "Recommend:x", "Recommend:0", "Recommend:-1", "Recommend,Recommend",
             "Recommend:inf", "Recommend:nan"],
)  # fmt: skip
def test_a_bad_mix_is_refused(text: str) -> None:
    with pytest.raises(WorkloadError):
        parse_mix(text)


def test_methods_come_in_their_shares() -> None:
    workload = Workload(parse_mix("Recommend:3,EmbedUsers:1"))
    counts = Counter(method for method, _ in islice(workload.choices(seed=0), 20_000))
    assert counts["Recommend"] / 20_000 == pytest.approx(0.75, abs=0.02)


def test_uniform_users_are_all_as_likely() -> None:
    workload = Workload(users=50)
    counts = Counter(which for _, which in islice(workload.choices(seed=0), 50_000))
    assert set(counts) == set(range(50))
    assert max(counts.values()) < 1.25 * min(counts.values())


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_zipfian_users_follow_the_law(exponent: float) -> None:
    sizes = np.full(200_000, 100)
    drawn = draw(np.random.default_rng(0), exponent, sizes)
    weights = np.arange(1, 101) ** -exponent
    expected = weights / weights.sum()
    seen = np.bincount(drawn, minlength=100) / len(drawn)
    np.testing.assert_allclose(seen, expected, atol=0.004)


@given(st.floats(0, 5), st.lists(st.integers(1, 10_000), min_size=1, max_size=20))
def test_what_is_drawn_exists(exponent: float, sizes: list[int]) -> None:
    drawn = draw(np.random.default_rng(1), exponent, np.array(sizes))
    assert (drawn >= 0).all()
    assert (drawn < np.array(sizes)).all()


def test_the_same_seed_gives_the_same_requests_and_another_others() -> None:
    def take(seed: int) -> list[tuple[str, int]]:
        return list(islice(Workload().choices(seed), 100))

    assert take(1) == take(1)
    assert take(1) != take(2)


def test_every_user_of_the_population_has_a_recommend_request() -> None:
    requests = [
        recommender_pb2.RecommendRequest.FromString(each)
        for each in Workload(users=30, top_k=7).messages("Recommend")
    ]
    assert [each.user.user_id for each in requests] == list(range(1, 31))
    assert {each.page_size for each in requests} == {7}
    assert all(each.user.gender and each.user.HasField("age") for each in requests)


def test_batches_hold_as_many_users_as_asked() -> None:
    messages = Workload(users=1000, batch=256).messages("EmbedUsers")
    assert len(messages) == 3
    for each in messages:
        assert len(embedder_pb2.EmbedUsersRequest.FromString(each).users) == 256


def test_a_batch_may_be_larger_than_the_population() -> None:
    (message,) = Workload(users=10, batch=25).messages("EmbedUsers")
    assert len(embedder_pb2.EmbedUsersRequest.FromString(message).users) == 25


def test_searches_carry_random_unit_vectors_of_the_index() -> None:
    workload = Workload({"SearchMovies": 1.0}, batch=2, space=VectorSpace(16, "m1"), top_k=3)
    request = search_pb2.SearchMoviesRequest.FromString(workload.messages("SearchMovies")[5])
    rows = np.frombuffer(request.vectors.data, "<f4").reshape(2, 16)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert request.vectors.model_version == "m1"
    assert [each.top_k for each in request.queries] == [3, 3]


def test_searches_carry_the_embedders_vectors_where_they_are_given() -> None:
    given_rows = unit_vectors(3, 8)
    workload = Workload(
        {"SearchMovies": 1.0}, space=VectorSpace(8, "m1"), vectors=given_rows.tobytes()
    )
    sent = [
        search_pb2.SearchMoviesRequest.FromString(each).vectors.data
        for each in workload.messages("SearchMovies")
    ]
    assert set(sent) == {row.tobytes() for row in given_rows}


def test_searches_without_a_known_index_are_refused() -> None:
    with pytest.raises(WorkloadError, match="dimension"):
        Workload({"SearchMovies": 1.0}).messages("SearchMovies")


@pytest.mark.parametrize("method", ["Recommend", "EmbedUsers", "EmbedMovies", "SearchMovies"])
@pytest.mark.parametrize("batch", [1, 64])
def test_every_message_that_is_chosen_exists(method: str, batch: int) -> None:
    workload = Workload(batch=batch, users=100, movies=100, space=VectorSpace(4, "m"))
    assert workload.size(method) == len(workload.messages(method))
