from __future__ import annotations

import socket

import pytest

from suite import ports
from suite.ports import LOOPBACK, free_ports


def test_free_ports_differ_and_can_be_listened_on_all_at_once() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    sockets = [socket.create_server((LOOPBACK, port)) for port in found]
    for each in sockets:
        each.close()


def test_a_port_that_is_taken_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free, other = free_ports(2)
    with socket.create_server((LOOPBACK, free)) as taken:
        assert taken
        drawn = iter([free, other])
        monkeypatch.setattr(ports.random, "randrange", lambda *_: next(drawn))
        assert free_ports(1) == [other]


def test_ports_of_ipv6_are_found_too() -> None:
    [port] = free_ports(1, "::1")
    socket.create_server(("::1", port), family=socket.AF_INET6).close()


def test_an_address_that_is_not_this_machines_is_refused_not_tried_for_ever() -> None:
    with pytest.raises(OSError, match="assign"):
        free_ports(1, "192.0.2.1")
