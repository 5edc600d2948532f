from __future__ import annotations

import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fusion.records import Movie, User
from training.errors import DataError
from training.movielens import load, read_movies, split_title

USERS = b"1::F::1::10::48067\n2::M::32::16::70072\n"
MOVIES = (
    b"1::Toy Story (1995)::Animation|Children's|Comedy\n"
    b"7::Mis\xe9rables, Les (1995)::Drama|Musical\n"
)
RATINGS = b"1::7::5::978300760\n2::1::3::978302109\n2::7::4::0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "users.dat").write_bytes(USERS)
    (tmp_path / "movies.dat").write_bytes(MOVIES)
    (tmp_path / "ratings.dat").write_bytes(RATINGS)
    return tmp_path


def zipped(folder: Path, inside: str = "ml-1m/") -> Path:
    path = folder / "ml-1m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("users.dat", "movies.dat", "ratings.dat"):
            archive.write(folder / name, inside + name)
    return path


def test_users_movies_and_ratings_are_read(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.users == (User(1, "F", 1, 10), User(2, "M", 32, 16))
    assert dataset.movies == (
        Movie(1, "Toy Story", 1995, ("Animation", "Children's", "Comedy")),
        Movie(7, "Misérables, Les", 1995, ("Drama", "Musical")),
    )
    assert dataset.ratings.user.tolist() == [0, 1, 1]
    assert dataset.ratings.movie.tolist() == [1, 0, 1]
    assert dataset.ratings.stars.tolist() == [5, 3, 4]
    assert dataset.ratings.stars.dtype == np.float32
    assert dataset.ratings.timestamp.tolist() == [978300760, 978302109, 0]
    assert dataset.skipped == ()


def test_a_zip_holds_the_same_data_as_its_folder(folder: Path) -> None:
    plain = load(folder)
    for inside in ("", "ml-1m/"):
        packed = load(zipped(folder, inside))
        assert packed.fingerprint == plain.fingerprint
        assert packed.movies == plain.movies
        np.testing.assert_array_equal(packed.ratings.movie, plain.ratings.movie)


def test_other_data_have_another_fingerprint(folder: Path) -> None:
    before = load(folder).fingerprint
    (folder / "ratings.dat").write_bytes(RATINGS.replace(b"::5::", b"::4::"))
    assert load(folder).fingerprint != before


def test_files_in_utf8_and_with_windows_line_ends_are_read(folder: Path) -> None:
    movies = MOVIES.decode("latin-1").replace("\n", "\r\n").encode()
    (folder / "movies.dat").write_bytes(movies)
    (folder / "ratings.dat").write_bytes(RATINGS.replace(b"\n", b"\r\n").rstrip())
    dataset = load(folder)
    assert dataset.movies[1].title == "Misérables, Les"
    assert len(dataset.ratings) == 3


@pytest.mark.parametrize(
    ("file", "line", "reason"),
    [
        (
            "users.dat",
            "3::M::25::1",
            "found 4 fields, expected UserID::Gender::Age::Occupation::Zip-code",
        ),
        ("users.dat", "x::M::25::1::1", "UserID 'x' is not a number"),
        ("users.dat", "3::X::25::1::1", "gender: 'X' is neither 'F' nor 'M'"),
        ("users.dat", "3::M::0::1::1", "age: 0 is not in 1 to 120 years"),
        ("users.dat", "3::M::25::21::1", "occupation: 21 is not in 0 to 20"),
        ("users.dat", "1::M::25::1::1", "the id 1 is a duplicate"),
        ("movies.dat", "9::No genres (1990)", "found 2 fields, expected MovieID::Title::Genres"),
        ("movies.dat", "-9::Title (1990)::Drama", "MovieID '-9' is not a number"),
        ("movies.dat", "0::Title (1990)::Drama", "movie_id: 0 is not in 1 to"),
        ("movies.dat", "9::::Drama", "title: it is empty"),
        ("movies.dat", "", "found 1 fields, expected MovieID::Title::Genres"),
        ("ratings.dat", "1::1::5", "found 3 fields, expected UserID::MovieID::Rating::Timestamp"),
        ("ratings.dat", "1::1::six::978300760", "Rating 'six' is not a number"),
        ("ratings.dat", "1::1::6::978300760", "Rating 6 is not in 1 to 5"),
        ("ratings.dat", "1::1::0::978300760", "Rating 0 is not in 1 to 5"),
        ("ratings.dat", "3::1::5::978300760", "UserID 3 is not in users.dat"),
        ("ratings.dat", "1::2::5::978300760", "MovieID 2 is not in movies.dat"),
        ("ratings.dat", "1::1::5::99999999999999999999", "is not a number"),
    ],
)
def test_a_malformed_line_is_named_or_skipped(
    folder: Path, file: str, line: str, reason: str
) -> None:
    good = load(folder)
    path = folder / file
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first + b"\n" + line.encode() + b"\n" + rest)
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value).startswith(f"{file}, line 2: ")
    assert reason in str(caught.value)

    dataset = load(folder, skip_bad_lines=True)
    assert [(bad.file, bad.number) for bad in dataset.skipped] == [(file, 2)]
    assert reason in dataset.skipped[0].reason
    assert (dataset.users, dataset.movies) == (good.users, good.movies)
    np.testing.assert_array_equal(dataset.ratings.stars, good.ratings.stars)


