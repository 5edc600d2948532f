from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.e2e.conftest import marquee

MOVIES = "1::Toy Story (1995)::Animation|Comedy\n2::Les Misérables (1995)::Drama\n"


@pytest.fixture
def movies_file(tmp_path: Path) -> Path:
    path = tmp_path / "movies_origin.txt"
    path.write_bytes(MOVIES.encode("latin-1"))
    return path


def test_a_raw_movies_file_alone_becomes_the_catalogue(movies_file: Path, tmp_path: Path) -> None:
    step = marquee("data", "-f", movies_file, "--out", tmp_path)
    assert step.returncode == 0, step.stderr
    lines = (tmp_path / "movies.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["title"] for line in lines] == ["Toy Story", "Les Misérables"]
    assert "2 movies" in step.stdout


def test_a_malformed_line_is_named_with_file_and_number(movies_file: Path, tmp_path: Path) -> None:
    with movies_file.open("a", encoding="latin-1") as file:
        file.write("three::Jumanji (1995)::Adventure\n")
    step = marquee("data", "-f", movies_file, "--out", tmp_path)
    assert step.returncode == 1
    assert step.stderr.startswith("marquee: movies_origin.txt, line 3: ")
    assert step.stderr.count("\n") == 1
    assert not (tmp_path / "movies.jsonl").exists()


def test_bad_lines_are_listed_and_skipped_when_asked(movies_file: Path, tmp_path: Path) -> None:
    with movies_file.open("a", encoding="latin-1") as file:
        file.write("three::Jumanji (1995)::Adventure\n")
    step = marquee("data", "-f", movies_file, "--out", tmp_path, "--skip-bad-lines")
    assert step.returncode == 0, step.stderr
    assert "skipped movies_origin.txt, line 3: " in step.stdout
    assert "2 movies" in step.stdout


def test_data_that_are_not_there_are_said_not_to_be(tmp_path: Path) -> None:
    step = marquee("data", "--from", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert step.returncode == 1
    assert step.stderr.count("\n") == 1
    assert "nowhere" in step.stderr


def test_movielens_dir_is_where_data_are_read_from(tmp_path: Path) -> None:
    step = marquee("data", "--out", tmp_path / "out", MOVIELENS_DIR=str(tmp_path / "elsewhere"))
    assert step.returncode == 1
    assert "elsewhere" in step.stderr


@pytest.mark.parametrize("command", ["index", "train"])
def test_without_data_it_is_said_how_to_get_them(command: str, tmp_path: Path) -> None:
    step = marquee(command, "--data", tmp_path)
    assert step.returncode == 1
    assert "`marquee data`" in step.stderr
    assert step.stderr.count("\n") == 1
