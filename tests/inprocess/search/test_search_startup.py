"""Starting the search service: what it says when it cannot, and what it finds again when it can."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.fixtures.milvus import wipe
from tests.fixtures.movies import catalogue, spec, unit_vectors
from tests.inprocess.search.conftest import settings
from threadpoolctl import threadpool_info, threadpool_limits

from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import serving
from search_service.__main__ import wire
from search_service.index.query import Query
from search_service.open_index import open_index
from search_service.settings import SearchSettings
from search_service.store.milvus_client import Milvus
from search_service.store.milvus_lite import milvus_lite


def start(*flags: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the service, which is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "search_service", "--port", "0", "--metrics-port", "none", *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )


def said_one_line(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check for one line on stderr, for people, with these words."""
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert all(word in lines[0] for word in words), lines


def test_a_milvus_lite_that_another_process_has_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "milvus.db"
    with milvus_lite(folder):
        ended = start("--milvus-uri", folder)
    assert ended.returncode == 1
    said_one_line(ended, str(folder), "in use by another process")


def test_a_file_in_place_of_the_folder_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "milvus.db"
    path.write_text("not a folder")
    ended = start("--milvus-uri", path)
    assert ended.returncode == 1
    said_one_line(ended, f"cannot open {path}: it is a file", "folder")


def test_a_file_of_milvus_lite_2_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "milvus.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE collections (name TEXT)")
        database.commit()
    before = path.read_bytes()
    ended = start("--milvus-uri", path)
    assert ended.returncode == 1
    said_one_line(ended, f"cannot open {path}", "Milvus Lite 2", "build the index anew")
    assert path.read_bytes() == before


def test_an_address_without_a_scheme_is_refused_and_makes_no_folder(tmp_path: Path) -> None:
    ended = start("--milvus-uri", "localhost:19530", cwd=tmp_path)
    assert ended.returncode == 2
    said_one_line(ended, "--milvus-uri", "http://localhost:19530")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--milvus-uri", "ftp://somewhere"], ["milvus-uri", "http://"]),
        (["--index-type", "ivf"], ["index-type"]),
        (["--milvus-timeout-s", "0"], ["milvus-timeout-s"]),
        (["--hnsw-from", "0"], ["hnsw-from"]),
        (["--engine", "numpy"], ["engine"]),
        (["--resident-limit", "0"], ["resident-limit"]),
        (["--max-batch-rows", "0"], ["max-batch-rows"]),
        (["--no-such-flag"], ["no-such-flag"]),
    ],
)
def test_a_setting_that_is_no_good_is_one_clear_line(flags: list[str], words: list[str]) -> None:
    ended = start(*flags)
    assert ended.returncode == 2
    said_one_line(ended, *words)


def test_the_token_is_not_printed() -> None:
    ended = start("--milvus-token", "root:secret", "--print-config")
    assert ended.returncode == 0
    assert "milvus_token" in ended.stdout
    assert "secret" not in ended.stdout


async def test_what_was_active_is_active_after_a_restart(tmp_path: Path) -> None:
    uri = str(tmp_path / "milvus.db")
    async with open_index(SearchSettings(milvus_uri=uri), Telemetry("test")) as index:
        await index.create(spec())
        await index.upsert(spec(), *catalogue(20))
        await index.activate(spec(), 20)
    async with open_index(SearchSettings(milvus_uri=uri), Telemetry("test")) as index:
        await index.check_active()
        assert await index.resolve("") == spec()
        (hits,) = await index.search(spec(), unit_vectors(1, 1), [Query(100)])
        assert {hit.movie for hit in hits} == set(catalogue(20)[0])


async def test_the_first_activation_over_a_milvus_lite_leaves_no_stack_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = SearchSettings(milvus_uri=str(tmp_path / "milvus.db"))
    async with open_index(chosen, Telemetry("test")) as index:
        await index.create(spec())
        await index.upsert(spec(), *catalogue(20))
        await index.activate(spec(), 20)
    assert not [record.getMessage() for record in caplog.records if record.exc_info]


