"""The built images, run as they are shipped: `make images-test`."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from tests.fixtures.images import Image, mounted, why_not

from marquee.recommender.v1 import recommender_pb2, recommender_pb2_grpc
from marquee.type.v1 import types_pb2
from suite.ports import free_ports

pytestmark = [pytest.mark.images, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
SERVICES = ["embedder", "search", "gateway"]
NAMES = {name: f"localhost/marquee/{name}:dev" for name in [*SERVICES, "jobs"]}
FORBIDDEN = {
    "gateway": {"paddle", "numpy", "pymilvus", "milvus_lite", "training", "fusion", "pip"},
    "search": {"paddle", "training", "fusion", "pip"},
    "embedder": {"pymilvus", "milvus_lite", "training", "matplotlib", "pip"},
    "jobs": {"pymilvus", "milvus_lite", "pip"},
}
"""Packages that an image must not hold."""
COMPILERS = {"gcc", "g++", "cc", "c++", "clang", "ld", "as", "make", "cmake", "rustc", "go"}
READY_SECONDS = 90


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, Image]]:
    if reason := why_not(list(NAMES.values())):
        pytest.skip(reason)
    with ExitStack() as stack:
        yield {name: stack.enter_context(mounted(full)) for name, full in NAMES.items()}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return loaded


@pytest.mark.parametrize("name", NAMES)
def test_an_image_holds_no_package_that_it_has_no_use_for(
    name: str, images: dict[str, Image]
) -> None:
    (site,) = images[name].root.glob("opt/venv/lib/python3*/site-packages")
    members = images[name].root / "opt/members"
    assert not FORBIDDEN[name] & {path.name for at in (site, members) for path in at.iterdir()}
    for module in FORBIDDEN[name]:
        done = images[name].run("-c", f"import {module}", entrypoint=["python"])
        assert f"No module named '{module}'" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_image_holds_no_compiler(name: str, images: dict[str, Image]) -> None:
    folders = ("opt/members/bin", "opt/venv/bin", "usr/local/bin", "usr/bin", "bin", "usr/sbin")
    root = images[name].root
    programs = {path.name for folder in folders for path in root.joinpath(folder).glob("*")}
    assert "python" in programs
    assert not COMPILERS & programs


@pytest.mark.parametrize("name", NAMES)
def test_a_process_is_nobody_and_writes_nowhere_but_to_tmp(
    name: str, images: dict[str, Image]
) -> None:
    code = """
import os, pathlib
print(os.getuid(), os.getgid())
status = pathlib.Path("/proc/self/status").read_text()
print(*sorted({line.split()[1] for line in status.splitlines() if line.startswith("Cap")}))
print(next(line for line in status.splitlines() if line.startswith("NoNewPrivs")).split()[1])
for place in ("/tmp", "/", "/opt/venv", "/opt/members", "/var/tmp", "/root", "/home"):
    try:
        (pathlib.Path(place) / "probe").write_text("x")
        print("wrote to", place)
    except OSError:
        pass
"""
    done = images[name].run("-c", code, entrypoint=["python"])
    assert done.stdout.splitlines() == ["65532 65532", "0000000000000000", "1", "wrote to /tmp"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_prints_its_settings(name: str, images: dict[str, Image]) -> None:
    done = images[name].run("--print-config", "--insecure")
    assert done.returncode == 0, done.stderr
    assert '"0.0.0.0"' in done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_does_not_listen_in_the_clear_by_itself(
    name: str, images: dict[str, Image]
) -> None:
    done = images[name].run()
    assert done.returncode == 2
    assert "insecure" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def data(
    images: dict[str, Image], compose: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A volume on which the training job of docker-compose.yml left its bundle."""
    folder = tmp_path_factory.mktemp("data")
    shutil.chown(folder, 65532, 65532)
    script = with_values(
        compose["train"]["command"][0],
        MARQUEE_DATA_OPTIONS="--synthetic",
        MARQUEE_TRAIN_OPTIONS="--epochs 1",
    )
    train = partial(images["jobs"].run, script, entrypoint=compose["train"]["entrypoint"])
    trained = train(data=folder, timeout=600)
    assert trained.returncode == 0, trained.stderr
    again = train(data=folder, timeout=60)
    assert (again.returncode, again.stdout) == (0, "")  # it takes the bundle that is there
    return folder


@pytest.mark.parametrize("server", ["grpcio", "envoy"])
def test_the_images_index_and_recommend(
    server: str, images: dict[str, Image], compose: dict[str, Any], data: Path, milvus_uri: str
) -> None:
    """The way of docker-compose.yml, with its own commands and health checks."""
    jobs = images["jobs"]
    ports = dict(zip(SERVICES, free_ports(3), strict=True))
    at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    with ExitStack() as stack:

        def start(name: str, **settings: str) -> subprocess.Popen[str]:
            volume = data if name == "embedder" else None
            run = service(images[name], ports[name], volume, SERVER=server, **settings)
            return stack.enter_context(run)

        running = {"embedder": start("embedder"), "search": start("search", MILVUS_URI=milvus_uri)}
        wait_until_healthy(images["embedder"], at["embedder"])
        wait_until_healthy(images["search"], at["search"], compose["search"]["healthcheck"]["test"])

        index = [
            argument.replace("dns:///embedder:50051", at["embedder"]).replace(
                "dns:///search:50052", at["search"]
            )
            for argument in compose["index"]["command"]
        ]
        indexed = jobs.run(*index, data=data, timeout=300)
        assert indexed.returncode == 0, indexed.stderr

        targets = {f"{name.upper()}_TARGET": f"dns:///{at[name]}" for name in running}
        running["gateway"] = start("gateway", **targets)
        for name in SERVICES:
            wait_until_healthy(images[name], at[name])

        with grpc.insecure_channel(at["gateway"]) as channel:
            stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
            request = recommender_pb2.RecommendRequest(user=types_pb2.User(age=25), page_size=5)
            answer = stub.Recommend(request, timeout=10)
        assert [each.rank for each in answer.recommendations] == [1, 2, 3, 4, 5]
        asked = jobs.run("recommend", "-a", "25", "-g", "M", "-j", "4", f"--target={at['gateway']}")
        assert asked.returncode == 0, asked.stderr
        assert "Title" in asked.stdout

        for name in reversed(SERVICES):
            running[name].send_signal(signal.SIGTERM)
            _, printed = running[name].communicate(timeout=40)
            assert running[name].returncode == 0, printed


def with_values(script: str, **values: str) -> str:
    """Return a command as compose runs it, with its variables' values or defaults."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: values.get(m[1], m[2]), script)


@contextmanager
def service(
    image: Image, port: int, data: Path | None, **settings: str
) -> Iterator[subprocess.Popen[str]]:
    prefix = f"MARQUEE_{image.name.split('/')[-1].split(':')[0].upper()}_"
    values = {"HOST": "127.0.0.1", "PORT": str(port), "METRICS_PORT": "0"}
    values |= {"METRICS_HOST": "127.0.0.1", "SHUTDOWN_DELAY_S": "0"} | settings
    variables = {f"{prefix}{name}": value for name, value in values.items()}
    process = image.start(environment=variables, data=data)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_healthy(image: Image, target: str, check: list[str] | None = None) -> None:
    """Run an image's health check, at another port, until it is content."""
    command = list(image.health) if check is None else check[1:]
    command = [target if re.fullmatch(r"127\.0\.0\.1:\d+", word) else word for word in command]
    deadline = time.monotonic() + READY_SECONDS
    while (done := image.run(entrypoint=command)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.5)
