from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from marquee_cli.errors import CommandError
from marquee_cli.options import Connection
from marquee_cli.serving import ANY_PORTS, Ports, suite_of_one_each
from suite.services import SERVICES
from suite.three_services import Suite

NO_TLS = Connection(None, None, None, None, None)
CA = Path("ca.pem")


def suite_on(host: str, ports: Ports, connection: Connection = NO_TLS) -> Suite:
    return suite_of_one_each(
        host=host,
        ports=ports,
        bundle=Path("bundle"),
        milvus_uri="milvus.db",
        connection=connection,
    )


def test_free_ports_differ_and_given_ones_stay() -> None:
    suite = suite_on("127.0.0.1", Ports(gateway=0, embedder=50051, search=0))
    targets = {server.name: server.target for server in suite.servers}
    assert targets["embedder"] == "127.0.0.1:50051"
    ports = {target.rpartition(":")[2] for target in targets.values()}
    assert len(ports) == 3
    assert "0" not in ports


def test_ports_are_not_looked_for_where_all_are_given() -> None:
    elsewhere = "192.0.2.1"  # nothing here can listen on it, which the services say themselves
    suite = suite_on(elsewhere, Ports(gateway=50050, embedder=50051, search=50052))
    assert suite.gateway.target == f"{elsewhere}:50050"
    with pytest.raises(OSError, match="assign"):
        suite_on(elsewhere, ANY_PORTS)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_the_services_find_each_other_on_ipv6(host: str) -> None:
    suite = suite_on(host, ANY_PORTS)
    assert all(server.target.startswith("[::1]:") for server in suite.servers)


@pytest.mark.parametrize("host", ["http://127.0.0.1", "127.0.0.1:50050", "unix:/run/all.sock"])
def test_a_host_that_three_services_cannot_listen_on_is_refused(host: str) -> None:
    with pytest.raises(CommandError, match=f"--host {host}: "):
        suite_on(host, ANY_PORTS)


class TestTls:
    @pytest.fixture(autouse=True)
    def variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for service in SERVICES:
            monkeypatch.setenv(f"{service.variables}TLS_CERT", "server.pem")
        monkeypatch.setenv("MARQUEE_GATEWAY_EMBEDDER_TLS_CA", "ca.pem")
        monkeypatch.setenv("MARQUEE_GATEWAY_SEARCH_TLS_CA", "ca.pem")

    def test_the_services_are_called_with_the_options_of_the_command(self) -> None:
        suite = suite_on("127.0.0.1", ANY_PORTS, replace(NO_TLS, tls_ca=CA))
        assert all(server.endpoint.tls_ca == CA for server in suite.servers)

    def test_a_service_without_a_certificate_is_called_without_tls(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("MARQUEE_SEARCH_TLS_CERT")
        suite = suite_on("127.0.0.1", ANY_PORTS, replace(NO_TLS, tls_ca=CA))
        assert suite.searches[0].endpoint.tls_ca is None

    def test_without_the_authority_it_refuses_at_once(self) -> None:
        with pytest.raises(CommandError, match="EMBEDDER_TLS_CERT is set, so `marquee --tls-ca"):
            suite_on("127.0.0.1", ANY_PORTS)

    def test_without_a_certificate_of_its_own_that_a_service_wants_it_refuses_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MARQUEE_GATEWAY_TLS_CLIENT_CA", "ca.pem")
        with pytest.raises(CommandError, match="GATEWAY_TLS_CLIENT_CA is set, so `marquee --tls-"):
            suite_on("127.0.0.1", ANY_PORTS, replace(NO_TLS, tls_ca=CA))

    def test_a_gateway_that_lacks_an_authority_is_refused_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("MARQUEE_GATEWAY_SEARCH_TLS_CA")
        with pytest.raises(CommandError, match="the gateway needs MARQUEE_GATEWAY_SEARCH_TLS_CA"):
            suite_on("127.0.0.1", ANY_PORTS, replace(NO_TLS, tls_ca=CA))
