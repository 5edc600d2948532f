from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from suite.process import ChildProcess, ProcessError

SLEEPER = """
import os, pathlib, time
print("about to sleep", flush=True)
pathlib.Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
time.sleep(120)
"""

PARENT = """
import sys, time
from suite.process import ChildProcess
ChildProcess("sleeper", [sys.executable, "-c", sys.argv[1]]).start()
time.sleep(120)
"""

Start = Callable[..., ChildProcess]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PID_FILE": str(tmp_path / "pid")}


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Start a Python program; it is killed after the test."""
    with ExitStack() as stack:

        def start(code: str = SLEEPER, **options: Path) -> ChildProcess:
            process = ChildProcess("sleeper", [sys.executable, "-c", code])
            stack.callback(process.kill)
            process.start(environment, **options)
            return process

        yield start


def pid_from(path: Path) -> int:
    deadline = time.monotonic() + 30
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, "the child is an orphan"
        time.sleep(0.02)


@asynccontextmanager
async def busy() -> AsyncIterator[None]:
    """Call a server of this process from this process all the time."""

    async def echo(request: bytes, _context: object) -> bytes:
        return request

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    done = asyncio.Event()

    async def call_on(channel: grpc.aio.Channel) -> None:
        call = channel.unary_unary("/test.Echo/Echo")
        while not done.is_set():
            await call(b"", timeout=10)

    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(8):
            group.create_task(call_on(channel))
        await asyncio.sleep(0.1)
        yield
        done.set()
    await server.stop(None)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a feature of Linux")
def test_a_process_does_not_outlive_a_parent_that_is_killed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, SLEEPER], env=environment) as parent:
        child = pid_from(tmp_path / "pid")
        assert is_running(child)
        parent.send_signal(signal.SIGKILL)
    wait_until_gone(child)


async def test_processes_start_while_grpc_is_busy_in_this_process(
    capfd: pytest.CaptureFixture[str],
) -> None:
    processes = [ChildProcess("ending", ["true"]) for _ in range(20)]
    async with busy():
        for process in processes:
            process.start()
            await asyncio.sleep(0.002)
    # A fork of this process runs the handlers of gRPC, which say so or die of SIGSEGV.
    assert [process.wait(30) for process in processes] == [0] * len(processes)
    assert "fork" not in capfd.readouterr().err


def test_how_a_process_ended_is_said_with_the_last_line_of_its_log(
    start: Start, tmp_path: Path
) -> None:
    process = start(log=tmp_path / "log" / "sleeper.log")
    pid_from(tmp_path / "pid")
    assert process.status is None
    process.raise_if_ended()
    process.stop()
    assert process.describe_exit() == "the sleeper ended by signal 15: about to sleep"
    with pytest.raises(ProcessError, match="by signal 15: about to sleep"):
        process.raise_if_ended()


def test_a_process_that_does_not_stop_is_killed(start: Start, tmp_path: Path) -> None:
    process = start("import signal; signal.signal(15, signal.SIG_IGN)\n" + SLEEPER)
    pid_from(tmp_path / "pid")
    process.stop(0.1)
    assert process.status == -signal.SIGKILL


def test_what_a_process_started_is_killed_with_it(start: Start, tmp_path: Path) -> None:
    process = start(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}])")
    grandchild = pid_from(tmp_path / "pid")
    assert grandchild != process.pid
    process.kill()
    wait_until_gone(grandchild)


def test_a_terminals_ctrl_c_is_not_for_the_child(start: Start) -> None:
    process = start()
    assert os.getpgid(process.pid) == os.getsid(process.pid) == process.pid


def test_stdout_goes_into_the_log_or_a_file_of_its_own(start: Start, tmp_path: Path) -> None:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    together, apart, stdout = tmp_path / "together", tmp_path / "apart", tmp_path / "stdout"
    assert start(code, log=together).wait() == 0
    assert together.read_text() == "out\nerr\n"
    assert start(code, log=apart, stdout=stdout).wait() == 0
    assert (apart.read_text(), stdout.read_text()) == ("err\n", "out\n")


def test_waiting_ends_when_a_process_ends_or_takes_too_long(start: Start, tmp_path: Path) -> None:
    process = start(log=tmp_path / "log")
    process.wait_until(lambda: (tmp_path / "pid").exists())
    with pytest.raises(ProcessError, match=r"the sleeper is not ready after 0 s; see .*log"):
        process.wait_until(lambda: False, 0.1)
    with pytest.raises(ProcessError, match="the sleeper still runs"):
        process.wait(0.1)
    ended = start("raise SystemExit('no way')", log=tmp_path / "ended")
    with pytest.raises(ProcessError, match="the sleeper ended with status 1: no way"):
        process.wait_until(lambda: False, 30, beside=[ended])


def test_a_process_may_be_started_again_after_its_end(
    start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    process = start()
    first = pid_from(tmp_path / "pid")
    process.stop()
    (tmp_path / "pid").unlink()
    process.start(environment)
    assert pid_from(tmp_path / "pid") == process.pid != first
    assert process.status is None
