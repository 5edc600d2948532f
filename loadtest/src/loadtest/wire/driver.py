"""Run a job over raw connections: one thread, one select loop, timers exact to 0.1 ms."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from functools import partial
from heapq import heappop, heappush
from itertools import cycle

from hpack import HPACKError

from loadtest.job import Job, Outcome, Recorder, Requests
from loadtest.load import ClosedLoop, OpenLoop
from loadtest.wire.connection import RESOURCE_EXHAUSTED, UNAVAILABLE, Connection, Method
from loadtest.workload import METHODS
from rpckit.settings.client import ClientSettings

_DEADLINE_EXCEEDED = 4
_PAUSE_SECONDS = {UNAVAILABLE: 0.05, RESOURCE_EXHAUSTED: 0.1}
"""Time by status after which a caller of a closed loop calls again; the services ask for it in
RetryInfo. Without it, refusals would be most of the load."""
_DRAIN_SECONDS = 1.0
"""Extra time to wait for the last calls, beyond their timeout."""


def drive(job: Job, requests: Requests, start: Callable[[], float]) -> Outcome:
    """Run a job.

    Args:
        job: The job.
        requests: Its requests.
        start: Called once connected; returns the start time.

    Raises:
        OSError: A server cannot be reached.
    """
    pools = {settings: _Pool(settings, job) for settings in set(job.endpoints.values())}
    by_method = {name: pools[settings] for name, settings in job.endpoints.items()}
    try:
        recorder = Recorder(job, start())
        loop = _Loop(requests, by_method, recorder, list(pools.values()))
        before = time.process_time()
        if isinstance(job.load, OpenLoop):
            loop.open(job.load, job)
        else:
            loop.closed(job.load)
        return recorder.outcome(time.process_time() - before)
    finally:
        for pool in pools.values():
            pool.close()


def addresses(target: str) -> list[tuple[str, int]]:
    """Return the addresses of a gRPC target, as in `host:port` or `ipv4:a:1,b:2`.

    Raises:
        OSError: The target is of another form, or its name is unknown.
    """
    listed = target.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:")
    found = []
    for each in listed.split(","):
        host, _, port = each.rpartition(":")
        if not host or not port.isdigit():
            raise OSError(f"not a target of the form HOST:PORT: {each!r}")
        infos = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        kept = infos if target.startswith("dns:") else infos[:1]
        found += [(str(info[4][0]), int(info[4][1])) for info in kept]
    return found


class _Loop:
    """The select loop."""

    def __init__(
        self,
        requests: Requests,
        by_method: dict[str, _Pool],
        recorder: Recorder,
        pools: list[_Pool],
    ) -> None:
        self._requests = requests
        self._by_method = by_method
        self._recorder = recorder
        self._pools = pools
        self._idle: list[float] = []  # a heap: when each idle caller calls again
        self._outstanding = 0

    def closed(self, load: ClosedLoop) -> None:
        """Run a closed loop until the time is over."""
        end = self._recorder.last
        self._idle.extend([time.perf_counter()] * load.concurrency)
        while (now := time.perf_counter()) < end:
            while self._idle and self._idle[0] <= now:
                heappop(self._idle)
                method, message = self._requests.next()
                sent = time.perf_counter()
                self._outstanding += 1
                done = partial(self._closed_done, method, sent)
                self._by_method[method].call(METHODS[method], message, done)
            until = min(end, self._idle[0]) if self._idle else end
            self._exchange(until - time.perf_counter())
        self._fail(_DEADLINE_EXCEEDED)

    def open(self, load: OpenLoop, job: Job) -> None:
        """Run an open loop until the time is over, then wait for the last answers."""
        recorder, end = self._recorder, self._recorder.last
        begin = recorder.first - job.warm_up
        times = load.times(job.seed)
        due = begin + next(times)
        while due < end:
            now = time.perf_counter()
            while due <= now and due < end:
                method, message = self._requests.next()
                recorder.record_lag(due, now)
                self._outstanding += 1
                done = partial(self._open_done, method, due)
                self._by_method[method].call(METHODS[method], message, done)
                due = begin + next(times)
            self._exchange(due - time.perf_counter())
        give_up = end + job.timeout + _DRAIN_SECONDS
        while self._outstanding and (left := give_up - time.perf_counter()) > 0:
            self._exchange(left)
        self._fail(_DEADLINE_EXCEEDED)

    def _fail(self, status: int) -> None:
        for pool in self._pools:
            pool.fail(status)

    def _closed_done(self, method: str, sent: float, status: int) -> None:
        now = time.perf_counter()
        self._outstanding -= 1
        self._recorder.record_closed(method, status, sent, now)
        heappush(self._idle, now + _PAUSE_SECONDS.get(status, 0.0))

    def _open_done(self, method: str, due: float, status: int) -> None:
        self._outstanding -= 1
        self._recorder.record_open(method, status, due, time.perf_counter())

    def _exchange(self, seconds: float) -> None:
        """Send pending bytes, and receive for at most some seconds."""
        links = [link for pool in self._pools for link in pool.links()]
        for link in links:
            if link.connection.out:
                link.write()
        links = [link for link in links if link.is_open]
        writers = [link for link in links if link.connection.out]
        readable, writable, _ = select.select(links, writers, [], max(0.0, seconds))
        for link in writable:
            link.write()
        for link in readable:
            link.read()


class _Pool:
    """The connections to one target, used in turn."""

    def __init__(self, settings: ClientSettings, job: Job) -> None:
        self._settings = settings
        self._tls = _tls(settings)
        self._metadata = _token(settings)
        self._timeout = job.timeout
        self._methods: dict[str, Method] = {}
        found = addresses(settings.target)
        self._links = [_Link(each, self._tls, settings) for each in found * job.connections]
        self._old: list[_Link] = []
        self._turn: Iterator[int] = cycle(range(len(self._links)))

    def call(self, path: str, message: bytes, done: Callable[[int], None]) -> None:
        turn = next(self._turn)
        link = self._links[turn]
        if link.connection.draining:
            self._old.append(link)
            try:
                link = self._links[turn] = _Link(link.address, self._tls, self._settings)
            except OSError:
                self._old.remove(link)
                done(UNAVAILABLE)
                return
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = Method(
                path,
                authority=self._settings.tls_server_name or f"{link.address[0]}:{link.address[1]}",
                scheme="https" if self._tls else "http",
                metadata=self._metadata,
                timeout=self._timeout,
            )
        link.connection.call(method, message, done)

    def links(self) -> list[_Link]:
        """Return the connections that are in use."""
        for link in self._old:
            if not link.connection.open_calls:
                link.close()
        self._old = [link for link in self._old if link.is_open]
        return [link for link in (*self._links, *self._old) if link.is_open]

    def fail(self, status: int) -> None:
        """End every call that has no answer."""
        for link in (*self._links, *self._old):
            link.connection.fail(status)

    def close(self) -> None:
        for link in (*self._links, *self._old):
            link.close()


class _Link:
    """A connection and its socket."""

    def __init__(
        self, address: tuple[str, int], tls: ssl.SSLContext | None, settings: ClientSettings
    ) -> None:
        self.address = address
        self.connection = Connection()
        self.is_open = True
        self._socket = socket.create_connection(address, timeout=settings.timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            name = settings.tls_server_name or address[0]
            self._socket = tls.wrap_socket(self._socket, server_hostname=name)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def write(self) -> None:
        out = self.connection.out
        try:
            sent = self._socket.send(out)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError:
            self._break()
            return
        del out[:sent]

    def read(self) -> None:
        try:
            while data := self._socket.recv(1 << 18):
                self.connection.receive(data)
                if not isinstance(self._socket, ssl.SSLSocket):
                    return
            self._break()  # the other side closed
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, HPACKError):
            self._break()

    def _break(self) -> None:
        self.close()
        self.connection.fail(UNAVAILABLE)

    def close(self) -> None:
        self.is_open = False
        self._socket.close()


def _tls(settings: ClientSettings) -> ssl.SSLContext | None:
    files = settings.tls_files()
    if files is None:
        return None
    context = ssl.create_default_context(cafile=files.ca)
    context.set_alpn_protocols(["h2"])
    files.load_identity(context)
    return context


def _token(settings: ClientSettings) -> list[tuple[str, str]]:
    if settings.token_file is None:
        return []
    return [("authorization", f"Bearer {settings.token_file.read_text().strip()}")]
