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
    "Calls in flight, by method.",
    ("method",),
)
RPC_LIMIT = Definition(
    "marquee_rpc_server_in_flight_limit",
    "gauge",
    "Calls in flight that can be answered within max_wait_ms, by method; above it for 0.5 s, more "
    "are refused.",
    ("method",),
)
CLIENT_DURATION = Definition(
    "marquee_rpc_client_duration_seconds",
    "histogram",
    "Duration of a call to an upstream service, by method and status code.",
    ("method", "code"),
    SECONDS,
)
QUEUE_WAIT = Definition(
    "marquee_queue_wait_seconds",
    "histogram",
    "Time that an item waited for its batch to start, without the work.",
    ("queue",),
    SECONDS,
)
QUEUE_WORK = Definition(
    "marquee_queue_work_seconds",
    "histogram",
    "Time from the start of a batch to its end.",
    ("queue",),
    SECONDS,
)
QUEUE_BATCH = Definition(
    "marquee_queue_batch_size",
    "histogram",
    "Weight of a batch, in rows or requests.",
    ("queue",),
    SIZES,
)
QUEUE_DEPTH = Definition(
    "marquee_queue_depth",
    "gauge",
    "Weight of the waiting items of a queue.",
    ("queue",),
)
QUEUE_IN_FLIGHT = Definition(
    "marquee_queue_batches_in_flight",
    "gauge",
    "Batches of a queue in progress.",
    ("queue",),
)
QUEUE_DROPPED = Definition(
    "marquee_queue_dropped_total",
    "counter",
    "Items dropped before any work, by reason: overloaded (the queue was full), expired (the "
    "deadline passed), cancelled (the caller left).",
    ("queue", "reason"),
)
STAGE_DURATION = Definition(
    "marquee_stage_duration_seconds",
    "histogram",
    "Duration of the core work of a service, by batch: paddle_predict, resident_search, "
    "milvus_search and so on.",
    ("stage",),
    SECONDS,
)
READY = Definition(
    "marquee_ready",
    "gauge",
    "1 while a gRPC service of this process is ready (as grpc.health.v1 says), else 0.",
    ("service",),
)
RELOAD_FAILURES = Definition(
    "marquee_file_reload_failures_total",
    "counter",
    "Failed attempts to reload changed files (tokens, certificates), which are repeated.",
    ("files",),
)
RELOAD_FAILING = Definition(
    "marquee_file_reload_failing_seconds",
    "gauge",
    "How long the files have failed to reload; 0 while their content is in use.",
    ("files",),
)
BUILD_INFO = Definition(
    "marquee_build_info",
    "gauge",
    "Always 1; the labels are the program and its versions.",
    ("program", "version", "python", "grpc"),
)
MODEL_INFO = Definition(
    "marquee_model_info",
    "gauge",
    "Always 1; the labels are the loaded model.",
    ("model", "model_version", "objective", "dimension"),
)
INDEX_INFO = Definition(
    "marquee_index_info",
    "gauge",
    "Always 1; the labels are the active index and the model version of its vectors.",
    ("index", "model_version"),
)
INDEX_MOVIES = Definition(
    "marquee_index_movies",
    "gauge",
    "Movies in the active index.",
)

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Definition))
"""All of them, in the order above."""
