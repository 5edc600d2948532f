from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMANDS = [
    (),
    ("data",),
    ("train",),
    ("evaluate",),
    ("index",),
    ("recommend",),
    ("similar",),
    ("verify",),
    ("demo",),
    ("serve",),
    ("serve", "all"),
    ("bench",),
    ("bench", "run"),
]


def marquee(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "marquee_cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    answer = marquee(*command, "-h")
    assert answer.returncode == 0
    assert answer.stdout.lower().startswith(f"usage: marquee {' '.join(command)}".rstrip())
    assert not answer.stderr


@pytest.mark.parametrize("service", ["embedder", "search", "gateway"])
def test_help_of_a_service_explains_its_own_settings(service: str) -> None:
    answer = marquee("serve", service, "-h")
    assert answer.returncode == 0
    assert "--max-concurrent-rpcs" in answer.stdout


def test_help_of_recommend_names_every_occupation_and_age() -> None:
    text = " ".join(marquee("recommend", "-h").stdout.split())
    assert "4 college/grad student" in text
    assert "20 writer" in text
    assert "25 (25 to 34)" in text
    assert "56 (56 and more)" in text


def test_help_comes_at_once_because_nothing_heavy_is_imported() -> None:
    heavy = ("paddle", "numpy", "grpc", "training", "rich")
    probe = (
        "import sys; sys.argv = ['marquee', '-h']; from marquee_cli.__main__ import main; main();"
        f"sys.stderr.write(','.join(m for m in {heavy} if m in sys.modules))"
    )
    started = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True
    )
    assert not answer.stderr
    assert time.monotonic() - started < 5  # 0.1 s on an idle machine


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("recommend", "-g", "X"), "--gender"),
        (("recommend", "--no-such-option"), "--no-such-option"),
        (("recommend", "-a", "young"), "--age"),
        (("recommnd",), "recommend"),
        (("serve", "all", "--port", "70000"), "--port"),
        (("train", "--preset", "best"), "--preset"),
        (("train", "--epochz", "3"), "--epochz"),
    ],
)
def test_misuse_is_one_line_and_status_2(arguments: tuple[str, ...], words: str) -> None:
    answer = marquee(*arguments)
    assert answer.returncode == 2
    assert answer.stderr.startswith("marquee: ")
    assert answer.stderr.count("\n") == 1
    assert words in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("recommend", "-j", "astronaut"), "'astronaut' is neither a name nor a code"),
        (("recommend", "-a", "-3"), "--age: -3 is out of range"),
        (("recommend", "--exclude", "1,two"), "--exclude takes movie ids, not 'two'"),
        (("similar", "1,two"), "IDS takes movie ids, not 'two'"),
        (("similar", "1", "--dislike", "two"), "--dislike takes movie ids, not 'two'"),
        (("similar", "1", "-n", "-3"), "--count: -3 is out of range"),
        (
            ("recommend", "--target", "127.0.0.1:1"),
            "the gateway service at 127.0.0.1:1 does not answer",
        ),
        (
            ("recommend", "--target", "http://127.0.0.1:1"),
            "the gateway service: a gRPC target has no http://: write 127.0.0.1:1",
        ),
        (
            ("bench", "run", "EmbedUsers", "--embedder-target", "::1:50051"),
            "the embedder service: an IPv6 address needs brackets: write [::1]:50051",
        ),
        (("--tls-cert", "x.pem", "recommend"), "tls_cert and tls_key go together"),
    ],
)
def test_failure_is_one_line_and_status_1(arguments: tuple[str, ...], words: str) -> None:
    answer = marquee(*arguments)
    assert answer.returncode == 1
    assert answer.stderr.startswith("marquee: ")
    assert answer.stderr.count("\n") == 1
    assert words in answer.stderr


def test_an_error_names_the_service_that_was_called(tmp_path: Path) -> None:
    raw = tmp_path / "movies.dat"
    raw.write_text("1::Toy Story (1995)::Animation\n")
    assert marquee("data", "-f", str(raw), "--out", str(tmp_path)).returncode == 0
    answer = marquee("index", "--data", str(tmp_path), "--embedder-target", "127.0.0.1:1")
    assert answer.returncode == 1
    assert "marquee: the embedder service at 127.0.0.1:1 does not answer" in answer.stderr
