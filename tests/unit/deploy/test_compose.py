from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from tests.unit.deploy.conftest import LoadSettings

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docker-compose.yml"
SERVICES = ["embedder", "search", "gateway"]
JOBS = ["train", "index"]
PORTS = {"gateway": 50050, "embedder": 50051, "search": 50052}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as compose reads it, with the defaults of its variables."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", FILE.read_text(encoding="utf-8"))
    assert "${" not in text, "a variable has no default"
    loaded: dict[str, Any] = yaml.safe_load(text)["services"]
    return loaded


def test_the_file_follows_the_compose_specification() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    command[0] = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_understands_its_environment(
    service: str, compose: dict[str, Any], load_settings: LoadSettings
) -> None:
    settings = load_settings(service, compose[service]["environment"])
    assert settings.insecure  # the host is 0.0.0.0 by the image
    assert settings.port == PORTS[service]


def test_the_gateway_balances_over_all_replicas_of_what_it_calls(compose: dict[str, Any]) -> None:
    variables = compose["gateway"]["environment"]
    for service in ("embedder", "search"):
        # a bare name would be resolved once and bound to one replica
        target = variables[f"MARQUEE_GATEWAY_{service.upper()}_TARGET"]
        assert target == f"dns:///{service}:{PORTS[service]}"


@pytest.mark.parametrize("service", ["embedder", "search"])
def test_a_service_behind_the_gateway_can_be_scaled(service: str, compose: dict[str, Any]) -> None:
    assert not {"container_name", "ports", "hostname", "deploy"} & compose[service].keys()


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    published = [port for service in compose.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", SERVICES + JOBS)
def test_a_container_may_do_no_more_than_it_must(name: str, compose: dict[str, Any]) -> None:
    service = compose[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - a mount inside of the container


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_stopped_later_than_the_service_stops_itself(
    service: str, compose: dict[str, Any], load_settings: LoadSettings
) -> None:
    settings = load_settings(service, compose[service]["environment"])
    grace = float(compose[service]["stop_grace_period"].removesuffix("s"))
    assert settings.shutdown_delay_s + settings.shutdown_grace_s + 5 <= grace


def test_everything_waits_for_what_it_needs(compose: dict[str, Any]) -> None:
    waits = {
        name: {other: how["condition"] for other, how in service["depends_on"].items()}
        for name, service in compose.items()
        if "depends_on" in service
    }
    healthy, done = "service_healthy", "service_completed_successfully"
    assert waits == {
        "embedder": {"train": done},
        "search": {"milvus": healthy},
        "index": {"embedder": healthy, "search": healthy},
        "gateway": {"embedder": healthy, "search": healthy, "index": done},
        "milvus": {"etcd": healthy, "minio": healthy},
    }
    waited_for = {
        other for edges in waits.values() for other, how in edges.items() if how == healthy
    }
    assert all("healthcheck" in compose[name] for name in waited_for)


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_asked_of_a_service_that_exists(
    service: str, compose: dict[str, Any], service_names: set[str]
) -> None:
    command = compose[service]["healthcheck"]["test"]
    assert command[:5] == ["CMD", "python", "-m", "rpckit.probe", f"127.0.0.1:{PORTS[service]}"]
    assert command[-1] in service_names


def test_the_search_service_is_healthy_before_there_is_an_index(compose: dict[str, Any]) -> None:
    # else the job that builds the index would wait for itself
    assert compose["search"]["healthcheck"]["test"][-1] == "marquee.search.v1.IndexService"


def test_mounted_files_of_the_repository_exist(compose: dict[str, Any]) -> None:
    mounts = [volume for service in compose.values() for volume in service.get("volumes", [])]
    files = [ROOT / mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert files
    assert not [file for file in files if not file.exists()]


def test_every_image_has_a_version(compose: dict[str, Any]) -> None:
    tags = {name: service["image"].rpartition(":")[2] for name, service in compose.items()}
    assert all(re.match(r"dev$|v?\d|RELEASE\.", tag) for tag in tags.values()), tags
