"""The published set over the real services, short: that it measures, not what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.milvus import SERVER

from fusion.bundle import Bundle
from loadtest import h2load
from loadtest.bench import credentials, ratios
from loadtest.bench.catalogue import GENRES, clustered, index_synthetic_movies, synthetic_vectors
from loadtest.bench.configurations import LITE, endpoint_of, pids_of, suite_of
from loadtest.bench.growth import DIMENSION, TOP_K, Growth, nearest, queries
from loadtest.bench.published import Effort, Published
from loadtest.clients import LoadError
from loadtest.sampling import sample
from loadtest.scenario import complete, search_space
from loadtest.workload import Workload
from marquee.recommender.v1 import recommender_pb2


@pytest.fixture(autouse=True)
def _h2load() -> None:
    try:
        h2load.find()
    except LoadError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("protected", [False, True], ids=["plain", "secured"])
def test_a_suite_is_started_indexed_and_recommends(
    tiny_bundle: Bundle, tmp_path: Path, protected: bool
) -> None:
    files = credentials.create(tmp_path / "secured") if protected else None
    configuration = replace(LITE, credentials=files)
    with suite_of(
        configuration, bundle=tiny_bundle.path, milvus_uri=str(tmp_path / "lite"), logs=tmp_path
    ) as suite:
        embedder, search = endpoint_of(suite, "EmbedUsers"), endpoint_of(suite, "SearchMovies")
        name = index_synthetic_movies(embedder, search, movies=30)
        assert index_synthetic_movies(embedder, search, movies=30) == name  # it is there, and stays
        suite.wait_until_ready()
        assert search_space(search).dimension == tiny_bundle.manifest.dimension
        message = Workload(users=5, top_k=7).messages("Recommend")[0]
        (reply,) = sample(endpoint_of(suite, "Recommend"), "Recommend", [message])
        answer = recommender_pb2.RecommendResponse.FromString(reply)
        assert len(answer.recommendations) == 7
        assert answer.index == name
        assert set(pids_of(suite)) == {"gateway", "embedder", "search"}

        endpoints = {each: endpoint_of(suite, each) for each in ("EmbedMovies", "SearchMovies")}
        mix = Workload({"EmbedMovies": 0.5, "SearchMovies": 0.5}, users=5, movies=9, batch=2)
        workload = complete(mix, endpoints, embedder)
        assert len(workload.vectors) == 5 * 4 * tiny_bundle.manifest.dimension
        for method, endpoint in endpoints.items():
            assert all(sample(endpoint, method, workload.messages(method)[:4]))


@pytest.mark.slow
def test_the_published_set_gives_every_ratio(tiny_bundle: Bundle, tmp_path: Path) -> None:
    if not SERVER.exists():
        pytest.skip("no Milvus server")
    said: list[str] = []
    run = Published(
        bundle=tiny_bundle.path,
        work=tmp_path,
        milvus_server=SERVER,
        effort=Effort(seconds=0.5, curve=False, everything=True, memory_calls=1000),
        log=said.append,
    )
    results = run.run()
    busy = {"p99_at_70_vs_idle_p50"}  # a busy machine refuses some calls of an open loop
    aimed = {ratio.name for ratio in ratios.RATIOS.values() if ratio.aim}
    assert aimed - busy <= results.ratios.keys(), results.notes
    assert not [each.name for each in results.measurements if each.concurrency and each.failed]
    assert any(line.startswith("recommend: milvus") for line in said)
    assert not [note for note in results.notes if "left out" in note]
    assert {"gateway_resident_mib", "search_mib_per_100k_calls"} <= results.figures.keys()


@pytest.mark.slow
def test_growth_is_measured_from_size_to_size(tmp_path: Path) -> None:
    growth = Growth(
        sizes=[500, 1500] if SERVER.exists() else [],
        lite_sizes=[500, 1500],
        work=tmp_path / "growth",
        milvus_server=SERVER,
        seconds=0.5,
        log=lambda _: None,
    )
    results = growth.run()
    assert results.figures["lite 1,500: recall@10"] == 1.0  # flat, so exact
    assert results.ratios["lite_search_cost_tenfold"] > 0
    if SERVER.exists():
        assert results.figures["milvus 1,500: Milvus MiB"] > 10


def test_made_vectors_are_unit_length_and_the_same_each_time() -> None:
    rows = np.frombuffer(b"".join(synthetic_vectors(1500, 16)), "<f4").reshape(-1, 16)
    assert rows.shape == (1500, 16)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    again = np.frombuffer(b"".join(synthetic_vectors(1500, 16)), "<f4").reshape(-1, 16)
    np.testing.assert_array_equal(rows, again)
    assert len(np.unique(rows, axis=0)) == 1500
    assert GENRES


def test_made_vectors_lie_about_centres() -> None:
    scores = clustered(300, 64, seed=1) @ clustered(300, 64, seed=2).T
    assert scores.max(axis=1).mean() > 0.4  # independent directions would reach 0.35


def test_the_nearest_by_pieces_are_the_nearest_of_all() -> None:
    rows = np.frombuffer(b"".join(synthetic_vectors(2500, DIMENSION)), "<f4").reshape(-1, DIMENSION)
    expected = np.argsort(-(queries() @ rows.T), axis=1)[:, :TOP_K] + 1
    np.testing.assert_array_equal(nearest(queries(), 2500), expected)
