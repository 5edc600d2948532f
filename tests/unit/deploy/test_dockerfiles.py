from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from deploy.images import build

if TYPE_CHECKING:
    from tests.unit.deploy.conftest import LoadSettings

ROOT = Path(__file__).parents[3]
FILES = {
    "gateway": ROOT / "gateway/Dockerfile",
    "search": ROOT / "search_service/Dockerfile",
    "embedder": ROOT / "embedder_service/Dockerfile",
    "jobs": ROOT / "cli/Dockerfile",
}
SERVICES = ["gateway", "search", "embedder"]
PORTS = {"gateway": (50050, 51050), "embedder": (50051, 51051), "search": (50052, 51052)}
"""Of gRPC and of metrics, as all documents have them."""


def instructions(image: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", FILES[image].read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line)
    ]


def final_stage(image: str) -> list[tuple[str, str]]:
    steps = instructions(image)
    return steps[max(i for i, (word, _) in enumerate(steps) if word == "FROM") :]


def last(image: str, word: str) -> str:
    return next(rest for found, rest in reversed(final_stage(image)) if found == word)


def environment(image: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in shlex.split(last(image, "ENV")))
    return {name: value for name, _, value in pairs}


def dependency_closure(member: Path) -> set[Path]:
    """Return the folders of a member and of all members that it needs."""
    folders = {path.parent for path in ROOT.glob("*/pyproject.toml")}
    folders |= {path.parent for path in ROOT.glob("libs/*/pyproject.toml")}
    projects = {
        folder: tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for folder in folders
    }
    by_name = {project["name"]: folder for folder, project in projects.items()}
    found, todo = set(), {member}
    while todo:
        folder = todo.pop()
        found.add(folder)
        needs = {re.split(r"[^\w-]", line)[0] for line in projects[folder]["dependencies"]}
        todo |= {by_name[name] for name in needs & by_name.keys()} - found
    return found


def test_there_is_no_other_dockerfile() -> None:
    found = set(ROOT.glob("*/Dockerfile")) | set(ROOT.glob("*/*/Dockerfile"))
    assert found == set(FILES.values())


def test_make_images_and_compose_build_the_same_images_from_the_same_files() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    composed = {
        service["image"].partition("/")[2].partition(":")[0]: service["build"]["dockerfile"]
        for service in services.values()
        if "build" in service
    }
    files = {image: str(path.relative_to(ROOT)) for image, path in FILES.items()}
    assert composed == build.IMAGES == files


def test_hadolint_has_no_complaint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, *FILES.values()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shellcheck_has_no_complaint() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    files = [
        path
        for path in ROOT.joinpath("deploy").rglob("*")
        if path.is_file() and path.read_bytes().startswith((b"#!/usr/bin/env bash", b"#!/bin/sh"))
    ]
    assert files
    done = subprocess.run([shellcheck, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("image", FILES)
def test_an_image_runs_as_a_numeric_user_that_is_not_root(image: str) -> None:
    # numeric, because Kubernetes cannot tell of a name that it is not root's
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(image, "USER"))


@pytest.mark.parametrize("image", FILES)
def test_an_image_takes_over_what_was_installed_and_nothing_else(image: str) -> None:
    stages = [rest for word, rest in instructions(image) if word == "FROM"]
    assert stages == ["${PYTHON} AS packages", "packages AS members", "${PYTHON}"]
    copies = [rest for word, rest in final_stage(image) if word in {"COPY", "ADD"}]
    assert copies == [
        "--from=packages /opt/venv /opt/venv",
        "--from=members /opt/members /opt/members",
    ]


@pytest.mark.parametrize("image", FILES)
def test_third_party_packages_come_from_the_hashed_pins_of_the_image(image: str) -> None:
    installs = [
        command
        for word, rest in instructions(image)
        if word == "RUN"
        for command in rest.split("&&")
        if " install " in command and "pip" in command
    ]
    pinned = {f"requirements/{name}.txt" for name in ("build", image)}
    assert {name for c in installs for name in re.findall(r"-r (\S+)", c)} == pinned
    assert all("--require-hashes" in c or "--no-deps --no-index" in c for c in installs)


@pytest.mark.parametrize("image", FILES)
def test_an_image_holds_its_member_and_what_that_needs_and_nothing_else(image: str) -> None:
    members = dependency_closure(FILES[image].parent)
    if image == "jobs":  # the command runs where nothing is trained, too, so it does not ask for it
        members |= dependency_closure(ROOT / "training")
    else:  # a service does not need the other host, but its image has it
        members |= dependency_closure(ROOT / "libs/rpckit_envoy")
    wheels = next(rest for word, rest in instructions(image) if "pip wheel" in rest)
    built = {ROOT / name.removeprefix("./") for name in re.findall(r"\./\S+", wheels)}
    assert built == members


@pytest.mark.parametrize("image", SERVICES)
def test_the_environment_of_an_image_is_understood_by_its_service(
    image: str, load_settings: LoadSettings
) -> None:
    variables = environment(image)
    settings = load_settings(image, {**variables, f"MARQUEE_{image.upper()}_INSECURE": "true"})
    assert (settings.port, settings.metrics_port) == PORTS[image]
    assert (settings.host, settings.metrics_host) == ("0.0.0.0", "0.0.0.0")  # noqa: S104
    assert last(image, "EXPOSE").split() == [str(port) for port in PORTS[image]]


@pytest.mark.parametrize("image", SERVICES)
def test_an_image_does_not_listen_in_the_clear_unless_told_to(
    image: str, load_settings: LoadSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        load_settings(image, environment(image))
    assert "insecure" in capsys.readouterr().err


@pytest.mark.parametrize("image", SERVICES)
def test_an_image_asks_its_own_readiness(image: str, service_names: set[str]) -> None:
    command = json.loads(last(image, "HEALTHCHECK").partition("CMD ")[2])
    assert command[:4] == ["python", "-m", "rpckit.probe", f"127.0.0.1:{PORTS[image][0]}"]
    assert command[4] == "--service"
    assert command[5] in service_names
    assert command[5].split(".")[1] == {"gateway": "recommender"}.get(image, image)
