"""How a gRPC process is run in Marquee: server, client, errors, settings, telemetry, coalescer."""
