"""A gRPC client that costs a tenth of grpcio's CPU, so that it measures servers and not itself.

`grpc.aio` spends more on a call than the servers here do (about 250 µs; this spends 20 to 40), and
on a machine that holds both sides a load generator must not be the load. It speaks just enough
HTTP/2 for unary calls: one thread, one select loop, headers encoded once.
"""
