"""Who may import whom (design.md section 2), read from the source by its syntax tree.

An import inside a function counts as much as one at the top of a module.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor

from marquee.embedder.v1 import embedder_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import index_pb2, search_pb2

ROOT = Path(__file__).parents[2]

SOURCES = {
    "rpckit": "libs/rpckit/src/rpckit",
    "rpckit_envoy": "libs/rpckit_envoy/src/rpckit_envoy",
    "fusion": "libs/fusion/src/fusion",
    "suite": "libs/suite/src/suite",
    "embedder_service": "embedder_service/src/embedder_service",
    "search_service": "search_service/src/search_service",
    "gateway": "gateway/src/gateway",
    "training": "training/src/training",
    "marquee_cli": "cli/src/marquee_cli",
    "loadtest": "loadtest/src/loadtest",
}
"""Where each member's package is; `marquee` is the generated contract."""

MAY_IMPORT = {
    "rpckit": {"marquee"},
    "rpckit_envoy": {"marquee", "rpckit"},
    "fusion": set(),
    "suite": {"marquee", "rpckit"},
    "embedder_service": {"marquee", "rpckit", "fusion"},
    "search_service": {"marquee", "rpckit"},
    "gateway": {"marquee", "rpckit"},
    "training": {"fusion"},
    "marquee_cli": {"marquee", "rpckit", "fusion", "suite", "training", "loadtest"},
    "loadtest": {"marquee", "rpckit", "fusion", "suite"},
}
"""Which members a member may know of; dependencies point one way."""

PINS = {
    "gateway": "gateway.in",
    "search_service": "search.in",
    "embedder_service": "embedder.in",
    "training": "training.in",
    "marquee_cli": "jobs.in",
    "loadtest": "dev.in",
}
"""What a member's environment is compiled from. The libraries have none of their own."""

BRINGS = {
    "grpcio-status": {"googleapis-common-protos"},
    "pydantic-settings": {"pydantic", "pydantic-core"},
}
"""Distributions whose interface consists of another's types, so that declaring one is enough."""

SHARED_NAMESPACES = {
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
    "opentelemetry.exporter": "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry": "opentelemetry-sdk",
}
"""Modules whose top-level package several distributions share."""

MAX_LINES = 400


