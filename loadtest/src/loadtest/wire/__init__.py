"""A gRPC client with a tenth of grpcio's CPU cost, so that it measures servers and not itself.

`grpc.aio` takes more CPU for a call (about 250 µs; this client 20 to 40) than the servers here. On
a machine that runs both sides, the load generator must not be the load. It implements just enough
HTTP/2 for unary calls: one thread, one select loop, headers encoded once.
"""
