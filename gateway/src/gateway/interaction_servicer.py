"""InteractionService for the gateway's callers: every call goes on to the search service."""

from __future__ import annotations

from google.protobuf.message import Message

from marquee.interactions.v1 import interactions_pb2 as pb
from rpckit.calling.channel import Channel, UnaryCall
from rpckit.serving.call import Call

SERVICE = pb.DESCRIPTOR.services_by_name["InteractionService"]


class InteractionServicer:
    """Implements marquee.interactions.v1.InteractionService.

    The search service checks the requests; its errors name fields as the caller does.
    """

    def __init__(self, search: Channel) -> None:
        """Call the search service over a channel."""
        methods = SERVICE.methods_by_name
        self._record = search.unary(methods["RecordInteractions"])
        self._get = search.unary(methods["GetUserData"])
        self._delete = search.unary(methods["DeleteUserData"])

    async def RecordInteractions(
        self, request: pb.RecordInteractionsRequest, call: Call
    ) -> Message:
        """Record interactions."""
        return await _forward(self._record, request, call)

    async def GetUserData(self, request: pb.GetUserDataRequest, call: Call) -> Message:
        """Return a page of what is held about a user."""
        return await _forward(self._get, request, call)

    async def DeleteUserData(self, request: pb.DeleteUserDataRequest, call: Call) -> Message:
        """Delete what is held about a user."""
        return await _forward(self._delete, request, call)


async def _forward(method: UnaryCall[Message, Message], request: Message, call: Call) -> Message:
    return await method(request, timeout=call.budget(), trace=call.trace)
