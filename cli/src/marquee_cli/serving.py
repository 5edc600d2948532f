"""`marquee serve all`: run the three services until they are stopped."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from marquee_cli.calls import client_settings
from marquee_cli.environment import is_set, with_defaults
from marquee_cli.errors import CommandError
from marquee_cli.options import Connection
from rpckit.addresses import join_host_port, parse_host, socket_path
from rpckit.settings.client import ClientSettings
from suite.interruption import Interrupted, interruptible
from suite.ports import free_ports
from suite.process import ProcessError
from suite.server_process import ServerProcess
from suite.services import EMBEDDER, GATEWAY, SEARCH, Service
from suite.three_services import Suite, server_of


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the three services; 0 takes any free one."""

    gateway: int
    embedder: int
    search: int


ANY_PORTS = Ports(0, 0, 0)


def serve_all(
    *,
    host: str,
    ports: Ports,
    bundle: Path,
    milvus_uri: str,
    connection: Connection,
    as_json: bool,
) -> None:
    """Run the services until SIGTERM, SIGINT or SIGHUP; print their addresses on stdout.

    Args:
        host: Address that all listen on.
        ports: Their ports.
        bundle: Folder of the model bundle.
        milvus_uri: Where the vectors are kept.
        connection: TLS options to call the services that the environment gives a certificate.
        as_json: Print one line of JSON.

    Raises:
        CommandError: A service could not start, or ended by itself.
    """
    started = time.monotonic()
    suite = suite_of_one_each(
        host=host, ports=ports, bundle=bundle, milvus_uri=milvus_uri, connection=connection
    )
    try:
        with interruptible(), suite:
            has_index = suite.has_index()
            if has_index:
                suite.wait_until_ready()
            if as_json:
                targets = {server.name: server.target for server in suite.servers}
                print(json.dumps({**targets, "index": has_index}), flush=True)
            else:
                embedder, search, _ = suite.servers
                for server in suite.servers:
                    print(f"{server.name:10}{server.target}")
                print(
                    f"Ready after {time.monotonic() - started:.1f} s; Ctrl-C stops all."
                    if has_index
                    else "No index is active yet, so nothing can be recommended; run: marquee index"
                    f" --embedder-target {embedder.target} --search-target {search.target}",
                    flush=True,
                )
            suite.watch()
    except Interrupted:
        return
    except ProcessError as error:
        raise CommandError(str(error)) from None


def suite_of_one_each(
    *,
    host: str,
    ports: Ports,
    bundle: Path,
    milvus_uri: str,
    connection: Connection,
    logs: Path | None = None,
) -> Suite:
    """Return a suite with one process of each service; nothing runs yet.

    Environment variables override all settings that are not arguments here.

    Args:
        host: Address that all listen on.
        ports: Their ports.
        bundle: Folder of the model bundle.
        milvus_uri: Where the vectors are kept: a folder of Milvus Lite or a server's URI.
        connection: TLS options to call the services that the environment gives a certificate.
        logs: Folder for one log file each. None: they write to stderr.

    Raises:
        CommandError: The host is not one, or the TLS settings of the environment need options or
            settings that are missing.
    """
    try:
        host = parse_host(host)
        if socket_path(host):
            raise ValueError("three services cannot share a socket: give an IP address or a name")
    except ValueError as error:
        raise CommandError(f"--host {host}: {error}") from None
    asked = {EMBEDDER: ports.embedder, SEARCH: ports.search, GATEWAY: ports.gateway}
    free = free_ports(sum(port == 0 for port in asked.values()), host)
    defaults = {}
    for service, port in asked.items():
        defaults[f"{service.variables}LOG_FORMAT"] = "text"
        defaults[f"{service.variables}SHUTDOWN_DELAY_S"] = (
            "0"  # there is no load balancer to wait for
        )
        if port == 0:  # the metrics' port need not be known either
            defaults[f"{service.variables}METRICS_PORT"] = "0"

    def server(service: Service, *flags: str) -> ServerProcess:
        port = asked[service] or free.pop()
        endpoint = _endpoint(service, join_host_port(host, port), connection)
        return server_of(service, flags, port=port, host=host, endpoint=endpoint)

    embedder = server(EMBEDDER, f"--bundle={bundle}")
    search = server(SEARCH, f"--milvus-uri={milvus_uri}")
    gateway = server(
        GATEWAY, f"--embedder-target={embedder.target}", f"--search-target={search.target}"
    )
    return Suite([embedder], [search], [gateway], environment=with_defaults(defaults), logs=logs)


def _endpoint(service: Service, target: str, connection: Connection) -> ClientSettings:
    """Return how to call a service that takes its TLS settings from the environment.

    Without this check, the command would wait for a health check that cannot succeed.
    """
    certificate = f"{service.variables}TLS_CERT"
    if not is_set(certificate):
        return ClientSettings(target=target)
    if not connection.tls_ca:
        raise CommandError(
            f"{certificate} is set, so `marquee --tls-ca FILE serve all` needs the authority that "
            "signed it; `marquee demo` runs without TLS only"
        )
    client_ca = f"{service.variables}TLS_CLIENT_CA"
    if is_set(client_ca) and not connection.tls_cert:
        raise CommandError(
            f"{client_ca} is set, so `marquee --tls-cert FILE --tls-key FILE serve all` needs a "
            "certificate that it accepts"
        )
    upstream_ca = f"{GATEWAY.variables}{service.name.upper()}_TLS_CA"
    if service is not GATEWAY and not is_set(upstream_ca):
        raise CommandError(f"{certificate} is set, so the gateway needs {upstream_ca}")
    return client_settings(connection, service, target)
