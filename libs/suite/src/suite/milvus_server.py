"""A Milvus standalone as a child process."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rpckit.settings.client import ClientSettings
from suite.health import is_serving
from suite.ports import LOOPBACK, free_ports
from suite.process import ChildProcess
from suite.services import LIVENESS

_PORT_FLAGS = (
    "proxy-port", "proxy-internal-port", "root-coord-port", "query-coord-port", "query-node-port",
    "index-coord-port", "index-node-port", "data-coord-port", "data-node-port",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MilvusServer:
    """A running Milvus server."""

    pid: int
    uri: str


@contextmanager
def milvus_server(
    program: Path, folder: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[MilvusServer]:
    """Run a Milvus standalone with its data in a folder; it is killed at the end of the block.

    Args:
        program: The `milvus-server` program.
        folder: Folder for its data; may exist.
        settings: Environment variables that override Milvus's defaults.

    Raises:
        ProcessError: It ended or took too long.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()  # the server changes its working directory
    log, etcd = folder / "server.log", folder / "etcd.yaml"
    with _one_start_at_a_time():
        *ports, peer, client = free_ports(len(_PORT_FLAGS) + 2)
        etcd.write_text(_etcd_config(peer, client))
        flags = [f"--{name}={port}" for name, port in zip(_PORT_FLAGS, ports, strict=True)]
        target = f"{LOOPBACK}:{ports[0]}"
        server = ChildProcess(
            "Milvus server",
            [str(program), "--data", str(folder), *flags],
            parent_death_signal=signal.SIGINT,  # SIGTERM would not end its own child
        )
        server.start({**os.environ, **settings, "ETCD_CONFIG_PATH": str(etcd)}, log=log)
        try:
            server.wait_until(
                # The server logs this once all its components are ready
                lambda: (
                    "Ctrl+C to exit" in log.read_text()
                    and is_serving(ClientSettings(target=target), LIVENESS)
                )
            )
        except BaseException:
            server.kill()
            raise
    try:
        yield MilvusServer(server.pid, f"http://{target}")
    finally:
        server.kill()  # its data are not needed any more


@contextmanager
def _one_start_at_a_time() -> Iterator[None]:
    """Let one Milvus server start at a time: each picks a free port for its metrics by itself."""
    name = f"marquee-milvus-server-{os.getuid()}.lock"
    with (Path(tempfile.gettempdir()) / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _etcd_config(peer: int, client: int) -> str:
    return f"""\
name: default
listen-peer-urls: http://{LOOPBACK}:{peer}
listen-client-urls: http://{LOOPBACK}:{client}
initial-advertise-peer-urls: http://{LOOPBACK}:{peer}
advertise-client-urls: http://{LOOPBACK}:{client}
initial-cluster: default=http://{LOOPBACK}:{peer}
"""
