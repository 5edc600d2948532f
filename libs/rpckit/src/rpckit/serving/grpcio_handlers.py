"""The handlers of a grpc.aio server: of a dispatcher's methods, health and reflection.

All are registered as if their requests were streams, which is the same on the wire: grpc.aio reads
the request of a unary handler before it calls the handler, but here the caller is authorized first.
That costs 6 µs a call. To look for a second request message would cost 20 more, so it is ignored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

import grpc
from google.rpc import code_pb2, status_pb2
from grpc import aio
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from rpckit.errors import OverloadedError, ServiceError
from rpckit.serving.call import UnreadableRequestError
from rpckit.serving.dispatch import Authorizer, Dispatcher, Method
from rpckit.serving.health import HealthServicer
from rpckit.serving.read_slots import ReadSlots
from rpckit.serving.reflection import (
    REFLECTION_METHOD,
    REFLECTION_SERVICES,
    reflection_servicer,
)
from rpckit.serving.unread import UnreadAnswers
from rpckit.settings.server import ServerSettings

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Handlers: TypeAlias = "dict[str, grpc.RpcMethodHandler[Any, Any]]"

ANONYMOUS = "anonymous"
HEALTH_TURNS = 2
"""Requests of health checks that are read at a time."""
CANCELLATION_SECONDS = 0.05
"""Longest time in which a cancellation by C-core follows."""


class GrpcioHandlers:
    """Makes the handlers of one server."""

    def __init__(self, settings: ServerSettings) -> None:
        """Take the bounds of requests and answers from the settings."""
        self._unread = UnreadAnswers(settings.max_send_message_bytes)
        self._request_timeout = settings.default_deadline_s
        largest = settings.max_receive_message_bytes
        self._slots = ReadSlots(max_bytes=settings.max_unfinished_bytes, max_message_bytes=largest)
        # Of their own, as health checks need no token: who has one does not wait behind them.
        self._health_slots = ReadSlots(max_bytes=HEALTH_TURNS * largest, max_message_bytes=largest)

    def services(self, dispatcher: Dispatcher) -> dict[str, Handlers]:
        """Return the handlers of a dispatcher's methods, by service and name."""
        services: dict[str, Handlers] = {}
        for method in dispatcher.methods.values():
            service, _, name = method.path.partition("/")
            handler: Handler = grpc.stream_unary_rpc_method_handler(self._unary(dispatcher, method))
            services.setdefault(service, {})[name] = handler
        return services

    def health(self, servicer: HealthServicer) -> dict[str, Handlers]:
        """Return the handlers of grpc.health.v1, which need no token."""

        async def check(_: object, context: Context) -> bytes:
            response = await servicer.Check(await self._health_request(context), context)
            return bytes(response.SerializeToString())

        async def watch(_: object, context: Context) -> None:
            await servicer.Watch(await self._health_request(context), context)

        return {
            health.SERVICE_NAME: {
                "Check": grpc.stream_unary_rpc_method_handler(check),
                "Watch": grpc.stream_stream_rpc_method_handler(
                    watch, response_serializer=lambda response: response.SerializeToString()
                ),
            }
        }

    def reflection(self, authorizer: Authorizer, services: Iterable[str]) -> dict[str, Handlers]:
        """Return the handlers of reflection, for callers with the permission `read`."""
        servicer = reflection_servicer(services)

        async def info(_: object, context: Context) -> AsyncIterator[Any]:
            try:
                caller = authorizer.authorize(_metadata(context), "read")
                async for response in servicer.ServerReflectionInfo(
                    self._requests(context, caller), context
                ):
                    yield response
            except ServiceError as error:
                await context.abort_with_status(rpc_status.to_status(error.status()))

        handler: Handler = grpc.stream_stream_rpc_method_handler(
            info,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return {name: {REFLECTION_METHOD: handler} for name in REFLECTION_SERVICES}

    def _unary(
        self, dispatcher: Dispatcher, method: Method
    ) -> Callable[[Any, Context], Awaitable[bytes]]:
        async def handle(_: object, context: Context) -> bytes:
            async def read_body(caller: str) -> bytes:
                return await self._read_only(self._slots, context, caller)

            # Aborts after the handlers of exceptions, as grpc.aio keeps what is raised, and with it
            # all that its traceback and its context refer to: request and answer.
            try:
                answer = await dispatcher.dispatch(
                    method, read_body, _metadata(context), context.time_remaining()
                )
                if not self._unread.is_full(context, len(answer)):
                    return answer
                status = _UNREAD.status()
            except ServiceError as error:
                status = error.status()
            except UnreadableRequestError as error:
                status = status_pb2.Status(
                    code=code_pb2.Code.Value(error.code.name), message=error.message
                )
            answer = b""
            return await context.abort_with_status(rpc_status.to_status(status))

        return handle

    async def _read_only(self, slots: ReadSlots, context: Context, caller: str) -> bytes:
        body = await slots.read(caller, context.read)
        if body is aio.EOF:
            # Also of a message that is too large: then C-core sends the status, and cancels.
            await asyncio.sleep(CANCELLATION_SECONDS)
            raise UnreadableRequestError(
                grpc.StatusCode.UNIMPLEMENTED, "this method takes exactly one request message"
            )
        assert isinstance(body, bytes)  # noqa: S101 - there is no deserializer
        return body

    async def _requests(self, context: Context, caller: str) -> AsyncIterator[Any]:
        while (body := await self._slots.read(caller, context.read)) is not aio.EOF:
            yield reflection_pb2.ServerReflectionRequest.FromString(body)

    async def _health_request(self, context: Context) -> HealthCheckRequest:
        try:
            async with asyncio.timeout(self._request_timeout):
                body = await self._read_only(self._health_slots, context, ANONYMOUS)
        except TimeoutError:
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the request took too long to arrive"
            )
        except ServiceError as error:
            await context.abort_with_status(rpc_status.to_status(error.status()))
        except UnreadableRequestError as error:
            await context.abort(error.code, error.message)
        return HealthCheckRequest.FromString(body)


_UNREAD = OverloadedError("the client does not read the answers that it has", retry_after=0.5)


def _metadata(context: Context) -> Mapping[str, str | bytes]:
    return dict(context.invocation_metadata() or ())
