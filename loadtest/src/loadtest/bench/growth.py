"""Measure the search service as the catalogue grows, with synthetic vectors."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtest import h2load, resources
from loadtest.bench import ratios
from loadtest.bench.benchmark import Benchmark, BenchmarkCase
from loadtest.bench.catalogue import clustered, index_synthetic_vectors, synthetic_vectors
from loadtest.bench.configurations import default_environment
from loadtest.load import ClosedLoop
from loadtest.results import Results
from loadtest.sampling import sample
from loadtest.workload import VectorSpace, Workload
from marquee.search.v1 import search_pb2
from suite.milvus_server import milvus_server
from suite.ports import free_ports
from suite.server_process import ServerProcess
from suite.services import SEARCH, SEARCH_SERVICE
from suite.three_services import server_of

DIMENSION = 128
"""Dimension of the published model."""
TOP_K = 10
_QUERIES = 200
_ROWS_PER_CALL = 20
_MIB = 2**20


class Growth:
    """A run over several sizes of the catalogue."""

    def __init__(
        self,
        *,
        sizes: Sequence[int],
        lite_sizes: Sequence[int],
        work: Path,
        milvus_server: Path,
        seconds: float,
        log: Callable[[str], None],
    ) -> None:
        """Prepare a run.

        Args:
            sizes: Movies of each index on the Milvus server, ascending.
            lite_sizes: Movies of each index in Milvus Lite.
            work: Folder for stores and logs; emptied first.
            milvus_server: The `milvus-server` program.
            seconds: Measured seconds of each load.
            log: Called with each line of progress.
        """
        self.results = Results("Marquee: growth of the catalogue")
        self._sizes = sizes
        self._lite_sizes = lite_sizes
        self._work = work
        self._server = milvus_server
        self._benchmark = Benchmark(self.results, seconds, log)

    def run(self) -> Results:
        """Build and measure every size.

        Raises:
            ProcessError: A process did not start.
            LoadError: An index was not built, or a load could not be run.
        """
        h2load.find()
        shutil.rmtree(self._work, ignore_errors=True)
        for size in self._lite_sizes:
            folder = self._work / f"lite-{size}"
            with self._running_search(str(folder)) as search:
                self._measure("lite", size, search, None)
        if self._sizes and self._server.exists():
            with milvus_server(self._server, self._work / "milvus") as store:
                for size in self._sizes:
                    with self._running_search(store.uri) as search:
                        self._measure("milvus", size, search, store.pid)
        elif self._sizes:
            self.results.notes.append(f"no Milvus server at {self._server}")
        self.results.ratios = ratios.compute(self.results)
        return self.results

    def _running_search(self, uri: str) -> AbstractContextManager[ServerProcess]:
        server = server_of(
            SEARCH,
            [f"--milvus-uri={uri}", "--engine=milvus", "--metrics-port=0", "--shutdown-delay-s=0",
             "--milvus-timeout-s=600", "--default-deadline-s=3600"],
            port=free_ports(1)[0],
        )  # fmt: skip
        return server.running(default_environment(), log=self._work / "logs" / "search.log")

    def _measure(
        self, store: str, size: int, search: ServerProcess, milvus_pid: int | None
    ) -> None:
        name = f"{store} {size:,}"
        self._benchmark.log(f"building: {name}")
        before = resources.resident_bytes(milvus_pid) if milvus_pid else 0
        filled = index_synthetic_vectors(
            search.endpoint, f"made_{size}", movies=size, dimension=DIMENSION
        )
        search.wait_until_serving(SEARCH_SERVICE)
        figures = self.results.figures
        figures[f"{name}: write s"] = round(filled.write_seconds, 2)
        figures[f"{name}: activate s"] = round(filled.activation_seconds, 2)
        figures[f"{name}: search MiB"] = round(resources.resident_bytes(search.pid) / _MIB, 1)
        if milvus_pid:
            figures[f"{name}: Milvus MiB"] = round(resources.resident_bytes(milvus_pid) / _MIB, 1)
            figures[f"{name}: Milvus MiB more than before"] = round(
                (resources.resident_bytes(milvus_pid) - before) / _MIB, 1
            )
        figures[f"{name}: recall@{TOP_K}"] = round(recall(search, size), 4)
        workload = Workload(
            {"SearchMovies": 1.0},
            top_k=TOP_K,
            space=VectorSpace(DIMENSION, "made"),
            vectors=queries().tobytes(),
        )
        pids = {"search": search.pid} | ({"milvus": milvus_pid} if milvus_pid else {})
        case = BenchmarkCase(f"search: {name}", search.endpoint, "SearchMovies", workload, pids)
        self._benchmark.drive(case, ClosedLoop(1))
        self._benchmark.saturate(case)


def queries() -> NDArray[np.float32]:
    """Return user vectors, around the same centres as the movies'."""
    return clustered(_QUERIES, DIMENSION, seed=0)


def recall(search: ServerProcess, movies: int) -> float:
    """Return the share of the exact nearest movies that the service returns.

    Raises:
        LoadError: A search failed.
    """
    wanted = nearest(queries(), movies)
    workload = Workload(
        {"SearchMovies": 1.0},
        top_k=TOP_K,
        batch=_ROWS_PER_CALL,
        space=VectorSpace(DIMENSION, "made"),
        vectors=queries().tobytes(),
    )
    messages = workload.messages("SearchMovies")[: _QUERIES // _ROWS_PER_CALL]
    found = [
        {hit.movie.movie_id for hit in row.hits}
        for reply in sample(search.endpoint, "SearchMovies", messages)
        for row in search_pb2.SearchMoviesResponse.FromString(reply).results
    ]
    hits = sum(len(have & set(want)) for have, want in zip(found, wanted.tolist(), strict=True))
    return hits / wanted.size


def nearest(vectors: NDArray[np.float32], movies: int) -> NDArray[np.int64]:
    """Return the ids of the synthetic movies with the largest inner products, by exact search."""
    best_ids = np.zeros((len(vectors), 0), dtype=np.int64)
    best = np.zeros((len(vectors), 0), dtype=np.float32)
    first = 1
    for data in synthetic_vectors(movies, DIMENSION):
        rows = np.frombuffer(data, dtype="<f4").reshape(-1, DIMENSION)
        ids = np.broadcast_to(np.arange(first, first + len(rows)), (len(vectors), len(rows)))
        best = np.concatenate([best, vectors @ rows.T], axis=1)
        best_ids = np.concatenate([best_ids, ids], axis=1)
        keep = np.argsort(-best, axis=1, kind="stable")[:, :TOP_K]
        best = np.take_along_axis(best, keep, axis=1)
        best_ids = np.take_along_axis(best_ids, keep, axis=1)
        first += len(rows)
    return best_ids
