"""Who may connect and who may call, the same on either host."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.fixtures.certificates import cert_pem, issue, replace, write_ca, write_pair
from tests.inprocess.hosts.processes import SERVING, PuppetProcess, connected, reflect

from marquee.embedder.v1 import embedder_pb2 as pb
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub

READER = "reader-token-0123456789"
OPERATOR = "operator-token-0123456789"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_files(authority: trustme.CA, tmp_path: Path) -> tuple[Path, Path]:
    """The server's certificate, signed by the authority, and its key."""
    return write_pair(issue(authority, "puppet.test"), tmp_path, "server")


def credentials(ca: trustme.CA, client: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
    if client is None:
        return grpc.ssl_channel_credentials(ca.cert_pem.bytes())
    return grpc.ssl_channel_credentials(
        ca.cert_pem.bytes(), client.private_key_pem.bytes(), cert_pem(client)
    )


async def answers(target: str, channel_credentials: grpc.ChannelCredentials | None) -> str:
    """Return OK, or the status of a call over a connection of its own."""
    async with connected(target, channel_credentials) as channel:
        try:
            await EmbedderServiceStub(channel).GetModel(pb.GetModelRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"


async def status(channel: grpc.aio.Channel, token: str) -> str:
    """Return OK, or the status of a call with a token."""
    metadata = [("authorization", f"Bearer {token}")]
    try:
        await EmbedderServiceStub(channel).GetModel(
            pb.GetModelRequest(), metadata=metadata, timeout=5
        )
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def readiness(channel: grpc.aio.Channel) -> str:
    request = health_pb2.HealthCheckRequest(service="marquee.embedder.v1.EmbedderService")
    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def until(observe: Callable[[], Awaitable[str]], wanted: str) -> None:
    async with asyncio.timeout(20):
        while await observe() != wanted:  # noqa: ASYNC110 - the server is another process
            await asyncio.sleep(0.1)


def write_tokens(folder: Path) -> Path:
    path = folder / "tokens"
    path.touch(0o600)
    path.write_text(f"reader read {READER}\n")
    return path


async def test_with_tls_only_clients_that_trust_the_authority_can_call(
    start: Callable[..., PuppetProcess], authority: trustme.CA, server_files: tuple[Path, Path]
) -> None:
    cert, key = server_files
    target = start(tls_cert=cert, tls_key=key).target
    assert await answers(target, credentials(authority)) == "OK"
    assert await answers(target, credentials(trustme.CA())) == "UNAVAILABLE"
    assert await answers(target, None) == "UNAVAILABLE"


async def test_with_mtls_only_clients_with_a_certificate_of_the_authority_can_call(
    start: Callable[..., PuppetProcess],
    authority: trustme.CA,
    server_files: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    cert, key = server_files
    clients = trustme.CA()
    target = start(tls_cert=cert, tls_key=key, tls_client_ca=write_ca(clients, tmp_path)).target
    client, stranger = issue(clients, "client"), issue(authority, "stranger")
    assert await answers(target, credentials(authority, client)) == "OK"
    assert await answers(target, credentials(authority, stranger)) == "UNAVAILABLE"
    assert await answers(target, credentials(authority)) == "UNAVAILABLE"


async def test_a_new_certificate_is_reloaded_without_a_restart_or_a_broken_connection(
    start: Callable[..., PuppetProcess],
    authority: trustme.CA,
    server_files: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    cert, key = server_files
    puppet = start(tls_cert=cert, tls_key=key)
    successor = trustme.CA()
    async with connected(puppet.target, credentials(authority)) as channel:
        stub = EmbedderServiceStub(channel)
        await stub.GetModel(pb.GetModelRequest())
        write_pair(issue(successor, "puppet.test"), tmp_path, "server")
        give_up = time.monotonic() + 5
        while await answers(puppet.target, credentials(successor)) != "OK":
            assert time.monotonic() < give_up, puppet.log
            await asyncio.sleep(0.1)
        assert await answers(puppet.target, credentials(authority)) == "UNAVAILABLE"
        await stub.GetModel(pb.GetModelRequest())


async def test_half_a_pair_of_files_is_not_reloaded(
    start: Callable[..., PuppetProcess], authority: trustme.CA, server_files: tuple[Path, Path]
) -> None:
    cert, key = server_files
    puppet = start(tls_cert=cert, tls_key=key)
    assert await answers(puppet.target, credentials(authority)) == "OK"
    replace(cert, cert_pem(issue(authority, "puppet.test")))
    for _ in range(10):
        assert await answers(puppet.target, credentials(authority)) == "OK"
        await asyncio.sleep(0.1)


async def test_tokens_decide_who_may_call(
    start: Callable[..., PuppetProcess], tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"reader read {READER}\noperator read,index {OPERATOR}\n")
    puppet = start(token_file=tokens, permission="index")
    async with connected(puppet.target) as channel:
        stub = EmbedderServiceStub(channel)

        async def call(*authorization: str) -> str:
            metadata = [("authorization", value) for value in authorization]
            return (await stub.GetModel(pb.GetModelRequest(), metadata=metadata)).name

        assert await call(f"Bearer {OPERATOR}") == "operator"
        for authorization, code in (
            ((), grpc.StatusCode.UNAUTHENTICATED),
            (("Bearer nobodys-token-0123456789",), grpc.StatusCode.UNAUTHENTICATED),
            ((f"Basic {OPERATOR}",), grpc.StatusCode.UNAUTHENTICATED),
            ((f"Bearer {READER}",), grpc.StatusCode.PERMISSION_DENIED),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(*authorization)
            assert caught.value.code() == code

        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        for version in ("v1", "v1alpha"):
            assert await reflect(channel, version).code() == grpc.StatusCode.UNAUTHENTICATED
    assert OPERATOR not in puppet.log
    assert READER not in puppet.log


async def test_an_emptied_token_file_revokes_at_once(
    start: Callable[..., PuppetProcess], tmp_path: Path
) -> None:
    tokens = write_tokens(tmp_path)
    puppet = start(token_file=tokens)
    async with connected(puppet.target) as channel:
        assert await status(channel, READER) == "OK"
        replace(tokens, b"")
        await until(lambda: status(channel, READER), "UNAUTHENTICATED")
        await until(lambda: readiness(channel), "NOT_SERVING")
        replace(tokens, f"reader read {READER}\n".encode())
        await until(lambda: status(channel, READER), "OK")
        await until(lambda: readiness(channel), "SERVING")


@pytest.mark.parametrize("files", ["tokens", "certificates"])
async def test_files_that_stay_away_longer_than_the_grace_are_seen_in_readiness(
    start: Callable[..., PuppetProcess],
    authority: trustme.CA,
    server_files: tuple[Path, Path],
    tmp_path: Path,
    files: str,
) -> None:
    cert, key = server_files
    tokens = write_tokens(tmp_path)
    removed = {"tokens": tokens, "certificates": key}[files]
    content = removed.read_bytes()
    puppet = start(token_file=tokens, tls_cert=cert, tls_key=key, reload_grace_s=1)
    async with connected(puppet.target, credentials(authority)) as channel:
        assert await status(channel, READER) == "OK"
        removed.unlink()
        # No call has to come for it to be noticed.
        puppet.wait_until(lambda: f"cannot read {removed}" in puppet.log, 20)
        await until(lambda: readiness(channel), "NOT_SERVING")
        assert await status(channel, READER) == ("UNAUTHENTICATED" if files == "tokens" else "OK")
        replace(removed, content)
        await until(lambda: readiness(channel), "SERVING")
        assert await status(channel, READER) == "OK"
    assert puppet.log.count("changed but not reloaded") == 1


@pytest.mark.parametrize("name", ["tls_cert", "tls_key"])
def test_a_missing_file_is_one_line_and_exit_code_1(
    start: Callable[..., PuppetProcess],
    server_files: tuple[Path, Path],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cert, key = server_files
    puppet = start(**{"tls_cert": cert, "tls_key": key, name: f"{cert}{os.extsep}missing"})
    assert puppet.wait(20) == 1
    [line] = puppet.log.splitlines()
    assert "missing" in line
    assert list(tmp_path.glob("puppet-*")) == [], "nothing stays behind"
