"""`marquee serve all`: run the three services until they are stopped."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from marquee_cli.environment import with_defaults
from marquee_cli.errors import CommandError
from rpckit.addresses import parse_host
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


def serve_all(*, host: str, ports: Ports, bundle: Path, milvus_uri: str, as_json: bool) -> None:
    """Run the services until SIGTERM, SIGINT or SIGHUP; print their addresses on stdout.

    Args:
        host: Address that all listen on.
        ports: Their ports.
        bundle: Folder of the model bundle.
        milvus_uri: Where the vectors are kept.
        as_json: Print one line of JSON.

    Raises:
        CommandError: A service could not start, or ended by itself.
    """
    started = time.monotonic()
    suite = suite_of_one_each(host=host, ports=ports, bundle=bundle, milvus_uri=milvus_uri)
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
    *, host: str, ports: Ports, bundle: Path, milvus_uri: str, logs: Path | None = None
) -> Suite:
    """Return a suite with one process of each service; nothing runs yet.

    Environment variables override all settings that are not arguments here.

    Args:
        host: Address that all listen on.
        ports: Their ports.
        bundle: Folder of the model bundle.
        milvus_uri: Where the vectors are kept: a file of Milvus Lite or a server's URI.
        logs: Folder for one log file each. None: they write to stderr.

    Raises:
        CommandError: The host is not one.
    """
    try:
        host = parse_host(host)
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
        return server_of(service, flags, port=asked[service] or free.pop(), host=host)

    embedder = server(EMBEDDER, f"--bundle={bundle}")
    search = server(SEARCH, f"--milvus-uri={milvus_uri}")
    gateway = server(
        GATEWAY, f"--embedder-target={embedder.target}", f"--search-target={search.target}"
    )
    return Suite([embedder], [search], [gateway], environment=with_defaults(defaults), logs=logs)
