"""The suite as processes; the echo stands in for the services: it says of all that they serve."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from suite.interruption import Interrupted, interruptible
from suite.ports import free_ports
from suite.process import STOP_SECONDS, ProcessError
from suite.server_process import ServerProcess
from suite.services import EMBEDDER, LIVENESS
from suite.three_services import Suite, server_of, target_of


def echo(name: str, *arguments: str) -> ServerProcess:
    return ServerProcess(name, "loadtest.bench.echo", free_ports(1)[0], arguments)


def suite_of_echoes(logs: Path, *, gateway: ServerProcess | None = None) -> Suite:
    return Suite([echo("embedder")], [echo("search")], [gateway or echo("gateway")], logs=logs)


def test_all_serve_inside_and_are_gone_outside(tmp_path: Path) -> None:
    with suite_of_echoes(tmp_path) as suite:
        assert [server.name for server in suite.servers] == ["embedder", "search", "gateway"]
        assert all(server.is_serving(LIVENESS) for server in suite.servers)
        assert suite.has_index()
        suite.wait_until_ready()
    assert [server.status for server in suite.servers] == [0, 0, 0]
    assert {path.name for path in tmp_path.iterdir()} == {
        "embedder.log", "search.log", "gateway.log"
    }  # fmt: skip


def test_one_that_does_not_start_takes_the_others_along(tmp_path: Path) -> None:
    suite = suite_of_echoes(tmp_path, gateway=echo("gateway", "--no-such-flag"))
    with pytest.raises(ProcessError, match=r"the gateway ended with status 2: .*--no-such-flag"):
        suite.__enter__()
    assert None not in [server.status for server in suite.servers]


def test_one_that_ends_is_noticed_whichever_is_waited_for(tmp_path: Path) -> None:
    with suite_of_echoes(tmp_path) as suite:
        suite.searches[0].send_signal(signal.SIGKILL)
        with pytest.raises(ProcessError, match="the search ended by signal 9"):
            suite.watch()
        with pytest.raises(ProcessError, match="the search ended by signal 9"):
            suite.wait_until_ready()


def test_the_gateway_is_stopped_before_what_it_calls(tmp_path: Path) -> None:
    with suite_of_echoes(tmp_path) as suite:
        behind = [*suite.embedders, *suite.searches]
        suite.gateway.send_signal(signal.SIGSTOP)  # so that it does not stop yet
        stopping = threading.Thread(target=suite.stop)
        stopping.start()
        time.sleep(0.5)
        assert all(server.is_serving(LIVENESS) for server in behind)
        suite.gateway.send_signal(signal.SIGCONT)
        stopping.join(20)
        assert [server.status for server in suite.servers] == [0, 0, 0]


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    suite = suite_of_echoes(tmp_path)
    again = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))

    def be_asked_twice() -> None:
        with interruptible(), suite:
            for server in suite.servers:
                server.send_signal(signal.SIGSTOP)  # so that none can take the first one
            again.start()
            os.kill(os.getpid(), signal.SIGTERM)

    begun = time.monotonic()
    with pytest.raises(Interrupted):
        be_asked_twice()
    again.join()
    assert [server.status for server in suite.servers] == [-signal.SIGKILL] * 3
    assert time.monotonic() - begun < STOP_SECONDS


def test_replicas_have_names_and_one_target() -> None:
    one = server_of(EMBEDDER, ["--bundle=b"], port=1, name="embedder 1")
    two = server_of(EMBEDDER, ["--bundle=b"], port=2, name="embedder 2")
    assert str(two) == "the embedder 2 at 127.0.0.1:2"
    assert target_of([one]) == "127.0.0.1:1"
    assert target_of([one, two]) == "ipv4:127.0.0.1:1,127.0.0.1:2"
