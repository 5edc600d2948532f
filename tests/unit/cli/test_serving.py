from __future__ import annotations

from pathlib import Path

import pytest

from marquee_cli.serving import Ports, suite_of_one_each


def test_free_ports_differ_and_given_ones_stay() -> None:
    suite = suite_of_one_each(
        host="127.0.0.1",
        ports=Ports(gateway=0, embedder=50051, search=0),
        bundle=Path("bundle"),
        milvus_uri="milvus.db",
    )
    targets = {server.name: server.target for server in suite.servers}
    assert targets["embedder"] == "127.0.0.1:50051"
    ports = {target.rpartition(":")[2] for target in targets.values()}
    assert len(ports) == 3
    assert "0" not in ports


def test_ports_are_not_looked_for_where_all_are_given() -> None:
    elsewhere = "192.0.2.1"  # nothing here can listen on it, which the services say themselves
    ports = Ports(gateway=50050, embedder=50051, search=50052)
    suite = suite_of_one_each(
        host=elsewhere, ports=ports, bundle=Path("bundle"), milvus_uri="milvus.db"
    )
    assert suite.gateway.target == f"{elsewhere}:50050"
    with pytest.raises(OSError, match="assign"):
        suite_of_one_each(
            host=elsewhere, ports=Ports(0, 0, 0), bundle=Path("bundle"), milvus_uri="milvus.db"
        )
