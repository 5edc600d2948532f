"""Boolean expressions of Milvus, built from numbers only: no text of a caller enters them."""

from __future__ import annotations

from collections.abc import Iterable

from search_service.index.query import Filter
from search_service.index.vector_index import IndexSpec
from search_service.store.collection_schema import ID, YEAR, genre_field


def filter_expression(wanted: Filter, index: IndexSpec) -> str:
    """Return the expression for a filter. Empty: every movie matches.

    Raises:
        InvalidRequestError: The filter names a genre that the index does not have.
    """
    index.check_genres(wanted.genres, "filter.genres")
    terms = []
    if wanted.genres:
        positions = sorted({index.positions[genre] for genre in wanted.genres})
        any_genre = " or ".join(f"{genre_field(position)} == true" for position in positions)
        terms.append(f"({any_genre})")
    if wanted.min_year is not None:
        terms.append(f"{YEAR} >= {wanted.min_year:d}")
    if wanted.max_year is not None:
        terms.append(f"{YEAR} <= {wanted.max_year:d}")
        if wanted.min_year is None:
            terms.append(f"{YEAR} > 0")  # 0 is unknown
    if wanted.movie_ids is not None:
        terms.append(ids_in(sorted(wanted.movie_ids)))
    return " and ".join(terms)


def ids_in(movie_ids: Iterable[int]) -> str:
    """Return the expression for the movies with these ids."""
    return f"{ID} in [{', '.join(f'{movie_id:d}' for movie_id in movie_ids)}]"


def but_not(expression: str, movie_ids: Iterable[int]) -> str:
    """Return the expression for the movies that another one matches, without those of these ids."""
    others = f"not ({ids_in(movie_ids)})"
    return f"{expression} and {others}" if expression else others


def ids_above(movie_id: int) -> str:
    """Return the expression for the movies with a larger id."""
    return f"{ID} > {movie_id:d}"
