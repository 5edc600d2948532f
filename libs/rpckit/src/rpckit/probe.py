"""Health probe: `python -m rpckit.probe HOST:PORT [--service NAME]`.

For orchestrators without gRPC probes (Docker) or without TLS in them (Kubernetes), and for jobs
that wait for a server. Imports little, because it runs every few seconds next to the service.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rpckit.addresses import parse_target

PAUSE_SECONDS = 0.5
"""Pause between two attempts of `--wait`."""


def check(channel: grpc.Channel, service: str, timeout: float) -> str:
    """Check the health of a server once.

    Args:
        channel: Channel to the server.
        service: Full name of a service for its readiness, or "" for the server's liveness.
        timeout: Timeout in seconds.

    Returns:
        The name of a `HealthCheckResponse.ServingStatus`, or if the call failed, the name of the
        gRPC status code and its message.
    """
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
    except grpc.RpcError as error:  # also a grpc.Call, which the type stubs do not say
        return f"{error.code().name}: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def open_channel(
    target: str,
    *,
    ca: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    server_name: str | None = None,
) -> grpc.Channel:
    """Open a channel for `check`; close it after use.

    Args:
        target: gRPC target of the server.
        ca: PEM file of the CAs of the server's certificate. None or "": no TLS.
        cert: PEM file of the client's certificate.
        key: PEM file of its private key.
        server_name: Name expected in the server's certificate, if it is not the target's host.

    Raises:
        OSError: A file cannot be read.
    """
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]
    if not ca:
        return grpc.insecure_channel(target, options)
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    pem = [Path(path).read_bytes() if path else None for path in (ca, key, cert)]
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(*pem), options)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line and return the exit code: 0 if the server is serving, else 1."""
    arguments = _parser().parse_args(argv)
    subject = " ".join(filter(None, (arguments.target, arguments.service)))
    deadline = time.monotonic() + arguments.wait
    try:
        channel = open_channel(
            parse_target(arguments.target),
            ca=arguments.tls_ca,
            cert=arguments.tls_cert,
            key=arguments.tls_key,
            server_name=arguments.tls_server_name,
        )
    except (OSError, ValueError) as error:
        print(f"{subject}: {error}", file=sys.stderr)
        return 1
    with channel:
        while True:
            status = check(channel, arguments.service, arguments.timeout)
            if status == "SERVING":
                print(f"{subject}: {status}")
                return 0
            if time.monotonic() >= deadline:
                print(f"{subject}: {status}", file=sys.stderr)
                return 1
            time.sleep(PAUSE_SECONDS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rpckit.probe",
        description="Ask a gRPC server's health; exit with 0 when it is serving, 1 when it is not.",
        allow_abbrev=False,
    )
    parser.add_argument("target", metavar="HOST:PORT")
    parser.add_argument("--service", default="", help="full name; without it, the whole server")
    parser.add_argument(
        "--timeout", type=float, default=2.0, metavar="SECONDS", help="of one attempt [%(default)s]"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="try again for so long"
    )
    for name, text in (
        ("tls-ca", "PEM file of the server's authorities; without it, no TLS"),
        ("tls-cert", "PEM file of the client's certificate"),
        ("tls-key", "PEM file of the client's private key"),
        ("tls-server-name", "name expected in the server's certificate"),
    ):
        variable = f"MARQUEE_PROBE_{name.replace('-', '_').upper()}"
        default = os.environ.get(variable)
        parser.add_argument(f"--{name}", default=default, help=f"{text} [{variable}]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
