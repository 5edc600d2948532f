"""Configurations of the suite that are measured."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.bench.credentials import Credentials
from rpckit.settings.client import ClientSettings
from suite.parent_death import with_parent_death_signal
from suite.ports import LOOPBACK, free_ports
from suite.server_process import ServerProcess
from suite.services import EMBEDDER, GATEWAY, SEARCH, Service
from suite.three_services import Suite, server_of, target_of

_ONE_BY_ONE_GATEWAY = ("--max-batch=1", "--max-in-flight=64")
_EACH_TIME = ("--engine=milvus",)
"""Milvus answers each batch, not the replica in memory."""
_ONE_BY_ONE_SEARCH = (*_EACH_TIME, "--max-batch-rows=1", "--max-batches-in-flight=64")
_ENVOY = ("--server=envoy",)
_RESIDENT = ("--engine=resident",)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings of the suite that differ from the defaults."""

    name: str
    gateway: Sequence[str] = ()
    embedder: Sequence[str] = ()
    search: Sequence[str] = ()
    embedders: int = 1
    searches: int = 1
    credentials: Credentials | None = None
    """TLS and tokens on every hop. None: neither."""

    def unsupported(self) -> str | None:
        """Return a message about the first service that lacks a setting, or None."""
        for module, flags in (
            (GATEWAY.module, self.gateway),
            (EMBEDDER.module, self.embedder),
            (SEARCH.module, self.search),
        ):
            if flags and not accepts(module, flags):
                return f"{module} does not take {' '.join(flags)}"
        return None


MILVUS = Configuration("milvus", search=_EACH_TIME)
ONE_BY_ONE = Configuration(
    "milvus, max batch 1",
    gateway=_ONE_BY_ONE_GATEWAY,
    embedder=("--max-batch=1",),
    search=_ONE_BY_ONE_SEARCH,
)
LITE = Configuration("lite", search=_EACH_TIME)
LITE_ONE_BY_ONE = Configuration(
    "lite, max batch 1",
    gateway=_ONE_BY_ONE_GATEWAY,
    embedder=("--max-batch=1",),
    search=_ONE_BY_ONE_SEARCH,
)
SECURED = replace(MILVUS, name="milvus, TLS and tokens")
TWO_EMBEDDERS = replace(MILVUS, name="milvus, two embedders", embedders=2)
TWO_SEARCHES = replace(MILVUS, name="milvus, two searches", searches=2)
RESIDENT = Configuration("resident", search=_RESIDENT)
ENVOY_GATEWAY = Configuration("resident, gateway on Envoy", gateway=_ENVOY, search=_RESIDENT)
ENVOY = Configuration(
    "resident, all on Envoy", gateway=_ENVOY, embedder=_ENVOY, search=(*_ENVOY, *_RESIDENT)
)
FAST = (RESIDENT, ENVOY_GATEWAY, ENVOY)
"""Candidates for the fastest configuration."""


def suite_of(configuration: Configuration, *, bundle: Path, milvus_uri: str, logs: Path) -> Suite:
    """Return the suite that a configuration describes; nothing runs yet.

    Args:
        configuration: Its settings.
        bundle: Folder of the model bundle.
        milvus_uri: A Milvus server, or a folder for Milvus Lite.
        logs: Folder for the logs of the services.
    """
    credentials = configuration.credentials
    embedders = _replicas(
        EMBEDDER,
        configuration.embedders,
        [f"--bundle={bundle}", *configuration.embedder],
        credentials,
    )
    searches = _replicas(
        SEARCH,
        configuration.searches,
        [f"--milvus-uri={milvus_uri}", *configuration.search],
        credentials,
    )
    behind = [f"--embedder-target={target_of(embedders)}", f"--search-target={target_of(searches)}"]
    if credentials:
        behind += [*credentials.client_flags("embedder"), *credentials.client_flags("search")]
    gateways = _replicas(GATEWAY, 1, [*behind, *configuration.gateway], credentials)
    return Suite(embedders, searches, gateways, environment=default_environment(), logs=logs)


def endpoint_of(suite: Suite, method: str) -> ClientSettings:
    """Return the client settings for a method; of several replicas, the first."""
    if method == "Recommend":
        return suite.gateway.endpoint
    servers = suite.searches if method == "SearchMovies" else suite.embedders
    return servers[0].endpoint


def pids_of(suite: Suite) -> dict[str, int]:
    """Return the processes of a suite by name, for CPU and memory."""
    servers = (*suite.gateways, *suite.embedders, *suite.searches)
    return {server.name: server.pid for server in servers}


def accepts(module: str, arguments: Sequence[str]) -> bool:
    """Return whether a service has these settings."""
    command = [sys.executable, "-m", module, *arguments, "--print-config"]
    done = subprocess.run(
        with_parent_death_signal(command),
        env=default_environment(),
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def default_environment() -> dict[str, str]:
    """Return this process's environment without settings of the services."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")}


def _replicas(
    service: Service, number: int, arguments: Sequence[str], credentials: Credentials | None
) -> list[ServerProcess]:
    flags = ["--metrics-port=0", "--shutdown-delay-s=0", *arguments]
    if credentials:
        flags += credentials.server_flags
    return [
        server_of(
            service,
            flags,
            port=port,
            name=f"{service.name} {replica}" if number > 1 else service.name,
            endpoint=credentials.endpoint(f"{LOOPBACK}:{port}") if credentials else None,
        )
        for replica, port in enumerate(free_ports(number), start=1)
    ]
