"""The three services as child processes, which never outlive the process that started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import grpc

from marquee_cli.environment import with_defaults
from marquee_cli.errors import CommandError
from rpckit.probe import check
from suite.parent_death import with_parent_death_signal

EMBEDDER = "marquee.embedder.v1.EmbedderService"
SEARCH = "marquee.search.v1.SearchService"
INDEX = "marquee.search.v1.IndexService"
RECOMMENDER = "marquee.recommender.v1.RecommenderService"

START_SECONDS = 90.0
"""Longest that a service may take to be ready; importing Paddle takes most of it."""
STOP_SECONDS = 30.0
"""Longest that a service may take to finish its calls before it is killed."""
PAUSE_SECONDS = 0.1
"""Between two looks at the services."""


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """The person or the system asked this process to stop."""


_interrupted = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted on SIGTERM and SIGINT, so that everything is left the usual way."""

    def interrupt(*_: object) -> None:
        _interrupted.set()  # gRPC's destructors swallow whatever is raised while they run
        raise Interrupted

    _interrupted.clear()
    before = {sig: signal.signal(sig, interrupt) for sig in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the three services; 0 takes any free one."""

    gateway: int = 50050
    embedder: int = 50051
    search: int = 50052

    def resolved(self, host: str) -> Ports:
        """Return the ports with every 0 replaced by one that is free now."""
        wanted = (self.gateway, self.embedder, self.search)
        sockets = [socket.socket() for port in wanted if port == 0]
        try:
            for each in sockets:  # all bound at the same time, so that they differ
                each.bind((host, 0))
            free = [each.getsockname()[1] for each in sockets]
        finally:
            for each in sockets:
                each.close()
        return Ports(*(port or free.pop() for port in wanted))


class Service:
    """One service, run as `python -m MODULE`."""

    def __init__(
        self, name: str, module: str, host: str, port: int, arguments: Sequence[str] = ()
    ) -> None:
        """Describe a service; nothing runs yet.

        Args:
            name: What people call it.
            module: Package that runs it.
            host: Address that it listens on.
            port: Port that it listens on.
            arguments: Its other flags.
        """
        self.name = name
        self.target = f"{host}:{port}"
        self._module = module
        self._command = (
            [sys.executable, "-m", module, "--host", host, "--port", str(port), *arguments]
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    def start(self, environment: dict[str, str], log: Path | None = None) -> None:
        """Start the process.

        Args:
            environment: Its environment variables.
            log: File that takes what it prints. None: it prints where this process does.
        """
        output: IO[bytes] | None = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = log.open("wb")
            self._log = log
        try:
            self._process = subprocess.Popen(
                with_parent_death_signal(self._command),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output or sys.stderr,  # stdout is for what this command has to say
                stderr=output,
            )
        finally:
            if output is not None:
                output.close()

    @property
    def status(self) -> int | None:
        """Exit code, or None while it runs or before it was started."""
        return self._process.poll() if self._process else None

    def is_serving(self, service: str) -> bool:
        """Ask its health service, once."""
        with grpc.insecure_channel(self.target) as channel:
            return check(channel, service, timeout=1.0) == "SERVING"

    def signal(self, signum: signal.Signals) -> None:
        """Send it a signal if it runs."""
        if self._process and self.status is None:
            self._process.send_signal(signum)

    def wait(self, seconds: float) -> None:
        """Wait until it has ended, and kill it where that takes longer."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def obituary(self) -> str:
        """Return one line that says how it ended."""
        status = self.status
        how = f"with status {status}" if status is None or status >= 0 else f"by signal {-status}"
        lines = self._log.read_text(errors="replace").split("\n") if self._log else []
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"the {self.name} ended {how}{f': {last}' if last else ''}"


class Suite:
    """All three services; entering starts them, leaving stops them."""

    def __init__(
        self, *, host: str, ports: Ports, bundle: Path, milvus_uri: str, logs: Path | None = None
    ) -> None:
        """Describe the suite; nothing runs yet.

        Args:
            host: Address that all listen on.
            ports: Their ports.
            bundle: Folder of the model bundle.
            milvus_uri: Where the vectors are kept: a file of Milvus Lite or a server's URI.
            logs: Folder for one log file each. None: they print where this process does.
        """
        # Where a port does not matter, that of the metrics does not either.
        self._any_metrics_port = {
            name: getattr(ports, name) == 0 for name in ("embedder", "search", "gateway")
        }
        ports = ports.resolved(host)
        self.embedder = Service(
            "embedder", "embedder_service", host, ports.embedder, ["--bundle", str(bundle)]
        )
        self.search = Service(
            "search", "search_service", host, ports.search, ["--milvus-uri", milvus_uri]
        )
        self.gateway = Service(
            "gateway",
            "gateway",
            host,
            ports.gateway,
            [
                f"--embedder-target={self.embedder.target}",
                f"--search-target={self.search.target}",
            ],
        )
        self._logs = logs

    @property
    def services(self) -> tuple[Service, Service, Service]:
        """The services, those that others need first."""
        return self.embedder, self.search, self.gateway

    def __enter__(self) -> Self:
        """Start all and wait until the embedder is ready and the search service takes writes.

        Raises:
            CommandError: One ended or took too long.
        """
        defaults = {}
        for service in self.services:
            prefix = f"MARQUEE_{service.name.upper()}"
            defaults[f"{prefix}_LOG_FORMAT"] = "text"
            defaults[f"{prefix}_SHUTDOWN_DELAY_S"] = "0"  # no balancer looks at these
            if self._any_metrics_port[service.name]:
                defaults[f"{prefix}_METRICS_PORT"] = "0"
        environment = with_defaults(defaults)
        try:
            for service in self.services:
                log = self._logs / f"{service.name}.log" if self._logs else None
                service.start(environment, log)
            self.wait_until_serving(self.embedder, EMBEDDER)
            self.wait_until_serving(self.search, INDEX)
            self.wait_until_serving(self.gateway, "")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all."""
        self.stop()

    def has_index(self) -> bool:
        """Tell whether an index is active, so that the gateway can answer."""
        return self.search.is_serving(SEARCH)

    def wait_until_ready(self) -> None:
        """Wait until the gateway answers; it does once an index is active.

        Raises:
            CommandError: A service ended, or it took too long.
        """
        self.wait_until_serving(self.gateway, RECOMMENDER)

    def wait_until_serving(self, service: Service, name: str) -> None:
        """Wait until a service says that it is ready.

        Args:
            service: The process to ask.
            name: Full name of the service within it; "" asks whether it is alive.

        Raises:
            CommandError: A service ended, or it took too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while not service.is_serving(name):
            self._go_on()
            if time.monotonic() > deadline:
                raise CommandError(
                    f"the {service.name} at {service.target} is not ready after "
                    f"{START_SECONDS:.0f} s"
                )
            time.sleep(PAUSE_SECONDS)

    def watch(self) -> None:
        """Return never: all run until one ends.

        Raises:
            CommandError: One ended.
            Interrupted: This process is to stop.
        """
        while True:
            # Not a call that waits for a child: a signal that comes just before it would be missed.
            time.sleep(PAUSE_SECONDS)
            self._go_on()

    def stop(self) -> None:
        """End all, callers before what they call; whoever asks again gets it at once."""
        try:
            for service in reversed(self.services):
                service.signal(signal.SIGTERM)
            for service in reversed(self.services):
                service.wait(STOP_SECONDS)
        except (Interrupted, KeyboardInterrupt):
            for service in self.services:
                service.signal(signal.SIGKILL)
                service.wait(STOP_SECONDS)

    def _go_on(self) -> None:
        if _interrupted.is_set():
            raise Interrupted
        for service in self.services:
            if service.status is not None:
                raise CommandError(service.obituary())


def replace_with(module: str, arguments: Sequence[str]) -> None:
    """Become `python -m MODULE`; signals, output and exit code are then the service's own."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
