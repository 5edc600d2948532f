"""Compare recommendations of the services with reference scores that Paddle computes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fusion.bundle import Bundle
from fusion.records import GENDERS, MAX_AGE, MIN_AGE, OCCUPATIONS, Movie, User
from training import machine

SCORE_TOLERANCE = 1e-4
"""Largest difference between a score of the services and Paddle's."""
TIE = 1e-5
"""Scores closer than this may swap places: Milvus and numpy add up in different orders."""


def reference_scores(
    bundle: Bundle, catalogue: Sequence[Movie], users: Sequence[User]
) -> list[dict[int, float]]:
    """Return the score of every movie for each user, by movie id.

    Args:
        bundle: The model.
        catalogue: All movies.
        users: Users to score the movies for.
    """
    machine.prepare()
    from training.towers import Towers  # imports Paddle, see `machine`

    towers = Towers(bundle.path, bundle.encoder)
    similarities = towers.users(users) @ towers.movies(catalogue).T
    ids = [movie.movie_id or 0 for movie in catalogue]
    return [
        dict(zip(ids, row, strict=True))
        for row in (similarities * bundle.manifest.score_scale).tolist()
    ]


def random_users(user_ids: Sequence[int], count: int, seed: int) -> list[User]:
    """Return random users, in turn with id only, demographics only, both, some attributes, none.

    Args:
        user_ids: Ids that the model knows.
        count: Number of users.
        seed: Seed of the random choice.
    """
    rng = random.Random(seed)  # noqa: S311 - not for security

    def user(kind: int) -> User:
        user_id, gender = rng.choice(user_ids), rng.choice(GENDERS)
        age, occupation = rng.randint(MIN_AGE, MAX_AGE), rng.randrange(len(OCCUPATIONS))
        match kind:
            case 0:
                return User(user_id=user_id)
            case 1:
                return User(gender=gender, age=age, occupation=occupation)
            case 2:
                return User(user_id=user_id, gender=gender, age=age, occupation=occupation)
            case 3:  # any subset
                return User(
                    user_id=rng.choice([user_id, None]),
                    gender=rng.choice([gender, None]),
                    age=rng.choice([age, None]),
                    occupation=rng.choice([occupation, None]),
                )
            case _:
                return User()

    return [user(number % 5) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of comparing one list with the reference."""

    mismatch: str | None
    """The first difference, or None."""
    largest_difference: float
    """Largest difference between a score and Paddle's."""


def compare(
    served: Sequence[tuple[int, float]], reference: dict[int, float], depth: int
) -> Comparison:
    """Compare a served list with the reference scores of the whole catalogue.

    Args:
        served: Movie ids and scores, best first.
        reference: Score of every movie of the catalogue.
        depth: Number of movies requested.
    """
    if len(served) != min(depth, len(reference)):
        return Comparison(f"{len(served)} movies, not {min(depth, len(reference))}", 0.0)
    unknown = [movie_id for movie_id, _ in served if movie_id not in reference]
    if unknown:
        return Comparison(f"movie {unknown[0]} is not in the catalogue", 0.0)
    if len({movie_id for movie_id, _ in served}) < len(served):
        return Comparison("a movie is in the list twice", 0.0)
    largest = max((abs(score - reference[movie_id]) for movie_id, score in served), default=0.0)
    best = sorted(reference.items(), key=lambda item: (-item[1], item[0]))
    for rank, ((movie_id, score), (wanted, wanted_score)) in enumerate(
        zip(served, best, strict=False), start=1
    ):
        if movie_id != wanted and abs(reference[movie_id] - wanted_score) > TIE:
            return Comparison(f"rank {rank} is movie {movie_id}, not {wanted}", largest)
        if abs(score - reference[movie_id]) > SCORE_TOLERANCE:
            return Comparison(
                f"movie {movie_id} has score {score:.6f}, not {reference[movie_id]:.6f}", largest
            )
    return Comparison(None, largest)
