"""Health and reflection, the same on either host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tests.fixtures.puppet import SERVICE
from tests.inprocess.hosts.processes import (
    NOT_SERVING,
    SERVING,
    PuppetProcess,
    command,
    connected,
    reflect,
)

from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.type.v1 import limits_pb2

Request = health_pb2.HealthCheckRequest


@pytest.fixture
async def channel(target: str) -> AsyncIterator[grpc.aio.Channel]:
    async with connected(target) as channel:
        yield channel


async def test_the_process_and_its_service_are_serving(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    assert (await health.Check(Request())).status == SERVING
    assert (await health.Check(Request(service=SERVICE.full_name))).status == SERVING


async def test_the_health_of_an_unknown_service_is_not_found(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health_pb2_grpc.HealthStub(channel).Check(Request(service="marquee.Nothing"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_watch_reports_not_ready_and_ready_again_within_2_s(
    channel: grpc.aio.Channel,
) -> None:
    stub = EmbedderServiceStub(channel)
    watch = health_pb2_grpc.HealthStub(channel).Watch(Request(service=SERVICE.full_name))
    assert (await watch.read()).status == SERVING
    for said, seen in (("no", NOT_SERVING), ("yes", SERVING)):
        await stub.EmbedMovies(command(f"ready {said}"))
        async with asyncio.timeout(2):
            assert (await watch.read()).status == seen
    watch.cancel()


async def test_a_watch_of_an_unknown_service_reports_service_unknown(
    channel: grpc.aio.Channel,
) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(Request(service="marquee.Nothing"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


async def test_many_watches_leave_nothing_behind(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for _ in range(3):
        watches = [health.Watch(Request(service=SERVICE.full_name)) for _ in range(50)]
        assert {(await watch.read()).status for watch in watches} == {SERVING}
        for watch in watches:
            watch.cancel()
    assert (await health.Check(Request())).status == SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_explains_every_service_that_it_lists(
    version: str, channel: grpc.aio.Channel
) -> None:
    reflection = reflect(channel, version)
    await reflection.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await reflection.read()
    names = {service.name for service in answer.list_services_response.service}
    assert names == {
        SERVICE.full_name,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    for name in names:
        await reflection.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
        answer = await reflection.read()
        files = map(
            FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto
        )
        described = {f"{file.package}.{each.name}" for file in files for each in file.service}
        assert name in described
    await reflection.done_writing()
    assert await reflection.read() is grpc.aio.EOF
    assert await reflection.code() == grpc.StatusCode.OK


async def test_reflection_tells_a_client_the_limits_of_a_field(channel: grpc.aio.Channel) -> None:
    reflection = reflect(channel)
    files = {}
    for name in (
        "marquee/type/v1/types.proto",
        "marquee/type/v1/limits.proto",
        "google/protobuf/descriptor.proto",
    ):
        await reflection.write(reflection_pb2.ServerReflectionRequest(file_by_filename=name))
        answer = await reflection.read()
        for file in answer.file_descriptor_response.file_descriptor_proto:
            parsed = FileDescriptorProto.FromString(file)
            files[parsed.name] = parsed
    await reflection.done_writing()
    assert [each.name for each in files["marquee/type/v1/limits.proto"].extension] == ["limits"]
    (user,) = (m for m in files["marquee/type/v1/types.proto"].message_type if m.name == "User")
    (age,) = (field for field in user.field if field.name == "age")
    limits = age.options.Extensions[limits_pb2.limits]
    assert (limits.min, limits.max) == (1, 120)
    assert "google/protobuf/descriptor.proto" in files


async def test_reflection_can_be_switched_off(start: Callable[..., PuppetProcess]) -> None:
    async with connected(start(reflection="false").target) as channel:
        for version in ("v1", "v1alpha"):
            assert await reflect(channel, version).code() == grpc.StatusCode.UNIMPLEMENTED
