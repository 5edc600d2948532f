from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.records import Movie
from training.catalogue import read_catalogue, write_catalogue
from training.errors import DataError

MOVIES = [Movie(1, "Misérables, Les", 1995, ("Drama",)), Movie(2)]


def test_a_catalogue_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "movies.jsonl"
    write_catalogue(path, MOVIES)
    assert read_catalogue(path) == MOVIES
    assert "Misérables" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["movies.jsonl"]


@given(title=st.text(max_size=100))
def test_any_title_survives(tmp_path_factory: pytest.TempPathFactory, title: str) -> None:
    path = tmp_path_factory.mktemp("catalogue") / "movies.jsonl"
    movies = [Movie(1, title, None, ("a", "b")), Movie(2, title)]
    write_catalogue(path, movies)
    assert read_catalogue(path) == movies


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "not a JSON object"),
        ('{"movie_id": 1, "stars": 5}', "stars"),
        ('{"movie_id": "1", "genres": []}', "movie_id: '1' is of the wrong type"),
        ('{"movie_id": 0, "genres": []}', "movie_id: 0 is not in 1"),
        ('{"movie_id": 1, "year": 1, "genres": []}', "year: 1 is not in"),
        ('{"movie_id": 1, "genres": "Drama"}', "genres: 'Drama' is of the wrong type"),
        ('{"movie_id": 1, "genres": [1]}', "genres: not all of them are strings"),
        ('{"movie_id": 9, "genres": []}', "movie_id is missing or a duplicate"),
        ('{"genres": []}', "movie_id: None is of the wrong type"),
    ],
)
def test_a_line_that_is_no_movie_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "movies.jsonl"
    path.write_text(f'{{"movie_id": 9, "genres": []}}\n{line}\n')
    with pytest.raises(DataError, match="line 2") as caught:
        read_catalogue(path)
    assert reason in str(caught.value)


def test_a_catalogue_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"movies\.jsonl cannot be read"):
        read_catalogue(tmp_path / "movies.jsonl")
