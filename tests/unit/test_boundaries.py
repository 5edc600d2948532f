"""Who may import whom (design.md section 2), read from the source by its syntax tree.

An import inside a function counts as much as one at the top of a module.
"""

from __future__ import annotations

import ast

import pytest
from tests.fixtures.sources import ROOT, SOURCES, imports, modules

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


def importers(package: str, *roots: str) -> set[str]:
    """Return the modules of a package that import any of some top-level modules."""
    return {
        path.stem
        for path in modules(package)
        if any(name.partition(".")[0] in roots for name in imports(path))
    }


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
        (
            "search_service",
            "pymilvus",
            {
                "milvus_collections",
                "milvus_connection",
                "milvus_errors",
                "milvus_interactions",
                "milvus_messages",
            },
        ),
        ("embedder_service", "pymilvus", set()),
        ("gateway", "pymilvus", set()),
        ("marquee_cli", "pymilvus", set()),
        ("loadtest", "paddle", set()),
        ("loadtest", "pymilvus", {"floors"}),
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
