"""Ratings of a data set as interactions."""

from __future__ import annotations

from collections.abc import Iterator

from marquee.interactions.v1 import interactions_pb2
from training.movielens import Dataset


def interactions(dataset: Dataset) -> Iterator[interactions_pb2.Interaction]:
    """Yield the interaction of each rating, sorted by user."""
    ratings = dataset.ratings
    order = ratings.user.argsort(kind="stable")
    columns = (ratings.user, ratings.movie, ratings.stars, ratings.timestamp)
    rows = zip(*(column[order].tolist() for column in columns), strict=True)
    for user, movie, stars, timestamp in rows:
        interaction = interactions_pb2.Interaction(
            user_id=dataset.users[user].user_id,
            movie_id=dataset.movies[movie].movie_id,
            kind=interactions_pb2.INTERACTION_KIND_RATED,
            rating=stars,
        )
        interaction.time.seconds = timestamp
        yield interaction
