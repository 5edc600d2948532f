"""Manifests are valid, complete and consistent in themselves."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from tests.fixtures.kubernetes import MANIFESTS, OVERLAYS, Resource, containers, find, pods, render

BASE = [path for path in sorted(MANIFESTS.glob("base/*.yaml")) if path.name != "kustomization.yaml"]
NOT_OF_KUBERNETES = {"milvus.io/v1beta1", "cert-manager.io/v1"}
"""Versions of resources that their operators define; Kubernetes' schemas do not know them."""


def check_schema(resource: Resource) -> None:
    if resource["apiVersion"] not in NOT_OF_KUBERNETES:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", BASE, ids=lambda path: path.name)
def test_a_manifest_follows_the_schema_of_its_kind(path: Path) -> None:
    for resource in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        check_schema(resource)


def test_the_schema_check_finds_a_misspelt_field() -> None:
    resource = yaml.safe_load((MANIFESTS / "base/storage.yaml").read_text(encoding="utf-8"))
    resource["spec"]["accessMode"] = resource["spec"].pop("accessModes")
    with pytest.raises(kubernetes_validate.ValidationError):
        check_schema(resource)


def test_every_file_is_part_of_a_kustomization() -> None:
    named: set[Path] = set()
    for file in MANIFESTS.rglob("kustomization.yaml"):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        paths = [*content.get("resources", []), *content.get("components", [])]
        paths += [patch["path"] for patch in content.get("patches", []) if "path" in patch]
        paths += [
            env for one in content.get("configMapGenerator", []) for env in one.get("envs", [])
        ]
        named |= {(file.parent / path).resolve() for path in paths}
    missing = [path for path in named if not path.exists()]
    assert not missing
    files = {path for path in MANIFESTS.rglob("*") if path.suffix in {".yaml", ".env"}}
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


def test_no_secret_is_in_the_manifests() -> None:
    assert not [r for overlay in OVERLAYS for r in render(overlay) if r["kind"] == "Secret"]
