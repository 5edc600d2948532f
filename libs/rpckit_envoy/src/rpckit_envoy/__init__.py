"""A host for rpckit services inside Envoy, by pyvoy (https://github.com/curioswitch/pyvoy).

Envoy speaks HTTP/2 and TLS in C++ and runs the service's event loop in its own process, which makes
a call cheaper than on grpc.aio; docs/performance.md has the numbers. There are two processes:

- `supervisor` is the process that the user starts. It writes Envoy's configuration
  (`envoy_config`, `certificates`), starts Envoy, sends it a `launch_spec` over the
  `control_socket`, and waits.
- Envoy runs the `application`, which builds the service and a `host` for it. The host answers
  calls: `exchange` is one call as ASGI events, `protocol` is gRPC over HTTP/2, `active_calls`
  detects disconnected callers, and `health_and_reflection` has the services of these names.
  `admin` asks Envoy for its port and drains it.
"""

from __future__ import annotations