def modules(package: str) -> list[Path]:
    return sorted((ROOT / SOURCES[package]).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, as a dotted name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from google.rpc import status_pb2` imports google.rpc, whatever the names are
            yield f"{'.' * node.level}{node.module or ''}"


def importers(package: str, *roots: str) -> set[str]:
    """Return the modules of a package that import any of some top-level modules."""
    return {
        path.stem
        for path in modules(package)
        if any(name.partition(".")[0] in roots for name in imports(path))
    }


def requirements(package: str, extras: Collection[str] | None = None) -> list[str]:
    """Return what a member's pyproject requires, with some extras; None is with all of them."""
    pyproject = (ROOT / SOURCES[package]).parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {})
    chosen = optional if extras is None else extras
    return [*project["dependencies"], *chain.from_iterable(optional[extra] for extra in chosen)]


def declared(package: str) -> set[str]:
    """Return the distributions that a member's pyproject names, its extras included."""
    return {normal(line) for line in requirements(package)}


def normal(requirement: str) -> str:
    """Return the canonical name of the distribution that a requirement is about."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()  # reads the metadata of all that is installed, every time


def distribution_of(module: str) -> str:
    """Return the distribution that a third-party module comes from."""
    for prefix, distribution in SHARED_NAMESPACES.items():
        if module.startswith(prefix):
            return distribution
    owners = {normal(owner) for owner in _distributions().get(module.partition(".")[0], ())}
    assert len(owners) == 1, f"{module} comes from {owners or 'nowhere'}"
    return owners.pop()


def pinned(filename: str) -> set[str]:
    """Return the distributions that a requirements file asks for, files it includes too."""
    names: set[str] = set()
    for line in (ROOT / "requirements" / filename).read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            names |= pinned(line.removeprefix("-r ").strip())
        elif line and not line.startswith("#"):
            names.add(normal(line))
    return names


MEMBERS = {
    normal(
        tomllib.loads((ROOT / path).parents[1].joinpath("pyproject.toml").read_text())["project"][
            "name"
        ]
    ): package
    for package, path in SOURCES.items()
}
"""Package of each member, by the name of its distribution."""


@pytest.mark.parametrize("package", SOURCES)
def test_members_import_only_what_lies_below_them(package: str) -> None:
    siblings = {*SOURCES, "marquee"} - {package} - MAY_IMPORT[package]
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in imports(path)
        if name.partition(".")[0] in siblings
    }
    assert not wrong


@pytest.mark.parametrize("package", SOURCES)
def test_imports_are_absolute(package: str) -> None:
    assert not [path for path in modules(package) if any(n.startswith(".") for n in imports(path))]


@pytest.mark.parametrize(
    ("package", "library", "home"),
    [
        ("fusion", "paddle", {"paddle_predictor"}),
        ("embedder_service", "paddle", set()),
        ("marquee_cli", "paddle", set()),
        ("search_service", "paddle", set()),
        ("gateway", "paddle", set()),
        ("rpckit", "paddle", set()),
        ("suite", "paddle", set()),
        ("suite", "pymilvus", set()),
        ("suite", "numpy", set()),
        ("rpckit", "pyvoy", set()),
        ("rpckit_envoy", "pyvoy", {"envoy_config", "supervisor"}),
        ("search_service", "pymilvus", {"milvus_client", "milvus_errors", "milvus_messages"}),
        ("embedder_service", "pymilvus", set()),
        ("gateway", "pymilvus", set()),
        ("marquee_cli", "pymilvus", set()),
        ("loadtest", "paddle", set()),
        ("loadtest", "pymilvus", {"bare"}),
        ("training", "pymilvus", set()),
        ("gateway", "numpy", set()),
        ("rpckit", "numpy", set()),
    ],
)
def test_a_heavy_library_is_imported_in_one_module(
    package: str, library: str, home: set[str]
) -> None:
    assert importers(package, library) <= home


def test_paddle_inference_is_configured_in_one_module() -> None:
    homes = {
        f"{package}.{path.stem}"
        for package in SOURCES
        for path in modules(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "create_predictor"
    }
    assert homes == {"fusion.paddle_predictor"}


def test_fusion_is_read_without_paddle_installed() -> None:
    assert not [
        path
        for path in modules("fusion")
        if any(name.startswith("fusion.paddle_predictor") for name in imports(path))
    ]
    # Its own import is in a function, so that even this module can be imported.
    tree = ast.parse((ROOT / SOURCES["fusion"] / "paddle_predictor.py").read_text(encoding="utf-8"))
    assert not [
        node
        for node in tree.body
        if isinstance(node, ast.Import) and any(each.name == "paddle" for each in node.names)
    ]


@pytest.mark.parametrize(
    "package", ["embedder_service", "search_service", "gateway", "marquee_cli", "fusion", "suite"]
)
def test_the_environment_is_read_in_one_module(package: str) -> None:
    readers = set()
    for path in modules(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}:
                readers.add(path.stem)
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                readers |= {path.stem for a in node.names if a.name in {"environ", "getenv"}}
    assert len(readers) <= 1, readers


@pytest.mark.parametrize("package", SOURCES)
def test_third_party_imports_are_declared(package: str) -> None:
    known = {d for name in declared(package) for d in (name, *BRINGS.get(name, ()))}
    undeclared = {
        f"{path.relative_to(ROOT)} imports {name}, of {distribution_of(name)}"
        for path in modules(package)
        for name in imports(path)
        if (top := name.partition(".")[0]) not in {*sys.stdlib_module_names, *SOURCES, "marquee"}
        and distribution_of(name) not in known
        and top
    }
    assert not undeclared


@pytest.mark.parametrize("package", SOURCES)
def test_imported_members_are_declared(package: str) -> None:
    used = {name.partition(".")[0] for path in modules(package) for name in imports(path)}
    dists = {top: dist for dist, top in MEMBERS.items()} | {"marquee": "marquee-protos"}
    assert {dists[top] for top in used & dists.keys() - {package}} <= declared(package)


@pytest.mark.parametrize("package", PINS)
def test_what_is_declared_is_pinned(package: str) -> None:
    def closure(member: str, extras: Collection[str] = ()) -> set[str]:
        lines = requirements(member, extras)
        below = [
            closure(MEMBERS[normal(line)], re.findall(r"\[([\w,-]+)\]", line))
            for line in lines
            if normal(line) in MEMBERS
        ]
        return {normal(line) for line in lines}.union(*below) - MEMBERS.keys() - {"marquee-protos"}

    assert closure(package) <= pinned(PINS[package])


def test_the_gateway_needs_neither_numpy_nor_paddle_nor_pymilvus() -> None:
    heavy = {"numpy", "paddlepaddle", "pymilvus", "milvus-lite"}
    lock = (ROOT / "requirements/gateway.txt").read_text(encoding="utf-8")
    compiled = {normal(line) for line in lock.splitlines() if re.match(r"[A-Za-z0-9]", line)}
    assert not compiled & heavy
    assert not (declared("gateway") | declared("rpckit")) & heavy


@pytest.mark.parametrize("package", SOURCES)
def test_files_stay_readable_in_length(package: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules(package)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long


@pytest.mark.parametrize(
    ("contract", "rpc"),
    [
        (file, method.full_name)
        for file in (
            embedder_pb2.DESCRIPTOR,
            search_pb2.DESCRIPTOR,
            index_pb2.DESCRIPTOR,
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
