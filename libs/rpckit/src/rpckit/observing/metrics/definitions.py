"""All metrics of Marquee; docs/metrics.md is generated from them."""

from __future__ import annotations

from rpckit.observing.metrics.instruments import Definition

SECONDS = (
    *(mantissa * scale for scale in (1e-4, 1e-3, 1e-2, 1e-1, 1.0) for mantissa in (1, 2.5, 5)),
    10.0,
)
"""Buckets of durations, from 100 µs (less than an echo takes) to 10 s (more than any deadline)."""
SIZES = tuple(float(1 << power) for power in range(11))
"""Buckets of batch sizes: 1, 2, 4 … 1024."""

RPC_REQUESTS = Definition(
    "marquee_rpc_server_requests_total",
    "counter",
    "Calls answered, by method, status code and caller (the name of its token, or anonymous).",
    ("method", "code", "caller"),
)
RPC_DURATION = Definition(
    "marquee_rpc_server_duration_seconds",
    "histogram",
    "Time from a call's arrival to its answer, in the server, queues included.",
    ("method", "code"),
    SECONDS,
)
RPC_IN_FLIGHT = Definition(
    "marquee_rpc_server_in_flight",
    "gauge",
    "Calls under way.",
)
RPC_LIMIT = Definition(
    "marquee_rpc_server_in_flight_limit",
    "gauge",
    "Calls under way beyond which new ones are refused (setting max_concurrent_rpcs).",
)
CLIENT_DURATION = Definition(
    "marquee_rpc_client_duration_seconds",
    "histogram",
    "Time that a call to a service behind this one took, by method and status code.",
    ("method", "code"),
    SECONDS,
)
QUEUE_WAIT = Definition(
    "marquee_queue_wait_seconds",
    "histogram",
    "Time that an item waited for its batch to begin; its work is not in it.",
    ("queue",),
    SECONDS,
)
QUEUE_WORK = Definition(
    "marquee_queue_work_seconds",
    "histogram",
    "Time that a batch took once it had begun.",
    ("queue",),
    SECONDS,
)
QUEUE_BATCH = Definition(
    "marquee_queue_batch_size",
    "histogram",
    "Weight of a batch: the rows or requests that left a queue together.",
    ("queue",),
    SIZES,
)
QUEUE_DEPTH = Definition(
    "marquee_queue_depth",
    "gauge",
    "Weight of what waits in a queue.",
    ("queue",),
)
QUEUE_IN_FLIGHT = Definition(
    "marquee_queue_batches_in_flight",
    "gauge",
    "Batches of a queue under way.",
    ("queue",),
)
QUEUE_DROPPED = Definition(
    "marquee_queue_dropped_total",
    "counter",
    "Items that never began, by reason: overloaded (the queue was full), expired (the "
    "deadline passed), cancelled (the caller went away).",
    ("queue", "reason"),
)
STAGE_DURATION = Definition(
    "marquee_stage_duration_seconds",
    "histogram",
    "Time spent in what the service is there for, a batch at a time: paddle_predict, "
    "resident_search, milvus_search and so on.",
    ("stage",),
    SECONDS,
)
READY = Definition(
    "marquee_ready",
    "gauge",
    "1 while a gRPC service of this process is ready (as grpc.health.v1 says), else 0.",
    ("service",),
)
BUILD_INFO = Definition(
    "marquee_build_info",
    "gauge",
    "Always 1; the labels say which program and versions run.",
    ("program", "version", "python", "grpc"),
)
MODEL_INFO = Definition(
    "marquee_model_info",
    "gauge",
    "Always 1; the labels say which model is loaded.",
    ("model", "model_version", "objective", "dimension"),
)
INDEX_INFO = Definition(
    "marquee_index_info",
    "gauge",
    "Always 1; the labels say which index answers, and the model version of its vectors.",
    ("index", "model_version"),
)
INDEX_MOVIES = Definition(
    "marquee_index_movies",
    "gauge",
    "Movies in the index that answers.",
)

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Definition))
"""All of them, in the order above."""
