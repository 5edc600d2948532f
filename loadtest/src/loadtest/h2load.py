"""Closed-loop loads by nghttp2's h2load, with a check of the replies.

h2load counts HTTP 200 as success, but gRPC errors are HTTP 200 too. So an ordinary client checks
replies before and after, and their size is checked in between: an error has no message.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from loadtest import resources
from loadtest.clients import LoadClient, LoadError
from loadtest.measurement import Measurement, MethodResult
from loadtest.sampling import sample
from loadtest.tally import MethodTally
from loadtest.workload import METHODS, Workload
from rpckit.settings.client import ClientSettings
from suite.parent_death import with_parent_death_signal

NOT_OK = "NOT_OK"
"""Status of replies that h2load counts as successes: HTTP 200 without a message."""
_TOLERANCE = 0.005
"""Share of bytes that may be missing: a few replies are still in flight at the end."""
_TIMINGS_BYTES = 12
"""Largest size difference of two replies to one request: their timings are varints."""
_EXTRA_SECONDS = 30.0
_REST_SECONDS = 0.3
"""Pause after a load, so that its unfinished calls do not count against the server's limit."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary that h2load prints at its end."""

    requests: int
    succeeded: int
    failed: int
    not_2xx: int
    data_bytes: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read h2load's output.

        Raises:
            LoadError: It is not the output of h2load 1.4x to 1.6x.
        """
        requests = re.search(
            r"requests: \d+ total, .*?(\d+) done, (\d+) succeeded, (\d+) failed", text
        )
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        data = re.search(r"traffic: .*\((\d+)\) data", text)
        if not (requests and codes and data):
            last = next((line for line in reversed(text.splitlines()) if line.strip()), "nothing")
            raise LoadError(f"h2load did not measure; its last line: {last}")
        done, succeeded, failed = (int(each) for each in requests.groups())
        return cls(
            requests=done,
            succeeded=succeeded,
            failed=failed,
            not_2xx=sum(int(each) for each in codes.groups()[1:]),
            data_bytes=int(data[1]),
        )


def measure(
    endpoint: ClientSettings,
    method: str,
    workload: Workload,
    *,
    name: str,
    connections: int = 8,
    streams: int = 8,
    duration: float = 5.0,
    warm_up: float = 1.0,
    processes: int = 4,
    servers: Mapping[str, int] | None = None,
) -> Measurement:
    """Measure a closed loop of `connections` × `streams` callers.

    One h2load repeats one message, so several run at once, each for another user.

    Args:
        endpoint: Client settings of the server.
        method: Method to call.
        workload: Source of the requests.
        name: Name of the measurement.
        connections: Total number of connections.
        streams: Concurrent calls on each.
        duration: Measured seconds.
        warm_up: Seconds of the same load before, unmeasured.
        processes: Number of h2load processes, at most `connections`.
        servers: Processes on this machine whose CPU is to be measured, by name.

    Raises:
        LoadError: h2load is not installed, cannot connect, or a reply is an error.
    """
    program = find()
    everything = workload.messages(method)
    processes = min(processes, connections)
    messages = everything[:: max(1, len(everything) // processes)][:processes]
    expected = [len(each) + 5 for each in sample(endpoint, method, messages)]
    shares = [len(range(part, connections, processes)) for part in range(processes)]
    with tempfile.TemporaryDirectory(prefix="marquee-h2load-") as folder:
        commands, logs = [], []
        for part, (message, share) in enumerate(zip(messages, shares, strict=False)):
            body, log = Path(folder, f"{part}.bin"), Path(folder, f"{part}.log")
            body.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
            commands.append(
                [program, f"--data={body}", f"-c{share}", f"-m{streams}", "-t1",
                 *_headers(endpoint), _url(endpoint, method)]
            )  # fmt: skip
            logs.append(log)
        if warm_up > 0:
            for output in _run([[*each, _duration(warm_up)] for each in commands], warm_up):
                Summary.parse(output)
            time.sleep(_REST_SECONDS)
        before = {each: resources.cpu_seconds([pid]) for each, pid in (servers or {}).items()}
        outputs = _run(
            [
                [*c, _duration(duration), f"--log-file={log}"]
                for c, log in zip(commands, logs, strict=True)
            ],
            duration,
        )
        usage = {
            each: resources.cpu_seconds([pid]) - before[each]
            for each, pid in (servers or {}).items()
        }
        tally = MethodTally()
        for output, log, size in zip(outputs, logs, expected, strict=False):
            _count(Summary.parse(output), log, size, tally)
    time.sleep(_REST_SECONDS)
    sample(endpoint, method, messages)
    return Measurement(
        name=name,
        load=f"{connections} × {streams} callers",
        client=LoadClient.H2LOAD,
        duration_s=duration,
        offered_per_s=None,
        concurrency=connections * streams,
        methods={method: MethodResult.of(tally)},
        cpu_s=usage,
    )


def find() -> str:
    """Return the path of h2load.

    Raises:
        LoadError: It is not installed.
    """
    program = shutil.which("h2load")
    if program is None:
        raise LoadError(
            "h2load is not installed; it is in nghttp2: apt-get install nghttp2-client, "
            "brew install nghttp2"
        )
    return program


def _count(summary: Summary, log: Path, size: int, tally: MethodTally) -> None:
    """Add the results of one h2load process."""
    bad = summary.failed + summary.not_2xx
    if bad:
        tally.failures["UNAVAILABLE"] = tally.failures.get("UNAVAILABLE", 0) + bad
    least = max(1, size - _TIMINGS_BYTES)
    missing = 1 - summary.data_bytes / max(1, summary.succeeded * least)
    silent = round(summary.succeeded * missing) if missing > _TOLERANCE else 0
    if silent:
        tally.failures[NOT_OK] = tally.failures.get(NOT_OK, 0) + silent
    latencies = [int(line.split("\t")[2]) for line in log.read_text().splitlines()]
    for microseconds in sorted(latencies)[silent:]:  # refusals are the fastest replies
        tally.latencies.record(microseconds / 1e6)


def _run(commands: Sequence[Sequence[str]], seconds: float) -> list[str]:
    children = [
        subprocess.Popen(
            with_parent_death_signal(each),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for each in commands
    ]
    try:
        return [child.communicate(timeout=seconds + _EXTRA_SECONDS)[0] for child in children]
    except subprocess.TimeoutExpired:
        raise LoadError("h2load did not end in time") from None
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.communicate()


def _duration(seconds: float) -> str:
    return f"-D{max(1, round(seconds * 1000))}ms"  # h2load takes no fractions


def _headers(endpoint: ClientSettings) -> list[str]:
    if endpoint.tls_cert is not None:
        raise LoadError("h2load has no client certificates; use the wire client")
    fields = ["content-type: application/grpc", "te: trailers"]
    fields.append(f"grpc-timeout: {max(1, round(endpoint.timeout_s * 1000))}m")
    if endpoint.token_file is not None:
        fields.append(f"authorization: Bearer {endpoint.token_file.read_text().strip()}")
    return [f"--header={field}" for field in fields]


def _url(endpoint: ClientSettings, method: str) -> str:
    scheme = "http" if endpoint.tls_ca is None else "https"
    address = endpoint.target.removeprefix("dns:///").removeprefix("ipv4:")
    if "," in address:
        raise LoadError("h2load takes one address; use the wire client for several")
    return f"{scheme}://{address}/{METHODS[method]}"
