"""The floors: the same work in one process, without gRPC, one call after another.

`python -m loadtest.bench.floors predictor BUNDLE`, `… search ROWS DIMENSION`, `… milvus URI INDEX`;
each prints one line of JSON. They run in their own processes, so that nothing else runs in them and
the bench itself needs neither Paddle nor pymilvus.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.workload import unit_vectors

SECONDS = 2.0
TOP_K = 10


def predictor(bundle: Path) -> dict[str, float]:
    """Return the median seconds of one user, and users a second in batches of 256 and 512."""
    from fusion.bundle import Bundle
    from fusion.paddle_predictor import TowerPredictor
    from fusion.records import User

    encoder = Bundle.load(bundle).encoder
    tower = TowerPredictor(bundle, "user")

    def run(rows: int) -> Callable[[], Any]:
        users = [
            User(user_id=each, gender="M", age=25, occupation=each % 21)
            for each in range(1, rows + 1)
        ]
        features = encoder.users(users).features
        return lambda: tower.run(features)

    return {
        "predict_one_s": median(run(1)),
        "vectors_per_s_256": 256 / median(run(256)),
        "vectors_per_s_512": 512 / median(run(512)),
    }


def search(rows: int, dimension: int) -> dict[str, float]:
    """Return the median seconds of one exact search in memory."""
    vectors = np.ascontiguousarray(unit_vectors(rows, dimension))
    queries = unit_vectors(64, dimension, seed=1)
    turn = iter(range(1 << 60))

    def once() -> Any:
        scores = vectors @ queries[next(turn) % len(queries)]
        best = np.argpartition(scores, -TOP_K)[-TOP_K:]
        return best[np.argsort(-scores[best])]

    return {"exact_one_s": median(once)}


def milvus(uri: str, index: str) -> dict[str, float]:
    """Return the median seconds of one pymilvus search, and searches a second one at a time."""
    from pymilvus import MilvusClient

    client = MilvusClient(uri=uri)
    fields = client.describe_collection(index)["fields"]
    (dimension,) = (int(each["params"]["dim"]) for each in fields if each["name"] == "vector")
    queries = unit_vectors(64, dimension).tolist()
    turn = iter(range(1 << 60))

    def once() -> Any:
        query = queries[next(turn) % len(queries)]
        return client.search(index, data=[query], limit=TOP_K, output_fields=["id"])

    seconds = times(once)
    return {
        "milvus_one_s": statistics.median(seconds),
        "searches_per_s": len(seconds) / sum(seconds),
    }


def times(call: Callable[[], Any]) -> list[float]:
    """Call repeatedly for a while; return the seconds of each call but the first few."""
    for _ in range(10):
        call()
    taken: list[float] = []
    end = time.perf_counter() + SECONDS
    while (begun := time.perf_counter()) < end:
        call()
        taken.append(time.perf_counter() - begun)
    return taken


def median(call: Callable[[], Any]) -> float:
    """Return the median seconds of a call."""
    return statistics.median(times(call))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one floor; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench.floors", allow_abbrev=False)
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_predictor = kinds.add_parser("predictor")
    of_predictor.add_argument("bundle", type=Path)
    of_search = kinds.add_parser("search")
    of_search.add_argument("rows", type=int)
    of_search.add_argument("dimension", type=int)
    of_milvus = kinds.add_parser("milvus")
    of_milvus.add_argument("uri")
    of_milvus.add_argument("index")
    arguments = vars(parser.parse_args(argv))
    measures: dict[str, Callable[..., dict[str, float]]] = {
        "predictor": predictor,
        "search": search,
        "milvus": milvus,
    }
    measure = measures[arguments.pop("kind")]
    print(json.dumps(measure(**arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
