"""Errors of a vector index; each class is a row of docs/errors.md."""

from __future__ import annotations

import grpc

from rpckit.errors import ServiceError


class IndexNotFoundError(ServiceError):
    """No index has this name."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "INDEX_NOT_FOUND"
    when = "A request names an index that does not exist, or no longer."
    action = "Use a name that ListIndexes shows, or leave it empty for the active index."

    @classmethod
    def of(cls, name: str) -> IndexNotFoundError:
        """Name the index that is missing."""
        return cls(f"there is no index {name!r}", metadata={"index": name})


class IndexExistsError(ServiceError):
    """An index has this name already."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "INDEX_EXISTS"
    when = "CreateIndex names an index that exists."
    action = "Choose another name, or delete the index first."

    @classmethod
    def of(cls, name: str) -> IndexExistsError:
        """Name the index that exists."""
        return cls(f"index {name!r} exists", metadata={"index": name})


class NoActiveIndexError(ServiceError):
    """No index is active."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "NO_ACTIVE_INDEX"
    when = "A request leaves the index to the service and no index is active."
    action = "Build an index and activate it (`marquee index`), or name one."


class ModelMismatchError(ServiceError):
    """Vectors of two models cannot be compared."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "MODEL_MISMATCH"
    when = "Vectors carry another model version than the index that they are compared with."
    action = "Embed with the model that ErrorInfo.metadata names, or build an index for the other."

    @classmethod
    def of(cls, name: str, *, index: str, vectors: str) -> ModelMismatchError:
        """Name the index and both versions."""
        return cls(
            f"the vectors are of model {vectors!r}, index {name!r} is of {index!r}",
            metadata={
                "index": name,
                "index_model_version": index,
                "vectors_model_version": vectors,
            },
        )


class IndexActiveError(ServiceError):
    """The active index cannot be deleted."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "INDEX_ACTIVE"
    when = "DeleteIndex names the active index."
    action = "Activate another index first."

    @classmethod
    def of(cls, name: str) -> IndexActiveError:
        """Name the index."""
        return cls(f"index {name!r} is active", metadata={"index": name})


class CountMismatchError(ServiceError):
    """An index holds another number of movies than expected."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "COUNT_MISMATCH"
    when = "ActivateIndex finds no movies in the index, or not as many as were expected."
    action = "Upsert what is missing (ErrorInfo.metadata has both counts) and activate again."

    @classmethod
    def of(cls, name: str, *, expected: int | None, actual: int) -> CountMismatchError:
        """Name the index and both counts; `expected` is None if any number above 0 will do."""
        wanted = "some" if expected is None else str(expected)
        return cls(
            f"index {name!r} holds {actual} movies, {wanted} were expected",
            metadata={"index": name, "expected": wanted, "actual": str(actual)},
        )


class StoreUnavailableError(ServiceError):
    """Milvus does not answer."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "STORE_UNAVAILABLE"
    when = "Milvus cannot be reached, is starting, or broke the call off."
    action = "Retry after RetryInfo.retry_delay; if it lasts, look at Milvus. No restart is needed."
