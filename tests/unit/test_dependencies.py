"""What a member imports is declared in its pyproject, and what is declared is pinned."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from itertools import chain

import pytest
from tests.fixtures.sources import ROOT, SOURCES, imports, modules

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
