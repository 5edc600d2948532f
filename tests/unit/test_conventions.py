"""What holds for every file of the repository, and for every RPC of the contract."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor
from tests.fixtures.sources import ROOT

from marquee.embedder.v1 import embedder_pb2
from marquee.interactions.v1 import interactions_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import index_pb2, search_pb2

MAX_LINES = 300


def written_files() -> Iterator[Path]:
    """Yield every Python file that people write: of the sources, the tests and the tools."""
    generated = ROOT / "protos/gen"
    for folder in ROOT.iterdir():
        if folder.is_dir() and not folder.name.startswith(".") and folder.name != "build":
            for path in folder.rglob("*.py"):
                if not path.is_relative_to(generated):
                    yield path


def test_files_stay_readable_in_length() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in written_files()
    }
    assert len(lengths) > 100
    assert not {path: lines for path, lines in lengths.items() if lines > MAX_LINES}


@pytest.mark.parametrize(
    ("contract", "rpc"),
    [
        (file, method.full_name)
        for file in (
            embedder_pb2.DESCRIPTOR,
            search_pb2.DESCRIPTOR,
            index_pb2.DESCRIPTOR,
            interactions_pb2.DESCRIPTOR,
            recommender_pb2.DESCRIPTOR,
        )
        for service in file.services_by_name.values()
        for method in service.methods
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_rpc_is_called_by_an_in_process_test(contract: FileDescriptor, rpc: str) -> None:
    name = rpc.rpartition(".")[2]
    called = {
        node.attr
        for path in (ROOT / "tests/inprocess").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert name in called, f"{rpc} of {contract.name} has no test in tests/inprocess"
