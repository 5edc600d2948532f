"""Milvus Lite: a Milvus in this process, in a folder of its own; the only milvus_lite import."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from milvus_lite import DataDirLockedError
from milvus_lite.adapter.grpc.server import start_server_in_thread

from rpckit.errors import StartupError


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], NotImplementedError))


# A call that Milvus Lite lacks is answered UNIMPLEMENTED, by an exception that gRPC takes for a
# defect: every index that is made searchable would leave a stack trace.
logging.getLogger("grpc._server").addFilter(_is_news)


@contextmanager
def milvus_lite(folder: Path) -> Iterator[str]:
    """Serve a folder on a free loopback port until the context is left; yield the URI.

    pymilvus would do this for a path by itself, but hides the reason where it cannot.

    Raises:
        StartupError: Another process has the folder, or it cannot be read or written.
    """
    try:
        server, database, port = start_server_in_thread(str(folder))
    except DataDirLockedError:
        raise StartupError(
            f"{folder} is in use by another process: Milvus Lite serves one at a time; "
            "stop the other or use a Milvus server"
        ) from None
    except OSError as error:
        raise StartupError(f"cannot open {folder}: {error.strerror or error}") from None
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(grace=2).wait()
        database.close()
