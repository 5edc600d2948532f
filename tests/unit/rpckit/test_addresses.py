from __future__ import annotations

from pathlib import Path

import pytest

from rpckit.addresses import (
    is_loopback,
    join_host_port,
    parse_host,
    parse_target,
    resolve_free_address,
    targets_loopback,
)
from rpckit.errors import StartupError


@pytest.mark.parametrize(
    ("host", "parsed"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::]", "::"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("unix:/run/search.sock", "unix:/run/search.sock"),
        ("unix:///run/search.sock", "unix:/run/search.sock"),
    ],
)
def test_a_host_is_understood_in_every_spelling(host: str, parsed: str) -> None:
    assert parse_host(host) == parsed


@pytest.mark.parametrize("host", ["127.0.0.1:50051", "[::1]:50051", "localhost:1", "http://here"])
def test_a_host_with_a_port_or_a_scheme_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="a host has no"):
        parse_host(host)


@pytest.mark.parametrize(
    "target",
    [
        "localhost:50051",
        "[::1]:50051",
        "dns:///search:50052",
        "ipv4:127.0.0.1:1,127.0.0.1:2",
        "ipv6:[::1]:1,[::1]:2",
        "unix:/run/search.sock",
    ],
)
def test_targets_of_grpc_stay_as_they_are(target: str) -> None:
    assert parse_target(target) == target


@pytest.mark.parametrize(
    ("target", "right"),
    [
        ("http://search:50052", "write search:50052"),
        ("http://search:50052/", "write search:50052"),
        ("http://[::1]:50052", "write [::1]:50052"),
        ("http://search", "write search:PORT"),
        ("https://search:50052", "write search:50052; tls_ca switches TLS on"),
        ("grpc://search:50052", "write search:50052"),
        ("::1", "write [::1]:PORT"),
        ("::1:50052", "write [::1]:50052"),
        ("ipv6:::1:50052", "write [::1]:50052"),
        ("[::1]", "write [::1]:PORT"),
        ("search", "write search:PORT"),
        ("search:", "a port is a number"),
        ("search:65536", "a port is a number"),
        ("ipv4:10.0.0.1:1,10.0.0.2", "write 10.0.0.2:PORT"),
    ],
)
def test_any_other_target_is_refused_with_the_right_spelling(target: str, right: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the message is compared below
        parse_target(target)
    assert right in str(refusal.value)


@pytest.mark.parametrize("host", ["unix:", "unix:here.sock"])
def test_the_path_of_a_socket_is_absolute(host: str) -> None:
    with pytest.raises(ValueError, match="write unix:/PATH"):
        parse_host(host)


def test_a_socket_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No such file or directory"):
        resolve_free_address(f"unix:{tmp_path}/none/a.sock", 0)
    with pytest.raises(StartupError, match="path too long"):
        resolve_free_address(f"unix:{tmp_path}/{'a' * 108}", 0)


def test_a_refused_url_is_not_repeated_with_its_password() -> None:
    with pytest.raises(ValueError, match="write search:1") as refusal:
        parse_target("http://admin:canary@search:1")
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "unix:/run/search.sock"])
def test_host_and_port_are_joined_to_a_target(host: str) -> None:
    target = join_host_port(host, 50051)
    assert parse_target(target) == target


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("192.168.0.1", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("unix:/run/search.sock", True),
        ("", False),
    ],
)
def test_loopback_addresses_are_recognized(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("dns:///localhost:1", True),
        ("ipv6:[::1]:1,[::1]:2", True),
        ("unix:/run/search.sock", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("search:50052", False),
    ],
)
def test_targets_on_this_machine_are_recognized(target: str, expected: bool) -> None:
    assert targets_loopback(target) is expected
