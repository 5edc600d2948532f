from __future__ import annotations

import base64
import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from rpckit.errors import PermissionDeniedError, UnauthenticatedError
from rpckit.security.tokens import TokenFile

if TYPE_CHECKING:
    from tests.unit.deploy.conftest import LoadSettings

ROOT = Path(__file__).parents[3] / "deploy/k8s"
BASE = [path for path in sorted(ROOT.glob("base/*.yaml")) if path.name != "kustomization.yaml"]
OVERLAYS = ["standalone", "cluster", "secure"]
SERVICES = ["embedder", "search", "gateway"]
NOT_OF_KUBERNETES = {"milvus.io/v1beta1", "cert-manager.io/v1"}
"""Versions of resources that their operators define; Kubernetes' schemas do not know them."""

Resource = dict[str, Any]


@functools.cache
def render(overlay: str) -> list[Resource]:
    """Return the resources of an overlay as kustomize makes them."""
    program = shutil.which("kustomize"), shutil.which("kubectl")
    if not any(program):
        pytest.skip("neither kustomize nor kubectl is installed")
    command = [program[0], "build"] if program[0] else [program[1], "kustomize"]
    done = subprocess.run(
        [*map(str, command), str(ROOT / "overlays" / overlay)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


def find(resources: list[Resource], kind: str, name: str) -> Resource:
    (found,) = (r for r in resources if (r["kind"], r["metadata"]["name"]) == (kind, name))
    return found


def pods(resources: list[Resource]) -> Iterator[tuple[str, Resource]]:
    """Yield name and spec of every kind of pod."""
    for resource in resources:
        if resource["kind"] in {"Deployment", "Job"}:
            yield resource["metadata"]["name"], resource["spec"]["template"]["spec"]


def containers(pod: Resource) -> list[Resource]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def variables(resources: list[Resource], service: str) -> dict[str, str]:
    """Return the environment of a service's container."""
    (container,) = find(resources, "Deployment", service)["spec"]["template"]["spec"]["containers"]
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        found |= find(resources, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {each["name"]: each.get("value", "") for each in container.get("env", [])}


def check_schema(resource: Resource) -> None:
    if resource["apiVersion"] not in NOT_OF_KUBERNETES:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", BASE, ids=lambda path: path.name)
def test_a_manifest_follows_the_schema_of_its_kind(path: Path) -> None:
    for resource in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        check_schema(resource)


def test_the_schema_check_finds_a_misspelt_field() -> None:
    resource = yaml.safe_load((ROOT / "base/storage.yaml").read_text(encoding="utf-8"))
    resource["spec"]["accessMode"] = resource["spec"].pop("accessModes")
    with pytest.raises(kubernetes_validate.ValidationError):
        check_schema(resource)


def test_every_file_is_part_of_a_kustomization() -> None:
    named: set[Path] = set()
    for file in ROOT.rglob("kustomization.yaml"):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        paths = [*content.get("resources", []), *content.get("components", [])]
        paths += [patch["path"] for patch in content.get("patches", []) if "path" in patch]
        paths += [
            env for one in content.get("configMapGenerator", []) for env in one.get("envs", [])
        ]
        named |= {(file.parent / path).resolve() for path in paths}
    missing = [path for path in named if not path.exists()]
    assert not missing
    files = {path for path in ROOT.rglob("*") if path.suffix in {".yaml", ".env"}}
    assert {path for path in files if path.name != "kustomization.yaml"} <= named


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_kustomize_makes_follows_the_schemas(overlay: str) -> None:
    for resource in render(overlay):
        check_schema(resource)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_reference_within_an_overlay_has_its_object(overlay: str) -> None:
    resources = render(overlay)
    for name, pod in pods(resources):
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                find(
                    resources, "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
                )
            if secret := volume.get("secret", {}).get("secretName"):
                made = {r["spec"]["secretName"] for r in resources if r["kind"] == "Certificate"}
                assert secret in made | {"tokens"}  # which a person makes
        for container in containers(pod):
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounts <= volumes.keys(), f"{name}/{container['name']}"
    for resource in resources:
        match resource["kind"]:
            case "Service":
                target = find(
                    resources, "Deployment", resource["spec"]["selector"]["app.kubernetes.io/name"]
                )
                (container,) = target["spec"]["template"]["spec"]["containers"]
                ports = {port["name"]: port["containerPort"] for port in container["ports"]}
                assert {
                    p["name"]: p["port"] for p in resource["spec"]["ports"]
                }.items() <= ports.items()
            case "HorizontalPodAutoscaler":
                find(resources, "Deployment", resource["spec"]["scaleTargetRef"]["name"])
            case "PodDisruptionBudget":
                labels = resource["spec"]["selector"]["matchLabels"]
                find(resources, "Deployment", labels["app.kubernetes.io/name"])


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


def test_the_gateway_balances_over_all_replicas_of_what_it_calls() -> None:
    resources = render("cluster")
    for service in ("embedder", "search"):
        target = variables(resources, "gateway")[f"MARQUEE_GATEWAY_{service.upper()}_TARGET"]
        scheme, _, address = target.partition(":///")
        host, _, port = address.partition(":")
        spec = find(resources, "Service", host)["spec"]
        assert scheme == "dns"
        assert spec["clusterIP"] == "None"  # headless
        assert int(port) in {each["port"] for each in spec["ports"]}


def test_the_index_job_reaches_search_replicas_that_are_not_ready() -> None:
    resources = render("cluster")
    (container,) = find(resources, "Job", "index")["spec"]["template"]["spec"]["containers"]
    target = next(arg for arg in container["args"] if arg.startswith("--search-target="))
    name = target.partition("dns:///")[2].partition(":")[0]
    # they become ready by the index, so waiting for ready ones would never end
    assert find(resources, "Service", name)["spec"]["publishNotReadyAddresses"]


@pytest.mark.parametrize(
    ("caller", "called"),
    [("gateway", "embedder"), ("gateway", "search"), ("index", "embedder"), ("index", "search")],
)
def test_network_policies_let_a_call_out_and_in(caller: str, called: str) -> None:
    resources = render("cluster")
    label = "app.kubernetes.io/name"
    out = find(resources, "NetworkPolicy", caller)["spec"]
    assert out["podSelector"]["matchLabels"] == {label: caller}
    assert any(
        peer.get("podSelector", {}).get("matchLabels") == {label: called}
        for rule in out["egress"]
        for peer in rule.get("to", [])
    )
    into = find(resources, "NetworkPolicy", called)["spec"]
    (rule,) = into["ingress"]
    (peer,) = rule["from"]
    (expression,) = peer["podSelector"]["matchExpressions"]
    assert expression["key"] == label
    assert caller in expression["values"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_under_a_network_policy(overlay: str) -> None:
    resources = render(overlay)
    selector = find(resources, "NetworkPolicy", "marquee")["spec"]["podSelector"]["matchLabels"]
    for resource in resources:
        if resource["kind"] in {"Deployment", "Job"}:
            labels = resource["spec"]["template"]["metadata"]["labels"]
            assert selector.items() <= labels.items()


@pytest.mark.parametrize(
    ("overlay", "mode"), [("standalone", "standalone"), ("cluster", "cluster")]
)
def test_the_search_service_looks_for_milvus_where_its_operator_puts_it(
    overlay: str, mode: str
) -> None:
    resources = render(overlay)
    (milvus,) = (r for r in resources if r["kind"] == "Milvus")
    assert milvus["apiVersion"] == "milvus.io/v1beta1"
    assert milvus["spec"]["mode"] == mode
    uri = variables(resources, "search")["MARQUEE_SEARCH_MILVUS_URI"]
    assert uri == f"http://{milvus['metadata']['name']}-milvus:19530"


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_the_tokens_that_are_made_open_what_they_should(tmp_path: Path) -> None:
    script = ROOT / "components/tokens/create-secret"
    done = subprocess.run(
        [script, "--dry-run=client", "-o", "yaml"], capture_output=True, text=True, check=True
    )
    files = {}
    for key, value in yaml.safe_load(done.stderr)["data"].items():
        files[key] = tmp_path / key
        files[key].write_bytes(base64.b64decode(value))
        files[key].chmod(0o440)
    tokens = {name: files[f"of-{name}"].read_text() for name in ("gateway", "index")}
    tokens["caller"] = done.stdout.strip()

    def may(who: str, permission: str, *, at: str) -> bool:
        try:
            header = {"authorization": f"Bearer {tokens[who]}"}
            return TokenFile(files[at]).authorize(header, permission) == who
        except (UnauthenticatedError, PermissionDeniedError):
            return False

    assert may("caller", "read", at="gateway")
    assert may("gateway", "read", at="embedder")
    assert may("gateway", "read", at="search")
    assert may("index", "read", at="embedder")
    assert may("index", "index", at="search")
    assert not may("gateway", "index", at="search")
    assert not may("caller", "read", at="search")


def test_no_secret_is_in_the_manifests() -> None:
    assert not [r for overlay in OVERLAYS for r in render(overlay) if r["kind"] == "Secret"]
