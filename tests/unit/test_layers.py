"""Imports inside a package go one way: a layer imports only the layers below it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RPCKIT = (  # from the lowest layer to the highest, here and below
    "errors",
    "addresses",
    "field_limits",
    "refused_rows",
    "page_token",
    "coalescer",
    "finishing",
    "security",
    "settings",
    "observing",
    "calling",
    "serving",
    "probe",
)
RPCKIT_ENVOY = (
    "request_budget",
    "protocol",
    "active_calls",
    "exchange",
    "health_and_reflection",
    "admin",
    "host",
    "certificates",
    "envoy_config",
    "launch_spec",
    "control_socket",
    "application",
    "supervisor",
)
SEARCH_SERVICE = (
    "index",
    "store",
    "interactions",
    "resident",
    "settings",
    "contract",
    "open_index",
    "__main__",
)
MEMBERS = {
    "rpckit": "libs/rpckit",
    "rpckit_envoy": "libs/rpckit_envoy",
    "search_service": "search_service",
}
LAYERS = [
    ("rpckit", RPCKIT),
    ("rpckit_envoy", RPCKIT_ENVOY),
    ("search_service", SEARCH_SERVICE),
]
SIBLINGS = {("calling", "serving"), ("serving", "calling")}
"""Client and server side: a process may have either without the other."""


def source(package: str) -> Path:
    return ROOT / MEMBERS[package] / "src" / package


def imported_modules(path: Path, package: str) -> Iterator[str]:
    """Yield the modules or sub-packages, right below a package, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                dotted = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names) if module == package:
                dotted = [f"{module}.{alias.name}" for alias in names]
            case ast.ImportFrom(module=str(module)):
                dotted = [module]
            case _:
                continue
        yield from (name.split(".")[1] for name in dotted if name.startswith(f"{package}."))


@pytest.mark.parametrize(("package", "layers"), LAYERS)
def test_a_layer_imports_only_those_below_it(package: str, layers: tuple[str, ...]) -> None:
    wrong = set()
    for path in source(package).rglob("*.py"):
        layer = path.relative_to(source(package)).parts[0].removesuffix(".py")
        if layer == "__init__":
            assert not list(imported_modules(path, package))
            continue
        for imported in imported_modules(path, package):
            above = layers.index(imported) > layers.index(layer)
            if above or (layer, imported) in SIBLINGS:
                wrong.add(f"{path.relative_to(ROOT)} imports {imported}")
    assert not wrong


@pytest.mark.parametrize(("package", "layers"), LAYERS)
def test_the_readme_lists_the_layers_in_their_order(package: str, layers: tuple[str, ...]) -> None:
    readme = (ROOT / MEMBERS[package] / "README.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `(\w+)(?:\.py)?` \|", readme, re.MULTILINE)) == layers
