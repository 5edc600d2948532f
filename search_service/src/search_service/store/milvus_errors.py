"""Translation of pymilvus's errors into those of a vector index."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import grpc
from pymilvus import MilvusException

from search_service.index.errors import IndexNotFoundError, StoreUnavailableError

# Milvus's error codes (internal/util/merr).
_COLLECTION_NOT_FOUND = 100
_ALIAS_NOT_FOUND = 1600
_COLLECTION_NOT_LOADED = 101
_TRANSIENT = {2, 3, 4, 5, 8, 9, 103, 106, 503, 901}
"""Codes of conditions that pass by themselves, such as a node that is starting."""


def disable_pymilvus_logging() -> None:
    """Stop pymilvus from logging a stack trace for every error, which its caller raises anyway."""
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class NotLoadedError(StoreUnavailableError):
    """Milvus has not loaded the collection that a call reads."""


@asynccontextmanager
async def translating_errors(index: str, timeout: float | None) -> AsyncIterator[None]:
    """Bound the time of calls to pymilvus, and translate the errors that they raise.

    Args:
        index: Name of the index that the calls are about. Empty: none.
        timeout: Seconds that the calls may take together. None: no bound.

    Raises:
        IndexNotFoundError: Milvus has no collection of this name.
        NotLoadedError: Milvus has not loaded the collection.
        StoreUnavailableError: Milvus cannot be reached, is too slow, or reports a transient error.
    """
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError:
        bound = "time" if timeout is None else f"{timeout:g} s"  # pymilvus has timeouts of its own
        raise _unavailable(f"did not answer in {bound}") from None
    except grpc.RpcError as error:
        raise _unavailable(f"broke the call off ({error.code().name})") from error
    except MilvusException as error:
        raise _translate(error, index) from error
    except asyncio.CancelledError:
        # pymilvus closes a broken channel while calls wait on it, which cancels them; a task that
        # somebody cancelled counts the request.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise _unavailable("lost the connection") from None


def is_alias_not_found(error: MilvusException) -> bool:
    """Tell whether Milvus refused to alter an alias because it does not exist."""
    return error.code in (_COLLECTION_NOT_FOUND, _ALIAS_NOT_FOUND)


def _translate(error: MilvusException, index: str) -> BaseException:
    if isinstance(error.code, grpc.StatusCode):  # a failed call that pymilvus does not retry
        return _unavailable(f"broke the call off ({error.code.name})")
    if error.code == _COLLECTION_NOT_FOUND and index:
        return IndexNotFoundError.of(index)
    if error.code == _COLLECTION_NOT_LOADED:
        return NotLoadedError(f"Milvus says: {error.message}", retry_after=1.0)
    if error.code in _TRANSIENT or error.retriable:
        return _unavailable(f"says: {error.message}")
    return cast(BaseException, error)  # pymilvus ships no types


def _unavailable(what: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"Milvus {what}", retry_after=1.0)
