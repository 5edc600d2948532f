from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.conftest import marquee


def test_the_demo_shows_everything_and_uses_what_is_there_when_run_again(tmp_path: Path) -> None:
    build = tmp_path / "build"
    fresh = {"MPLCONFIGDIR": str(tmp_path / "matplotlib")}  # as on the first run of a user
    first = marquee("demo", "--synthetic", "--build", build, timeout=280, **fresh)
    assert first.returncode == 0, first.stderr
    assert not noise(first.stderr)
    again = marquee("demo", "--build", build, timeout=280)
    assert again.returncode == 0, again.stderr
    assert not noise(again.stderr)
    assert "(new)" in first.stdout
    assert "(new)" not in again.stdout
    assert again.stdout.count("reused") == 2
    for step in (first, again):
        assert re.search(r"^Top +Ids +Title +Score$", step.stdout, re.MULTILINE)
        assert len(films(step.stdout)) == 5
        assert "grpcurl -plaintext" in step.stdout
    assert films(first.stdout) == films(again.stdout)
    addresses = re.findall(r"127\.0\.0\.1:(\d+)", first.stdout)
    assert len(set(addresses)) == 3
    assert not any(is_listening(port) for port in addresses), "a service outlived the demo"


def noise(stderr: str) -> list[str]:
    """Return the lines that are not of a progress bar."""
    lines = (line.strip() for line in re.split(r"[\r\n]+", stderr))
    return [line for line in lines if line and not line.startswith(("training:", "indexing"))]


def films(text: str) -> list[str]:
    return re.findall(r"^ *[1-5] +\d+ .*$", text, re.MULTILINE)


def is_listening(port: str) -> bool:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = "0A"
    return any(
        int(line.split()[1].rpartition(":")[2], 16) == int(port) and line.split()[3] == listening
        for line in lines
    )
