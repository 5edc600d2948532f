"""Milvus Lite: a Milvus that runs in this process and stores its data in a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from milvus_lite import DataDirLockedError
from milvus_lite.adapter.grpc.server import start_server_in_thread

from rpckit.errors import StartupError

_SQLITE = b"SQLite format 3\0"  # Milvus Lite 2 kept everything in one SQLite database


@contextmanager
def milvus_lite(folder: Path) -> Iterator[str]:
    """Serve a folder on a free loopback port until the context is left; yield the URI.

    pymilvus can serve a path by itself, but hides the reason when that fails.

    Raises:
        StartupError: Another process uses the folder, or it cannot be read or written, or is none.
    """
    _disable_logging_of_unimplemented_calls()
    if folder.is_file():
        raise StartupError(f"cannot open {folder}: {_why_a_file_is_no_folder(folder)}")
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


def _why_a_file_is_no_folder(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            start = opened.read(len(_SQLITE))
    except OSError as error:
        return error.strerror or str(error)
    if start == _SQLITE:
        return (
            "it is a file of Milvus Lite 2, which version 3 cannot read; move it away or name "
            "another folder, and build the index anew"
        )
    return "it is a file, and Milvus Lite keeps its data in a folder; name another one"


def _disable_logging_of_unimplemented_calls() -> None:
    """Keep gRPC from logging the calls that Milvus Lite lacks as errors of the server.

    Milvus Lite answers them UNIMPLEMENTED by raising NotImplementedError, and every index that is
    built makes one: each would leave a stack trace.
    """
    # Idempotent: a logger holds the same filter once.
    logging.getLogger("grpc._server").addFilter(_is_no_unimplemented_call)


def _is_no_unimplemented_call(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], NotImplementedError))
