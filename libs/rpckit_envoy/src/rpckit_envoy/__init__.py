"""The second host: a dispatcher inside Envoy, by pyvoy.

Envoy speaks HTTP/2 and TLS in C++ and runs the service's event loop in its own process, so that a
call costs a fraction of what it costs on grpc.aio (docs/performance.md has the figures). Two
processes: `supervisor` is what the user starts; it writes Envoy's configuration (`config`), starts
it and waits. Inside Envoy, `app` wires the service and `host` answers its calls, with `protocol`,
`streams` and `flights` for what a gRPC library does elsewhere.
"""

from __future__ import annotations
