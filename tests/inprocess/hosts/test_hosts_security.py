"""Who may connect and who may call, the same on either host."""

from __future__ import annotations

import asyncio
import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc
from tests.inprocess.hosts.processes import SERVING, PuppetProcess, connected

from marquee.embedder.v1 import embedder_pb2 as pb
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub

READER = "reader-token-0123456789"
OPERATOR = "operator-token-0123456789"


class Authority:
    """Signs certificates, in files of a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = folder / f"{name}.pem"
        self._write(self.certificate, self._sign(self._name, self._key, is_authority=True))

    def issue(self, name: str, *, to: str | None = None) -> tuple[Path, Path]:
        """Return the files of a certificate and its key, replaced if they exist."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert_path, key_path = (self._folder / f"{to or name}.{kind}" for kind in ("crt", "key"))
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        key_path.write_bytes(pem)
        self._write(cert_path, self._sign(subject, key, is_authority=False))
        return cert_path, key_path

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("puppet.test")]), False)
            .add_extension(x509.BasicConstraints(is_authority, None), True)
            .sign(self._key, hashes.SHA256())
        )

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def credentials(
    ca: Path, files: tuple[Path, Path] | tuple[None, None] = (None, None)
) -> grpc.ChannelCredentials:
    cert, key = (path and path.read_bytes() for path in files)
    return grpc.ssl_channel_credentials(ca.read_bytes(), key, cert)


async def answers(target: str, channel_credentials: grpc.ChannelCredentials | None) -> str:
    """Return OK, or the status of a call over a connection of its own."""
    async with connected(target, channel_credentials) as channel:
        try:
            await EmbedderServiceStub(channel).GetModel(pb.GetModelRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"


async def test_with_tls_only_those_who_know_the_authority_get_through(
    start: Callable[..., PuppetProcess], authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.issue("server")
    target = start(tls_cert=cert, tls_key=key).target
    other = Authority(tmp_path, "other")
    assert await answers(target, credentials(authority.certificate)) == "OK"
    assert await answers(target, credentials(other.certificate)) == "UNAVAILABLE"
    assert await answers(target, None) == "UNAVAILABLE"


async def test_with_mtls_only_clients_of_the_authority_get_through(
    start: Callable[..., PuppetProcess], authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.issue("server")
    clients = Authority(tmp_path, "clients")
    target = start(tls_cert=cert, tls_key=key, tls_client_ca=clients.certificate).target
    ca = authority.certificate
    assert await answers(target, credentials(ca, clients.issue("client"))) == "OK"
    assert await answers(target, credentials(ca, authority.issue("stranger"))) == "UNAVAILABLE"
    assert await answers(target, credentials(ca)) == "UNAVAILABLE"


async def test_a_new_certificate_is_taken_over_without_a_restart_or_a_broken_connection(
    start: Callable[..., PuppetProcess], authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.issue("server")
    puppet = start(tls_cert=cert, tls_key=key)
    successor = Authority(tmp_path, "successor")
    async with connected(puppet.target, credentials(authority.certificate)) as channel:
        stub = EmbedderServiceStub(channel)
        await stub.GetModel(pb.GetModelRequest())
        successor.issue("server")
        give_up = time.monotonic() + 5
        while await answers(puppet.target, credentials(successor.certificate)) != "OK":
            assert time.monotonic() < give_up, puppet.log
            await asyncio.sleep(0.1)
        assert await answers(puppet.target, credentials(authority.certificate)) == "UNAVAILABLE"
        await stub.GetModel(pb.GetModelRequest())


async def test_half_a_pair_of_files_is_not_taken_over(
    start: Callable[..., PuppetProcess], authority: Authority
) -> None:
    cert, key = authority.issue("server")
    puppet = start(tls_cert=cert, tls_key=key)
    assert await answers(puppet.target, credentials(authority.certificate)) == "OK"
    new_cert, _ = authority.issue("server", to="next")
    new_cert.replace(cert)
    for _ in range(10):
        assert await answers(puppet.target, credentials(authority.certificate)) == "OK"
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
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        assert await reflection.ServerReflectionInfo().code() == grpc.StatusCode.UNAUTHENTICATED
    assert OPERATOR not in puppet.log
    assert READER not in puppet.log


@pytest.mark.parametrize("name", ["tls_cert", "tls_key"])
def test_a_missing_file_is_one_line_and_exit_code_1(
    start: Callable[..., PuppetProcess],
    authority: Authority,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cert, key = authority.issue("server")
    puppet = start(**{"tls_cert": cert, "tls_key": key, name: f"{cert}{os.extsep}missing"})
    assert puppet.wait(20) == 1
    [line] = puppet.log.splitlines()
    assert "missing" in line
    assert list(tmp_path.glob("puppet-*")) == [], "nothing stays behind"
