"""Messages of the contract as the gateway sees them: a movie passes through as bytes.

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

_OPAQUE = types_pb2.Movie.DESCRIPTOR


class MovieHit(Protocol):
    """A MovieHit of `SearchMoviesResponse`."""

    movie: bytes
    similarity: float


def _view(message: Descriptor) -> Any:
    """Return the class of a message's twin, in which each `_OPAQUE` field is of type bytes."""
    file = FileDescriptorProto(name=f"passthrough/{message.file.name}", syntax="proto3")
    file.package = f"passthrough.{message.file.package}"
    _add_twin(message, file, set())
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{message.name}"))


def _add_twin(message: Descriptor, file: FileDescriptorProto, seen: set[str]) -> None:
    if message.name in seen:
        return
    seen.add(message.name)
    twin = DescriptorProto()
    message.CopyToProto(twin)
    for field in twin.field:
        of = message.fields_by_name[field.name]
        if of.enum_type is not None:
            field.type = FieldDescriptorProto.TYPE_INT32
            field.ClearField("type_name")
        elif of.message_type is _OPAQUE:
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
        elif of.message_type is not None:
            field.type_name = of.message_type.name
            _add_twin(of.message_type, file, seen)
    file.message_type.append(twin)


SearchMoviesResponse: Any = _view(search_pb2.SearchMoviesResponse.DESCRIPTOR)
RecommendResponse: Any = _view(recommender_pb2.RecommendResponse.DESCRIPTOR)