def test_a_second_milvus_lite_adds_no_second_log_filter(tmp_path: Path) -> None:
    logger = logging.getLogger("grpc._server")
    with milvus_lite(tmp_path / "first.db"):
        once = list(logger.filters)
        with milvus_lite(tmp_path / "second.db"):
            assert logger.filters == once


async def test_blas_has_one_thread_while_an_index_is_open(tmp_path: Path) -> None:
    def threads() -> set[int]:
        return {blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"}

    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        chosen = SearchSettings(milvus_uri=str(tmp_path / "milvus.db"))
        async with open_index(chosen, Telemetry("test")):
            assert threads() == {1}
        assert threads() == before


async def test_ancestor_7_an_index_is_loaded_once_and_not_for_each_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("load", "is_loaded", "spec", "index_type", "collection_names", "search"):
        real = getattr(Milvus, name)

        async def spy(
            self: Milvus, *arguments: object, _name: str = name, _real: object = real
        ) -> object:
            asked.append(_name)
            return await _real(self, *arguments)  # type: ignore[operator]

        monkeypatch.setattr(Milvus, name, spy)
    monkeypatch.setattr("search_service.store.active_index_watcher.POLL_INTERVAL_SECONDS", 3600)
    uri = str(tmp_path / "milvus.db")
    async with open_index(
        SearchSettings(milvus_uri=uri, engine="milvus"), Telemetry("test")
    ) as index:
        await index.create(spec())
        await index.upsert(spec(), *catalogue(20))
        await index.activate(spec(), None)
        assert asked.count("load") == 1
        asked.clear()
        for _ in range(10):
            active = await index.resolve("")
            await index.search(active, unit_vectors(1, 1), [Query(5)])
        assert asked == 10 * ["search"]


async def test_an_index_becomes_a_graph_at_its_activation_when_it_is_large(
    milvus_uri: str, tmp_path: Path
) -> None:
    await wipe(milvus_uri)
    for uri in (milvus_uri, str(tmp_path / "milvus.db")):
        chosen = SearchSettings(milvus_uri=uri, hnsw_from=100, engine="milvus")
        async with open_index(chosen, Telemetry("test")) as index:
            for name, size, engine in (("small", 99, "milvus FLAT"), ("large", 100, "milvus HNSW")):
                made = spec(name)
                await index.create(made)
                await index.upsert(made, *catalogue(size))
                assert (await index.describe(made)).engine == "milvus FLAT"
                assert (await index.activate(made, size)).index.engine == engine
                (hits,) = await index.search(made, unit_vectors(1, 1), [Query(10)])
                assert len(hits) == 10


@pytest.mark.parametrize("engine", ["milvus", "resident"])
async def test_metrics_tell_about_the_active_index_and_its_searches(
    tmp_path: Path, engine: str
) -> None:
    telemetry = Telemetry("search_service")
    chosen = settings(tmp_path / "milvus.db", engine=engine)
    async with open_index(chosen, telemetry) as index:
        await index.create(spec())
        await index.upsert(spec(), *catalogue(20))
        await index.activate(spec(), None)
        await index.search(spec(), unit_vectors(1, 1), [Query(5)])
        value = telemetry.registry.get_sample_value
        assert value("marquee_index_movies") == 20
        assert value("marquee_index_info", {"index": "movies", "model_version": "model-1"}) == 1
        stage = {"stage": f"{engine}_search"}
        assert value("marquee_stage_duration_seconds_count", stage) == 1
        await index.delete_movies(spec(), [catalogue(20)[0][0].movie_id])
        assert value("marquee_index_movies") == 19


async def test_a_started_service_listens(tmp_path: Path) -> None:
    async with serving(settings(tmp_path / "milvus.db"), wire, Telemetry("test")) as server:
        assert server.port > 0
