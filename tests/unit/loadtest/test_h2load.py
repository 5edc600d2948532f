from __future__ import annotations

from pathlib import Path

import pytest

from loadtest import h2load
from loadtest.clients import LoadError
from loadtest.h2load import NOT_OK, Summary
from loadtest.tally import MethodTally

OUTPUT = """\
starting benchmark...
spawning thread #0: 2 total client(s). Timing-based test with 0s of warm-up time and 5s of main duration for measurements.
progress: 50% of clients started
Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

finished in 5.00s, 2971.60 req/s, 2.36MB/s
requests: 14858 total, 14874 started, 14858 done, 14856 succeeded, 2 failed, 2 errored, 0 timeout
status codes: 14850 2xx, 0 3xx, 5 4xx, 1 5xx
traffic: 12.35MB (12950000) total, 46.23KB (47343) headers (space savings 96.25%), 10.95MB (11485234) data
                     min         max         mean         sd        +/- sd
time for request:      335us     33.81ms     21.54ms      2.88ms    80.71%
"""  # noqa: E501 - as it is printed


def test_the_output_is_understood() -> None:
    assert Summary.parse(OUTPUT) == Summary(
        requests=14858, succeeded=14856, failed=2, not_2xx=6, data_bytes=11485234
    )


@pytest.mark.parametrize(
    "text", ["", "Could not resolve or connect to host\n", OUTPUT[:500], OUTPUT.replace("data", "")]
)
def test_output_that_is_no_measurement_is_refused(text: str) -> None:
    with pytest.raises(LoadError, match="h2load did not measure"):
        Summary.parse(text)


def logged(tmp_path: Path, microseconds: list[int]) -> Path:
    log = tmp_path / "log"
    log.write_text("".join(f"1795507961582598\t200\t{each}\n" for each in microseconds))
    return log


def test_latencies_come_from_the_log(tmp_path: Path) -> None:
    tally = MethodTally()
    summary = Summary(requests=4, succeeded=4, failed=0, not_2xx=0, data_bytes=400)
    h2load._count(summary, logged(tmp_path, [100, 200, 300, 400]), 100, tally)
    assert tally.latencies.count == 4
    assert tally.latencies.percentile(50) == pytest.approx(200e-6)
    assert not tally.failures


def test_errors_that_h2load_takes_for_answers_are_found_by_their_size(tmp_path: Path) -> None:
    tally = MethodTally()
    summary = Summary(requests=4, succeeded=4, failed=0, not_2xx=0, data_bytes=3000)
    h2load._count(summary, logged(tmp_path, [1, 200, 300, 400]), 1000, tally)
    assert tally.failures == {NOT_OK: 1}
    assert tally.latencies.count == 3
    assert tally.latencies.percentile(0) > 100e-6  # what is refused is refused soon


def test_replies_whose_timings_take_fewer_digits_are_no_errors(tmp_path: Path) -> None:
    tally = MethodTally()
    summary = Summary(requests=2, succeeded=2, failed=0, not_2xx=0, data_bytes=2 * 70)
    h2load._count(summary, logged(tmp_path, [100, 200]), 76, tally)
    assert not tally.failures


def test_its_absence_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LoadError, match="apt-get install nghttp2-client"):
        h2load.find()
