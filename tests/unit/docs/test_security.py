from __future__ import annotations

import re
from pathlib import Path

from google.protobuf.descriptor import ServiceDescriptor

from marquee.embedder.v1 import embedder_pb2
from marquee.interactions.v1 import interactions_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import index_pb2, search_pb2
from rpckit.security.tokens import MIN_TOKEN_LENGTH, PERMISSIONS, TokenFile

PAGE = (Path(__file__).parents[3] / "docs/security.md").read_text()
CONTRACT = (embedder_pb2, index_pb2, interactions_pb2, recommender_pb2, search_pb2)


def services() -> list[ServiceDescriptor]:
    return [s for module in CONTRACT for s in module.DESCRIPTOR.services_by_name.values()]


def test_the_table_of_permissions_has_every_method_of_the_contract() -> None:
    rows = dict(re.findall(r"^\| `\w+` \| `(marquee[\w.]+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert {name: re.findall(r"`(\w+)`", methods) for name, methods in rows.items()} == {
        service.full_name: [method.name for method in service.methods] for service in services()
    }
    assert {*re.findall(r"^\| `(\w+)` \| `marquee", PAGE, re.MULTILINE)} == PERMISSIONS


def test_the_example_of_a_token_file_is_one(tmp_path: Path) -> None:
    example = re.search(r"```\n(# caller.+?)```", PAGE, re.DOTALL)
    assert example
    (tmp_path / "tokens").write_text(example[1])
    tokens = TokenFile(tmp_path / "tokens")
    token = example[1].splitlines()[1].split()[-1]
    assert tokens.authorize({"authorization": f"Bearer {token}"}, "read") == "gateway"


def test_the_least_length_of_a_token_is_the_codes() -> None:
    assert f"A token has {MIN_TOKEN_LENGTH} characters or more" in PAGE
