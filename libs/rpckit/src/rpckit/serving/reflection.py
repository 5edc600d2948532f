"""Server reflection in both of its versions, which differ in nothing but the package's name.

grpcio-reflection has `grpc.reflection.v1alpha` alone; clients ask for `grpc.reflection.v1` first,
and new ones for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

REFLECTION_SERVICES = (
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
"""Full names of the services; one servicer answers both, with the messages of v1alpha."""
REFLECTION_METHOD = "ServerReflectionInfo"


def reflection_servicer(services: Iterable[str]) -> ReflectionServicer:
    """Return a servicer of grpc.aio that lists services, health and reflection itself.

    Args:
        services: Full names of the services besides those that every server has.
    """
    _describe_v1()
    return ReflectionServicer([*services, health.SERVICE_NAME, *REFLECTION_SERVICES])


def _describe_v1() -> None:
    """Add the descriptors of v1, for clients that ask for those of every listed service."""
    alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
    v1 = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(v1.name)
    except KeyError:
        pool.AddSerializedFile(v1.SerializeToString())
