"""TLS and mTLS with real certificates, on every hop and while they are being replaced."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from tests.fixtures.certificates import cert_pem, issue, replace, write_ca, write_pair
from tests.fixtures.replica import IDEMPOTENT, SERVICE, Replica

from marquee.search.v1 import index_pb2
from rpckit.calling.channel import Channel, connect
from rpckit.errors import StartupError, UpstreamError
from rpckit.observing.tracing.context import TraceContext
from rpckit.security.tls import TlsFiles, server_credentials
from rpckit.serving.server import Server
from rpckit.settings.client import ClientSettings

Serve = Callable[..., Awaitable[Server]]

OURS = trustme.CA()
THEIRS = trustme.CA()


async def call(channel: Channel, timeout: float = 3.0) -> None:
    await channel.unary(IDEMPOTENT)(
        index_pb2.ListIndexesRequest(), timeout=timeout, trace=TraceContext()
    )


async def call_once(server: Server, **settings: Any) -> None:
    """Call over a connection of its own."""
    target = ClientSettings(target=f"127.0.0.1:{server.port}", **settings)
    async with connect(target, SERVICE) as channel:
        await call(channel)


async def call_until_answered(channel: Channel, within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while True:
            try:
                return await call(channel)
            except UpstreamError:
                await asyncio.sleep(0.1)


async def tls_server(serve: Serve, folder: Path, replica: Replica | None = None) -> Server:
    cert, key = write_pair(issue(OURS, "server"), folder, "server")
    return await serve((replica or Replica()).mount(), tls_cert=cert, tls_key=key)


async def mtls_server(serve: Serve, folder: Path) -> Server:
    cert, key = write_pair(issue(OURS, "server"), folder, "server")
    ca = write_ca(OURS, folder, "clients-ca")
    return await serve(Replica().mount(), tls_cert=cert, tls_key=key, tls_client_ca=ca)


async def test_a_client_that_trusts_the_authority_is_answered(serve: Serve, tmp_path: Path) -> None:
    server = await tls_server(serve, tmp_path)
    await call_once(server, tls_ca=write_ca(OURS, tmp_path))


async def test_a_server_signed_by_another_authority_is_refused(
    serve: Serve, tmp_path: Path
) -> None:
    server = await tls_server(serve, tmp_path)
    with pytest.raises(UpstreamError, match=r"(?i)certificate|handshake"):
        await call_once(server, tls_ca=write_ca(THEIRS, tmp_path))


async def test_a_server_whose_certificate_has_expired_is_refused(
    serve: Serve, tmp_path: Path
) -> None:
    cert, key = write_pair(issue(OURS, "server", days=-1), tmp_path, "server")
    server = await serve(Replica().mount(), tls_cert=cert, tls_key=key)
    with pytest.raises(UpstreamError, match=r"(?i)certificate|handshake"):
        await call_once(server, tls_ca=write_ca(OURS, tmp_path))


async def test_a_server_of_another_name_is_refused_unless_that_name_is_expected(
    serve: Serve, tmp_path: Path
) -> None:
    server = await tls_server(serve, tmp_path)
    ca = write_ca(OURS, tmp_path)
    with pytest.raises(UpstreamError):
        await call_once(server, tls_ca=ca, tls_server_name="another.test")
    await call_once(server, tls_ca=ca, tls_server_name="server")


async def test_a_client_without_tls_is_refused(serve: Serve, tmp_path: Path) -> None:
    server = await tls_server(serve, tmp_path)
    with pytest.raises(UpstreamError):
        await call_once(server)


async def test_mtls_answers_a_client_with_a_certificate(serve: Serve, tmp_path: Path) -> None:
    server = await mtls_server(serve, tmp_path)
    cert, key = write_pair(issue(OURS, "client"), tmp_path, "client")
    await call_once(server, tls_ca=write_ca(OURS, tmp_path), tls_cert=cert, tls_key=key)


async def test_mtls_refuses_a_client_without_a_certificate(serve: Serve, tmp_path: Path) -> None:
    server = await mtls_server(serve, tmp_path)
    with pytest.raises(UpstreamError):
        await call_once(server, tls_ca=write_ca(OURS, tmp_path))


@pytest.mark.parametrize(("authority", "days"), [(THEIRS, 1), (OURS, -1)])
async def test_mtls_refuses_a_foreign_or_expired_client_certificate(
    serve: Serve, tmp_path: Path, authority: trustme.CA, days: int
) -> None:
    server = await mtls_server(serve, tmp_path)
    cert, key = write_pair(issue(authority, "client", days=days), tmp_path, "client")
    with pytest.raises(UpstreamError):
        await call_once(server, tls_ca=write_ca(OURS, tmp_path), tls_cert=cert, tls_key=key)


async def test_a_server_reloads_a_new_certificate_without_restart(
    serve: Serve, tmp_path: Path
) -> None:
    server = await tls_server(serve, tmp_path)
    theirs = write_ca(THEIRS, tmp_path, "their-ca")
    with pytest.raises(UpstreamError):
        await call_once(server, tls_ca=theirs)
    write_pair(issue(THEIRS, "server"), tmp_path, "server")
    await call_once(server, tls_ca=theirs)


async def test_a_server_keeps_its_certificate_while_the_new_one_lacks_its_key(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = await tls_server(serve, tmp_path)
    new = issue(OURS, "server")
    replace(tmp_path / "server.pem", cert_pem(new))
    with caplog.at_level(logging.ERROR, "rpckit.security.watched_files"):
        await call_once(server, tls_ca=write_ca(OURS, tmp_path))
    assert "are not a PEM certificate and its key" in caplog.text
    replace(tmp_path / "server.key", new.private_key_pem.bytes())
    caplog.clear()
    with caplog.at_level(logging.INFO, "rpckit.security.watched_files"):
        await call_once(server, tls_ca=write_ca(OURS, tmp_path), tls_server_name="localhost")
    assert "reloaded after a change" in caplog.text


async def test_a_server_reloads_a_new_authority_for_its_clients(
    serve: Serve, tmp_path: Path
) -> None:
    server = await mtls_server(serve, tmp_path)
    cert, key = write_pair(issue(THEIRS, "client"), tmp_path, "client")
    settings = {"tls_ca": write_ca(OURS, tmp_path), "tls_cert": cert, "tls_key": key}
    with pytest.raises(UpstreamError):
        await call_once(server, **settings)
    write_ca(THEIRS, tmp_path, "clients-ca")
    await call_once(server, **settings)


async def test_a_client_reloads_a_new_authority_without_restart(
    serve: Serve, tmp_path: Path
) -> None:
    cert, key = write_pair(issue(THEIRS, "server"), tmp_path, "server")
    server = await serve(Replica().mount(), tls_cert=cert, tls_key=key)
    settings = ClientSettings(target=f"127.0.0.1:{server.port}", tls_ca=write_ca(OURS, tmp_path))
    async with connect(settings, SERVICE) as channel:
        with pytest.raises(UpstreamError):
            await call(channel)
        write_ca(THEIRS, tmp_path)
        await call_until_answered(channel)


async def test_a_client_reloads_a_new_certificate_and_finishes_calls_on_the_old(
    serve: Serve, tmp_path: Path
) -> None:
    replica = Replica()
    server = await tls_server(serve, tmp_path, replica)
    ca = write_ca(OURS, tmp_path)
    cert, key = write_pair(issue(OURS, "client"), tmp_path, "client")
    settings = ClientSettings(
        target=f"127.0.0.1:{server.port}", tls_ca=ca, tls_cert=cert, tls_key=key
    )
    async with connect(settings, SERVICE) as channel:
        replica.gate.clear()
        slow = asyncio.create_task(call(channel, timeout=5.0))
        while not replica.calls:  # noqa: ASYNC110 - the server counts
            await asyncio.sleep(0.01)
        before = channel.grpc
        write_pair(issue(OURS, "client"), tmp_path, "client")
        async with asyncio.timeout(5):
            while channel.grpc is before:  # noqa: ASYNC110 - using the channel is what looks
                await asyncio.sleep(0.05)
        replica.gate.set()
        await slow
        await call(channel)


def test_invalid_files_are_named_at_start(tmp_path: Path) -> None:
    cert, key = write_pair(issue(OURS, "server"), tmp_path, "server")
    other_key = write_pair(issue(OURS, "other"), tmp_path, "other")[1]
    empty = tmp_path / "empty.pem"
    empty.touch()
    encrypted = tmp_path / "encrypted.key"
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    encrypted.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    for files, complaint in (
        (TlsFiles(cert=tmp_path / "none.pem", key=key), r"cannot read .*none\.pem: No such file"),
        (TlsFiles(cert=cert, key=other_key), r"server\.pem and .*other\.key are not a PEM"),
        (TlsFiles(cert=empty, key=key), r"empty\.pem and .*server\.key are not a PEM"),
        (TlsFiles(cert=cert, key=key, ca=empty), r"empty\.pem holds no PEM certificates"),
        (TlsFiles(cert=cert, key=encrypted), r"encrypted\.key is encrypted; decrypt it"),
        (TlsFiles(ca=cert), "a server with TLS needs a certificate"),
    ):
        with pytest.raises(StartupError, match=complaint):
            server_credentials(files.watch(interval=0))
