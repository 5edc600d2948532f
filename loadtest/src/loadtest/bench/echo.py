"""The echo: a plain grpc.aio server on uvloop that answers every request with the same bytes.

`python -m loadtest.bench.echo --port 0 --reply SERVICE/METHOD=FILE`. It does what the
host of every service does, without the service's work.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import uvloop
from grpc_health.v1 import health_pb2

from loadtest.bench.replies import synthetic_replies

_HEALTH = "grpc.health.v1.Health/Check"


class Echo(grpc.GenericRpcHandler):
    """Answers each method with fixed bytes."""

    def __init__(self, replies: Mapping[str, bytes]) -> None:
        """Answer with `replies`, by `package.Service/Rpc`."""
        self._handlers = {f"/{path}": _handler(reply) for path, reply in replies.items()}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return the handler of a method, or None for UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)


async def serve(replies: Mapping[str, bytes], host: str = "127.0.0.1", port: int = 0) -> None:
    """Serve until SIGTERM or SIGINT; print the address when it listens."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    serving = health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()
    server.add_generic_rpc_handlers((Echo({_HEALTH: serving, **replies}),))
    port = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    print(f"{host}:{port}", flush=True)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await stop.wait()
    await server.stop(1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench.echo", allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one [%(default)s]")
    parser.add_argument(
        "--reply",
        action="append",
        default=[],
        metavar="METHOD=FILE",
        help="answer package.Service/Rpc with the bytes of a file; others have synthetic answers",
    )
    arguments = parser.parse_args(argv)
    replies = synthetic_replies()
    for each in arguments.reply:
        path, _, filename = each.partition("=")
        replies[path] = Path(filename).read_bytes()
    uvloop.run(serve(replies, arguments.host, arguments.port))
    return 0


def _handler(reply: bytes) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def answer(_request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return reply

    return grpc.unary_unary_rpc_method_handler(answer)


if __name__ == "__main__":
    sys.exit(main())
