"""What `milvus_uri` accepts, what it refuses and with which advice, and what pymilvus is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from search_service.settings import SearchSettings
from search_service.store.milvus_address import MilvusAddress, check_uri, is_server


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("localhost:19530", "http://localhost:19530"),
        ("localhost", "http://localhost:19530"),
        ("milvus.example.org:443", "http://milvus.example.org:443"),
        ("10.0.0.7", "http://10.0.0.7:19530"),
        ("10.0.0.7:19530", "http://10.0.0.7:19530"),
        ("::1", "http://[::1]:19530"),
        ("[::1]", "http://[::1]:19530"),
        ("[::1]:19531", "http://[::1]:19531"),
        ("root:secret@milvus:19530", "http://milvus:19530"),
        ("milvus:19530/marquee", "http://milvus:19530"),
    ],
)
def test_an_address_without_a_scheme_is_refused_with_the_uri_it_means(
    address: str, advice: str
) -> None:
    with pytest.raises(ValueError, match="must have a scheme") as refused:
        check_uri(address)
    assert str(refused.value).endswith(f"as in {advice}")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("ftp://somewhere", "http://"),
        ("unix:/run/milvus.sock", "must have a scheme"),
        ("http://", "must name a host"),
        ("http://::1:19530", "brackets"),
        ("http://[::1:19530", "brackets"),
        ("http://milvus:port", "HOST:PORT"),
        ("http://milvus:19530/marquee", "must end after the host and port"),
    ],
)
def test_a_uri_that_is_no_good_is_refused_with_the_reason(uri: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_uri(uri)


@pytest.mark.parametrize(
    "folder", ["build/milvus.db", "milvus", "/data/a:b", "./localhost:19530", "localhost.db"]
)
def test_the_name_of_a_folder_is_accepted(folder: str) -> None:
    check_uri(folder)
    assert not is_server(folder)


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("http://localhost:19530", "localhost:19530"),
        ("http://localhost", "localhost:19530"),
        ("https://milvus.example.org", "milvus.example.org:443"),
        ("HTTP://milvus:1/", "milvus:1"),
        ("http://root:secret@milvus", "milvus:19530"),
        ("http://[::1]", "[::1]:19530"),
        ("https://[fe80::1]:19531", "[fe80::1]:19531"),
    ],
)
def test_the_uri_of_a_server_names_its_host_and_port(uri: str, target: str) -> None:
    check_uri(uri)
    assert is_server(uri)
    assert MilvusAddress(uri).target == target


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"milvus_tls_cert": "c.pem", "milvus_tls_ca": "ca.pem"}, "go together"),
        ({"milvus_tls_cert": "c.pem", "milvus_tls_key": "c.key"}, "needs milvus_tls_ca"),
        ({"milvus_tls_ca": "ca.pem", "milvus_uri": "http://milvus"}, "https://"),
        ({"milvus_tls_ca": "ca.pem", "milvus_uri": "build/milvus.db"}, "https://"),
        ({"milvus_tls_server_name": "milvus", "milvus_uri": "http://10.0.0.7"}, "https://"),
    ],
)
def test_tls_settings_that_would_have_no_effect_are_refused(
    given: dict[str, str], reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        SearchSettings(**{"milvus_uri": "https://milvus"} | given)


def test_tls_settings_reach_the_client() -> None:
    files = {f"milvus_tls_{name}": Path(f"{name}.pem") for name in ("ca", "cert", "key")}
    address = SearchSettings(milvus_uri="https://milvus", **files).milvus_server()
    assert address is not None
    assert address.client_arguments().items() >= {
        ("ca_pem_path", "ca.pem"),
        ("client_pem_path", "cert.pem"),
        ("client_key_path", "key.pem"),
    }
