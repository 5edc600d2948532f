from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.records import (
    AGE_BUCKETS,
    MAX_AGE,
    MIN_AGE,
    OCCUPATIONS,
    Movie,
    RecordError,
    User,
    age_bucket,
    check_movie,
    check_user,
    occupation_code,
)


def test_ancestor_9_an_age_that_is_no_movielens_code_is_mapped_to_its_bucket() -> None:
    assert age_bucket(32) == 25
    check_user(User(gender="M", age=32, occupation=5))


@pytest.mark.parametrize("code", AGE_BUCKETS)
def test_a_bucket_code_is_a_valid_age_of_its_own_bucket(code: int) -> None:
    assert age_bucket(code) == code


@given(st.integers(MIN_AGE, MAX_AGE))
def test_an_age_falls_into_the_last_bucket_that_starts_at_or_before_it(years: int) -> None:
    assert age_bucket(years) == max(first for first in AGE_BUCKETS if first <= years)


def test_occupations_are_found_by_name_and_by_code() -> None:
    assert len(OCCUPATIONS) == 21
    for code, name in enumerate(OCCUPATIONS):
        assert occupation_code(name) == occupation_code(f" {name.upper()} ") == code
        assert occupation_code(str(code)) == code


@pytest.mark.parametrize("text", ["", "21", "-1", "astronaut"])
def test_what_is_no_occupation_is_refused(text: str) -> None:
    with pytest.raises(RecordError, match="occupation"):
        occupation_code(text)


@pytest.mark.parametrize(
    ("user", "field"),
    [
        (User(user_id=0), "user_id"),
        (User(user_id=2**63), "user_id"),
        (User(gender="X"), "gender"),  # type: ignore[arg-type]
        (User(age=0), "age"),
        (User(age=121), "age"),
        (User(occupation=-1), "occupation"),
        (User(occupation=21), "occupation"),
        (User(liked_movie_ids=(1, 0)), "liked_movie_ids[1]"),
        (User(disliked_movie_ids=(2**63,)), "disliked_movie_ids[0]"),
        (User(liked_movie_ids=tuple(range(1, 502))), "liked_movie_ids"),
        (
            User(liked_movie_ids=(1,) * 250, disliked_movie_ids=(2,) * 251),
            "disliked_movie_ids",
        ),
        (User(liked_movie_ids=(1, 2), disliked_movie_ids=(3, 2)), "disliked_movie_ids"),
    ],
)
def test_a_user_is_refused_by_the_name_of_the_bad_field(user: User, field: str) -> None:
    with pytest.raises(RecordError) as caught:
        check_user(user)
    assert caught.value.field == field
    assert caught.value.row is None


@pytest.mark.parametrize(
    ("movie", "field"),
    [
        (Movie(movie_id=0), "movie_id"),
        (Movie(title="ü" * 257), "title"),
        (Movie(year=1869), "year"),
        (Movie(year=2201), "year"),
        (Movie(genres=("Drama",) * 65), "genres"),
    ],
)
def test_a_movie_is_refused_by_the_name_of_the_bad_field(movie: Movie, field: str) -> None:
    with pytest.raises(RecordError) as caught:
        check_movie(movie)
    assert caught.value.field == field


def test_a_history_may_have_500_movies() -> None:
    ids = tuple(range(1, 501))
    check_user(User(liked_movie_ids=ids[:300], disliked_movie_ids=ids[300:]))


def test_nothing_at_all_is_a_valid_user_and_a_valid_movie() -> None:
    check_user(User())
    check_movie(Movie())
