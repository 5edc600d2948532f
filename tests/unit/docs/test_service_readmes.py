"""What the READMEs of the services say is so: commands, settings, requests and files."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.json_format import Parse
from google.protobuf.message_factory import GetMessageClass

from embedder_service.settings import EmbedderSettings
from gateway.settings import GatewaySettings
from marquee.embedder.v1 import embedder_pb2
from marquee.interactions.v1 import interactions_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import index_pb2, search_pb2
from rpckit.settings.loading import describe
from search_service.settings import SearchSettings

ROOT = Path(__file__).parents[3]
SETTINGS = {
    "embedder_service": EmbedderSettings,
    "gateway": GatewaySettings,
    "search_service": SearchSettings,
}
SERVICES = {
    service.full_name: service
    for contract in (embedder_pb2, recommender_pb2, search_pb2, index_pb2, interactions_pb2)
    for service in contract.DESCRIPTOR.services_by_name.values()
}


def page(package: str) -> str:
    return (ROOT / package / "README.md").read_text(encoding="utf-8")


def commands(package: str, program: str) -> Iterator[list[str]]:
    """Yield the words of each command of a program in the blocks that are marked as shell."""
    for block in re.findall(r"^```sh\n(.+?)^```", page(package), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if " ".join(words).startswith(program):
                yield words


SHELL = [
    pytest.param(words, id=" ".join(words))
    for package in SETTINGS
    for program in ("python", "marquee")
    for words in commands(package, program)
]
CALLS = [
    pytest.param(words, id=words[-1])
    for package in SETTINGS
    for words in commands(package, "grpcurl")
]


@pytest.mark.parametrize("package", SETTINGS)
def test_a_readme_has_commands_and_is_read_in_minutes(package: str) -> None:
    programs = (f"python -m {package}", "python -m rpckit.probe", "grpcurl", "marquee bench run")
    assert all(list(commands(package, program)) for program in programs)
    assert len(page(package).splitlines()) < 100


@pytest.mark.parametrize("words", SHELL)
def test_a_command_has_the_options_that_it_is_given(words: list[str]) -> None:
    interpreter = {"python": [sys.executable], "marquee": [sys.executable, "-m", "marquee_cli"]}
    service = words[2] in SETTINGS
    # each reads all options, then says what it would do, or explains itself, and ends
    last = "--print-config" if service else "-h"
    done = subprocess.run(
        [*interpreter[words[0]], *words[1:], last],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", SETTINGS)
def test_every_setting_that_a_readme_names_exists(package: str) -> None:
    known = {setting.flag for setting in describe(SETTINGS[package])} | {"--print-config"}
    text = re.sub(r"^```.+?^```", "", page(package), flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`(--[\w-]+)", text))
    assert named
    assert named <= known


@pytest.mark.parametrize("words", CALLS)
def test_a_call_is_one_that_the_contract_has(words: list[str]) -> None:
    service, _, rpc = words[-1].partition("/")
    method = SERVICES[service].methods_by_name[rpc]
    body = words[words.index("-d") + 1] if "-d" in words else "{}"
    Parse(body, GetMessageClass(method.input_type)())


@pytest.mark.parametrize("package", SETTINGS)
def test_every_file_of_a_service_has_its_line(package: str) -> None:
    listed = re.findall(r"^\| `(\w+\.py)` \| .+ \|$", page(package), re.MULTILINE)
    files = {path.name for path in (ROOT / package / "src" / package).glob("*.py")}
    assert sorted(listed) == sorted(files - {"__init__.py"})
