from __future__ import annotations

import pytest
from tests.fixtures.puppet import PuppetSettings, wire

from rpckit.errors import StartupError
from rpckit.serving.process import find_host, run, run_on_grpcio
from rpckit_envoy.supervisor import run_on_envoy


def test_hosts_are_found_by_the_names_of_their_entry_points() -> None:
    assert find_host("grpcio") is run_on_grpcio
    assert find_host("envoy") is run_on_envoy


def test_a_host_that_is_not_installed_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        StartupError, match=r"server nginx is not installed; installed are: envoy, grpcio"
    ):
        find_host("nginx")


def test_a_process_with_an_unknown_host_ends_with_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("puppet", PuppetSettings(server="nginx"), wire) == 1
    assert capsys.readouterr().err == (
        "puppet: server nginx is not installed; installed are: envoy, grpcio\n"
    )
