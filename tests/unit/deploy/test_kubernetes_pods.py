"""Pods: settings, probes, time to stop, and rights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.fixtures.kubernetes import OVERLAYS, SERVICES, containers, find, pods, render, variables

if TYPE_CHECKING:
    from tests.unit.deploy.conftest import LoadSettings


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_understands_its_environment(
    overlay: str, service: str, load_settings: LoadSettings
) -> None:
    settings = load_settings(service, variables(render(overlay), service))
    assert settings.insecure == (overlay != "secure")


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_is_killed_later_than_its_service_stops_itself(
    overlay: str, service: str, load_settings: LoadSettings
) -> None:
    resources = render(overlay)
    pod = find(resources, "Deployment", service)["spec"]["template"]["spec"]
    settings = load_settings(service, variables(resources, service))
    hook = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
    needed = hook["seconds"] + settings.shutdown_delay_s + settings.shutdown_grace_s
    assert needed + 5 <= pod["terminationGracePeriodSeconds"]
    # a probe must have been seen to fail, or the endpoint to be gone, before calls are refused
    assert hook["seconds"] + settings.shutdown_delay_s >= 3


@pytest.mark.parametrize("service", SERVICES)
def test_probes_tell_life_from_readiness(service: str, service_names: set[str]) -> None:
    (container,) = find(render("cluster"), "Deployment", service)["spec"]["template"]["spec"][
        "containers"
    ]
    grpc_port = next(p["containerPort"] for p in container["ports"] if p["name"] == "grpc")
    probes = {
        when: container[f"{when}Probe"]["grpc"] for when in ("startup", "liveness", "readiness")
    }
    assert {probe["port"] for probe in probes.values()} == {grpc_port}
    assert probes["startup"]["service"] == probes["liveness"]["service"] == ""
    assert probes["readiness"]["service"] in service_names


@pytest.mark.parametrize("service", SERVICES)
def test_probes_run_in_the_container_where_there_is_tls(service: str) -> None:
    pod = find(render("secure"), "Deployment", service)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for when in ("startup", "liveness", "readiness"):
        probe = container[f"{when}Probe"]
        assert "grpc" not in probe  # Kubernetes' own cannot do TLS
        assert probe["exec"]["command"][:3] == ["python", "-m", "rpckit.probe"]
    certificate = find(render("secure"), "Certificate", service)
    names = {each["name"]: each.get("value") for each in container["env"]}
    assert names["MARQUEE_PROBE_TLS_SERVER_NAME"] in certificate["spec"]["dnsNames"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_may_do_no_more_than_it_must(overlay: str) -> None:
    seen = 0
    for name, pod in pods(render(overlay)):
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        # a Service's variables would begin like settings' and be refused as unknown ones
        assert pod["enableServiceLinks"] is False
        for container in containers(pod):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"]
            assert not security["allowPrivilegeEscalation"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            seen += 1
    assert seen >= 6
