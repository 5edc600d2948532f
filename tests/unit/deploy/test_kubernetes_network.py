"""Who reaches whom: addresses, network policies and tokens."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.fixtures.kubernetes import MANIFESTS, OVERLAYS, find, render, variables

from rpckit.errors import PermissionDeniedError, UnauthenticatedError
from rpckit.security.tokens import TokenFile
from search_service.settings import SearchSettings

if TYPE_CHECKING:
    from tests.unit.deploy.conftest import LoadSettings


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
    ("overlay", "mode"),
    [("standalone", "standalone"), ("cluster", "cluster"), ("secure", "cluster")],
)
def test_the_search_service_looks_for_milvus_where_its_operator_puts_it(
    overlay: str, mode: str
) -> None:
    resources = render(overlay)
    (milvus,) = (r for r in resources if r["kind"] == "Milvus")
    assert milvus["apiVersion"] == "milvus.io/v1beta1"
    assert milvus["spec"]["mode"] == mode
    uri = variables(resources, "search")["MARQUEE_SEARCH_MILVUS_URI"]
    scheme = "https" if overlay == "secure" else "http"
    assert uri == f"{scheme}://{milvus['metadata']['name']}-milvus:19530"


def test_the_hop_to_milvus_has_mutual_tls_in_the_secure_overlay(
    load_settings: LoadSettings,
) -> None:
    resources = render("secure")
    settings = load_settings("search", variables(resources, "search"))
    assert isinstance(settings, SearchSettings)
    address = settings.milvus_server()
    assert address is not None
    assert address.secure
    assert address.tls == settings.tls_files()
    spec = find(resources, "Milvus", "marquee")["spec"]
    assert spec["config"]["common"]["security"]["tlsMode"] == 2
    (volume,) = spec["components"]["volumes"]
    (mount,) = spec["components"]["volumeMounts"]
    assert mount["name"] == volume["name"]
    files = spec["config"]["tls"].values()
    assert set(files) == {f"{mount['mountPath']}/{key}" for key in ("tls.crt", "tls.key", "ca.crt")}
    certificate = find(resources, "Certificate", "milvus")["spec"]
    assert certificate["secretName"] == volume["secret"]["secretName"]
    assert address.target.partition(":")[0] in certificate["dnsNames"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_search_service_reaches_milvus_and_only_milvus_its_stores(overlay: str) -> None:
    resources = render(overlay)
    (milvus,) = (r for r in resources if r["kind"] == "Milvus")
    pods = {
        "app.kubernetes.io/name": "milvus",
        "app.kubernetes.io/instance": milvus["metadata"]["name"],
    }
    out = find(resources, "NetworkPolicy", "search")["spec"]["egress"]
    assert any(peer["podSelector"]["matchLabels"] == pods for rule in out for peer in rule["to"])
    into = find(resources, "NetworkPolicy", "milvus")["spec"]
    assert into["podSelector"]["matchLabels"] == pods
    search, *_ = into["ingress"]
    (peer,) = search["from"]
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "search"}
    assert search["ports"] == [{"port": 19530}]
    for store in ("milvus-etcd", "milvus-minio"):
        spec = find(resources, "NetworkPolicy", store)["spec"]
        callers = [
            peer["podSelector"]["matchLabels"]
            for rule in spec["ingress"]
            for peer in rule["from"]
            if "podSelector" in peer
        ]
        assert callers == [pods, spec["podSelector"]["matchLabels"]]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_minio_has_no_keys_that_everybody_knows_in_the_secure_overlay() -> None:
    storage = find(render("secure"), "Milvus", "marquee")["spec"]["dependencies"]["storage"]
    values = storage["inCluster"]["values"]
    script = MANIFESTS / "overlays/secure/create-minio-secret"
    made = []
    for _ in range(2):
        command = [script, "--dry-run=client", "-o", "yaml"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        made.append(yaml.safe_load(done.stdout))
    assert made[0]["metadata"] == made[1]["metadata"] | {"name": values["existingSecret"]}
    for key in ("accesskey", "secretkey"):
        first, second = (base64.b64decode(secret["data"][key]).decode() for secret in made)
        assert first != second
        assert len(first) >= 32


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_the_tokens_that_are_made_open_what_they_should(tmp_path: Path) -> None:
    script = MANIFESTS / "components/tokens/create-secret"
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
