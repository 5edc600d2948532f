"""Errors of a vector index; docs/errors.md has a row for each class."""

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
        """Build the error for an index by name."""
        return cls(f"there is no index {name!r}", metadata={"index": name})


class IndexExistsError(ServiceError):
    """An index of this name exists."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "INDEX_EXISTS"
    when = "CreateIndex names an index that exists."
    action = "Choose another name, or delete the index first."

    @classmethod
    def of(cls, name: str) -> IndexExistsError:
        """Build the error for an index by name."""
        return cls(f"index {name!r} exists", metadata={"index": name})


class OtherSuiteError(ServiceError):
    """The index belongs to another suite on the same Milvus database."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "OTHER_SUITE"
    when = "A request names another suite's index, or ActivateIndex would replace its active index."
    action = "Give each suite a Milvus database of its own (`--milvus-database`)."

    @classmethod
    def of(cls, name: str, *, suite: str) -> OtherSuiteError:
        """Build the error for an index by name and the suite that created it."""
        return cls(
            f"index {name!r} belongs to the suite {suite!r}",
            metadata={"index": name, "suite": suite},
        )


class NoActiveIndexError(ServiceError):
    """No index is active."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "NO_ACTIVE_INDEX"
    when = "A request leaves the index to the service and no index is active."
    action = "Build an index and activate it (`marquee index`), or name one."


class ModelMismatchError(ServiceError):
    """The vectors come from another model than the index."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "MODEL_MISMATCH"
    when = "Vectors carry another model version than the index that they are compared with."
    action = "Embed with the model that ErrorInfo.metadata names, or build an index for the other."

    @classmethod
    def of(cls, name: str, *, index: str, vectors: str) -> ModelMismatchError:
        """Build the error.

        Args:
            name: Name of the index.
            index: Model version of the index.
            vectors: Model version of the vectors.
        """
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
        """Build the error for an index by name."""
        return cls(f"index {name!r} is active", metadata={"index": name})


class CountMismatchError(ServiceError):
    """The index holds another number of movies than expected."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "COUNT_MISMATCH"
    when = "ActivateIndex finds no movies in the index, or not as many as were expected."
    action = "Upsert what is missing (ErrorInfo.metadata has both counts) and activate again."

    @classmethod
    def of(cls, name: str, *, expected: int | None, actual: int) -> CountMismatchError:
        """Build the error.

        Args:
            name: Name of the index.
            expected: Expected number of movies. None: any number above zero.
            actual: Number of movies that the index holds.
        """
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
