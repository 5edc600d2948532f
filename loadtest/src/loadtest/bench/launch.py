"""The processes that are measured: services, echo, Milvus server. None outlives this one."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import grpc

from loadtest.bench.secured import Secured
from rpckit.probe import check
from rpckit.settings.client import ClientSettings
from suite.parent_death import with_parent_death_signal

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 30.0
_PORTS = 20_000, 30_000
_MILVUS_PORTS = (
    "proxy-port", "proxy-internal-port", "root-coord-port", "query-coord-port", "query-node-port",
    "index-coord-port", "index-node-port", "data-coord-port", "data-node-port",
)  # fmt: skip


class LaunchError(Exception):
    """A process did not start; the message is one line that says which and why."""


@dataclass(frozen=True, slots=True)
class Program:
    """A gRPC server to run as `python -m MODULE`."""

    name: str
    module: str
    port: int
    arguments: Sequence[str] = ()
    ready: str = ""
    """Full name of the service that must be ready; "" is content with liveness."""
    secured: Secured | None = None

    @property
    def endpoint(self) -> ClientSettings:
        """How it is called."""
        target = f"{HOST}:{self.port}"
        return self.secured.endpoint(target) if self.secured else ClientSettings(target=target)


@dataclass(frozen=True, slots=True)
class Running:
    """A process that is ready."""

    name: str
    pid: int
    endpoint: ClientSettings
    """How it is called."""


def free_ports(number: int) -> list[int]:
    """Return ports that are free now, all different.

    They are below those that the system gives to outgoing connections: a load makes many of these,
    and one could take the port before the server listens on it.
    """
    found: list[int] = []
    while len(found) < number:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            if port not in found:
                found.append(port)
    return found


@contextmanager
def running(program: Program, logs: Path) -> Iterator[Running]:
    """Run a program; it is ready inside, and stopped by SIGTERM on leaving.

    Args:
        program: What to run.
        logs: Folder for what it prints.

    Raises:
        LaunchError: It ended or took too long.
    """
    command = [sys.executable, "-m", program.module, "--host", HOST, "--port", str(program.port)]
    log = logs / f"{program.name}.log"
    with _process([*command, *program.arguments], log) as process:
        try:
            _wait_until(
                lambda: _is_ready(program.endpoint, program.ready), process, program.name, log
            )
            yield Running(program.name, process.pid, program.endpoint)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(endpoint: ClientSettings, service: str) -> None:
    """Wait until a service says that it is ready.

    Raises:
        LaunchError: It takes too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while not _is_ready(endpoint, service):
        if time.monotonic() > deadline:
            raise LaunchError(
                f"{service} at {endpoint.target} is not ready after {START_SECONDS:.0f} s"
            )
        time.sleep(0.1)


def accepts(module: str, arguments: Sequence[str]) -> bool:
    """Tell whether a service has these settings."""
    command = [sys.executable, "-m", module, *arguments, "--print-config"]
    return subprocess.run(command, env=_environment(), capture_output=True).returncode == 0


@dataclass(frozen=True, slots=True)
class Store:
    """A Milvus server that answers."""

    pid: int
    uri: str


@contextmanager
def milvus(
    server: Path, folder: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Store]:
    """Run a Milvus standalone with its data in a folder.

    Args:
        server: The `milvus-server` program.
        folder: Where its data go; may exist.
        settings: What differs from how Milvus comes, as environment variables.

    Raises:
        LaunchError: It ended or took too long.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()  # the server changes into a folder of its own
    log = folder / "server.log"
    with ExitStack() as stack:
        with _alone():
            *ports, peer, client = free_ports(len(_MILVUS_PORTS) + 2)
            etcd = folder / "etcd.yaml"
            etcd.write_text(_etcd(peer, client))
            flags = [f"--{name}={port}" for name, port in zip(_MILVUS_PORTS, ports, strict=True)]
            process = stack.enter_context(
                _process(
                    [str(server), "--data", str(folder), *flags],
                    log,
                    {**settings, "ETCD_CONFIG_PATH": str(etcd)},
                    parent_death_signal=signal.SIGINT,  # of SIGTERM it would die without its child
                )
            )
            stack.callback(_kill_group, process)
            endpoint = ClientSettings(target=f"{HOST}:{ports[0]}")
            _wait_until(
                # The server's own words, once it has asked all its parts
                lambda: "Ctrl+C to exit" in log.read_text() and _is_ready(endpoint, ""),
                process,
                "Milvus server",
                log,
            )
        yield Store(process.pid, f"http://{endpoint.target}")


@contextmanager
def _process(
    command: Sequence[str],
    log: Path,
    more: Mapping[str, str] = MappingProxyType({}),
    parent_death_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            with_parent_death_signal(command, parent_death_signal),
            env=_environment() | dict(more),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for this program, which stops them in order
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _alone() -> Iterator[None]:
    """Let one Milvus server start at a time: it takes a free port for its metrics by itself."""
    with (Path(tempfile.gettempdir()) / f"marquee-milvus-server-{os.getuid()}.lock").open(
        "w"
    ) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _kill_group(leader: subprocess.Popen[bytes]) -> None:
    """End a server and its children at once: nobody needs what they would still write."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)


def _wait_until(
    done: Callable[[], bool], process: subprocess.Popen[bytes], name: str, log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not done():
        if process.poll() is not None:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            raise LaunchError(f"the {name} ended: {lines[-1] if lines else 'it said nothing'}")
        if time.monotonic() > deadline:
            raise LaunchError(f"the {name} is not ready after {START_SECONDS:.0f} s; see {log}")
        time.sleep(0.1)


def _is_ready(endpoint: ClientSettings, service: str) -> bool:
    if endpoint.tls_ca is None:
        channel = grpc.insecure_channel(endpoint.target)
    else:
        credentials = grpc.ssl_channel_credentials(endpoint.tls_ca.read_bytes())
        channel = grpc.secure_channel(endpoint.target, credentials)
    with channel:
        return check(channel, service, timeout=1.0) == "SERVING"


def _environment() -> dict[str, str]:
    """Return this process's environment without settings, so that services are as shipped."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")}


def _etcd(peer: int, client: int) -> str:
    return f"""\
name: default
listen-peer-urls: http://{HOST}:{peer}
listen-client-urls: http://{HOST}:{client}
initial-advertise-peer-urls: http://{HOST}:{peer}
advertise-client-urls: http://{HOST}:{client}
initial-cluster: default=http://{HOST}:{peer}
"""
