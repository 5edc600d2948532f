"""The connection to Milvus: TLS, IPv6, and proxies in the environment."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trustme
from tests.fixtures.certificates import issue, write_ca, write_pair
from tests.fixtures.forwarder import Forwarder

from rpckit.errors import NotReadyError, StartupError
from rpckit.observing.telemetry import Telemetry
from search_service.index.vector_index import VectorIndex
from search_service.open_index import open_index
from search_service.settings import SearchSettings

PROXY_VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy")
Forward = Callable[..., Awaitable[Forwarder]]


@pytest.fixture
async def forward(lite_uri: str) -> AsyncIterator[Forward]:
    """Forward another port to a Milvus."""
    async with AsyncExitStack() as stack:

        async def start(**options: object) -> Forwarder:
            forwarder = Forwarder(lite_uri.removeprefix("http://"), **options)
            await stack.enter_async_context(forwarder)
            await forwarder.connect()
            return forwarder

        yield start


@asynccontextmanager
async def connected(uri: str, **settings: object) -> AsyncIterator[VectorIndex]:
    """Open the index; what is under test is whether `check_store` passes."""
    chosen = SearchSettings(milvus_uri=uri, engine="milvus", **settings)
    async with open_index(chosen, Telemetry("test")) as index:
        yield index


def server_tls(folder: Path, ca: trustme.CA, *, mutual: bool = False) -> ssl.SSLContext:
    """TLS as Milvus's tlsMode 1, or 2 if it is mutual."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*write_pair(issue(ca, "milvus"), folder, "server"))
    context.set_alpn_protocols(["h2"])
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        ca.configure_trust(context)
    return context


async def test_a_milvus_with_a_certificate_of_a_private_authority(
    forward: Forward, tmp_path: Path
) -> None:
    ca = trustme.CA()
    uri = f"https://127.0.0.1:{(await forward(tls=server_tls(tmp_path, ca))).port}"
    async with connected(uri, milvus_tls_ca=write_ca(ca, tmp_path)) as index:
        await index.check_store()
    for others in ({}, {"milvus_tls_ca": write_ca(trustme.CA(), tmp_path, "other")}):
        async with connected(uri, **others) as index:
            with pytest.raises(NotReadyError):
                await index.check_store()


async def test_a_milvus_that_asks_for_a_client_certificate(
    forward: Forward, tmp_path: Path
) -> None:
    ca = trustme.CA()
    uri = f"https://localhost:{(await forward(tls=server_tls(tmp_path, ca, mutual=True))).port}"
    authority = {"milvus_tls_ca": write_ca(ca, tmp_path)}
    cert, key = write_pair(issue(ca, "search"), tmp_path, "client")
    async with connected(uri, **authority, milvus_tls_cert=cert, milvus_tls_key=key) as index:
        await index.check_store()
    async with connected(uri, **authority) as index:
        with pytest.raises(NotReadyError):
            await index.check_store()


async def test_the_name_in_the_certificate_is_checked_and_can_be_set(
    forward: Forward, tmp_path: Path
) -> None:
    ca = trustme.CA()
    uri = f"https://127.0.0.1:{(await forward(tls=server_tls(tmp_path, ca))).port}"
    authority = {"milvus_tls_ca": write_ca(ca, tmp_path)}
    async with connected(uri, **authority, milvus_tls_server_name="milvus") as index:
        await index.check_store()
    async with connected(uri, **authority, milvus_tls_server_name="elsewhere") as index:
        with pytest.raises(NotReadyError):
            await index.check_store()


async def test_an_unusable_tls_file_is_found_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(StartupError, match=name):
            async with connected("https://127.0.0.1:1", milvus_tls_ca=tmp_path / name):
                pass


async def test_a_milvus_at_an_ipv6_address(forward: Forward) -> None:
    async with connected(f"http://[::1]:{(await forward(host='::1')).port}") as index:
        await index.check_store()


async def test_a_proxy_in_the_environment_is_not_used(
    lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in PROXY_VARIABLES:
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nothing listens
    async with connected(lite_uri) as index:
        await index.check_store()


async def test_a_proxy_in_the_environment_is_used_if_a_setting_says_so(
    lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        for variable in PROXY_VARIABLES:
            monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
        for variable in ("no_proxy", "no_grpc_proxy"):
            monkeypatch.delenv(variable, raising=False)
        async with connected(lite_uri, milvus_proxy=True) as index:
            with pytest.raises(NotReadyError):
                await index.check_store()
        target = lite_uri.removeprefix("http://").encode()
        assert (await asked.get()).startswith(b"CONNECT " + target)