def test_what_a_skipped_user_rated_is_skipped_too(folder: Path) -> None:
    (folder / "users.dat").write_bytes(USERS.replace(b"2::M::32", b"2::M::321"))
    dataset = load(folder, skip_bad_lines=True)
    assert [str(line) for line in dataset.skipped] == [
        "users.dat, line 2: age: 321 is not in 1 to 120 years",
        "ratings.dat, line 2: UserID 2 is not in users.dat",
        "ratings.dat, line 3: UserID 2 is not in users.dat",
    ]
    assert len(dataset.ratings) == 1


def test_what_cannot_be_read_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere is missing\.$"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="neither a folder nor a readable zip"):
        load(folder / "users.dat")
    packed = zipped(folder)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("copy/users.dat", b"")
    with pytest.raises(DataError, match=r"holds 2 files named users\.dat"):
        load(packed)
    (folder / "ratings.dat").write_bytes(b"")
    with pytest.raises(DataError, match="holds no ratings"):
        load(folder)
    (folder / "movies.dat").unlink()
    with pytest.raises(DataError, match=r"movies\.dat is missing\.$"):
        load(folder)


def test_a_raw_movies_file_is_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "movies_origin.txt"
    path.write_bytes(MOVIES + b"broken\n")
    with pytest.raises(DataError, match=r"movies_origin\.txt, line 3: found 1 fields"):
        read_movies(path)
    movies, skipped = read_movies(path, skip_bad_lines=True)
    assert [movie.movie_id for movie in movies] == [1, 7]
    assert [str(line) for line in skipped] == [
        "movies_origin.txt, line 3: found 1 fields, expected MovieID::Title::Genres"
    ]


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Associate, The (L'Associe)(1982)", "Associate, The (L'Associe)", 1982),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("Seven (Se7en) (1995)", "Seven (Se7en)", 1995),
        ("Untitled", "Untitled", None),
        ("Title (95)", "Title (95)", None),
        ("Title (0000)", "Title (0000)", None),
        ("(1995)", "(1995)", None),
    ],
)
def test_a_title_ends_with_its_year_or_has_none(text: str, title: str, year: int | None) -> None:
    assert split_title(text) == (title, year)


@pytest.mark.movielens
def test_movielens_1m_is_read_whole_in_seconds(movielens: Path) -> None:
    started = time.process_time()
    dataset = load(movielens)
    assert time.process_time() - started < 10
    assert (len(dataset.users), len(dataset.movies)) == (6040, 3883)
    assert len(dataset.ratings) == 1_000_209
    assert np.bincount(dataset.ratings.stars.astype(int)).tolist() == [
        0,
        56_174,
        107_557,
        261_197,
        348_971,
        226_310,
    ]
    assert len(np.unique(dataset.ratings.movie)) == 3706
    assert all(1919 <= (movie.year or 0) <= 2000 for movie in dataset.movies)
    assert all(movie.genres and movie.title.isprintable() for movie in dataset.movies)
    assert len({genre for movie in dataset.movies for genre in movie.genres}) == 18
