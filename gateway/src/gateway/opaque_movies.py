"""Messages of the contract in which a movie is a field of bytes, passed on unread.

The search service has serialized its movies and the caller will parse them; taking them apart and
putting them together again in between was a third of the gateway's work for a Recommend. On the
wire a message and its bytes are the same
(https://protobuf.dev/programming-guides/encoding/#length-types).
"""

from __future__ import annotations

from typing import Any, Protocol

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import search_pb2
from marquee.type.v1 import types_pb2


class MovieHit(Protocol):
    """A MovieHit of `SearchMoviesResponse`."""

    movie: bytes
    similarity: float


def _with_opaque_movies(message: Descriptor) -> Any:
    """Return the class of a copy of `message`, in which each Movie is a field of type bytes."""
    file = FileDescriptorProto(name=f"opaque_movies/{message.file.name}", syntax="proto3")
    file.package = f"opaque_movies.{message.file.package}"
    _add_copy(message, file, set())
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{message.name}"))


def _add_copy(message: Descriptor, file: FileDescriptorProto, seen: set[str]) -> None:
    """Add the copy of a message to a file, and those of the messages that it has fields of."""
    if message.name in seen:
        return
    seen.add(message.name)
    copy = DescriptorProto()
    message.CopyToProto(copy)
    for field in copy.field:
        original = message.fields_by_name[field.name]
        if original.enum_type is not None:
            field.type = FieldDescriptorProto.TYPE_INT32
            field.ClearField("type_name")
        elif original.message_type is types_pb2.Movie.DESCRIPTOR:
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
        elif original.message_type is not None:
            field.type_name = original.message_type.name
            _add_copy(original.message_type, file, seen)
    file.message_type.append(copy)


SearchMoviesResponse: Any = _with_opaque_movies(search_pb2.SearchMoviesResponse.DESCRIPTOR)
RecommendResponse: Any = _with_opaque_movies(recommender_pb2.RecommendResponse.DESCRIPTOR)
SimilarMoviesResponse: Any = _with_opaque_movies(recommender_pb2.SimilarMoviesResponse.DESCRIPTOR)
RankMoviesResponse: Any = _with_opaque_movies(recommender_pb2.RankMoviesResponse.DESCRIPTOR)
