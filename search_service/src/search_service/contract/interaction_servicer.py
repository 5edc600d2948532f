"""InteractionService: what users did with movies."""

from __future__ import annotations

from marquee.interactions.v1 import interactions_pb2 as pb
from rpckit.serving.call import Call
from search_service.contract import interaction_page_token, interaction_validation
from search_service.index.interactions import Interaction
from search_service.interactions.interactions import Interactions


class InteractionServicer:
    """Implements marquee.interactions.v1.InteractionService."""

    def __init__(self, interactions: Interactions) -> None:
        """Read and write `interactions`."""
        self._interactions = interactions

    async def RecordInteractions(
        self, request: pb.RecordInteractionsRequest, call: Call
    ) -> pb.RecordInteractionsResponse:
        """Record interactions."""
        del call
        await self._interactions.record(interaction_validation.interactions(request))
        return pb.RecordInteractionsResponse()

    async def GetUserData(
        self, request: pb.GetUserDataRequest, call: Call
    ) -> pb.GetUserDataResponse:
        """Return a page of what is held about a user."""
        del call
        user_id = interaction_validation.user_id(request)
        size = interaction_validation.page_size(request)
        after = interaction_page_token.decode(user_id, request.page_token)
        found = await self._interactions.of_user(user_id)
        if after is not None:
            found = [interaction for interaction in found if interaction.key > after]
        page = found[:size]
        more = len(found) > size
        return pb.GetUserDataResponse(
            interactions=map(_message, page),
            next_page_token=interaction_page_token.encode(page[-1]) if more else "",
        )

    async def DeleteUserData(
        self, request: pb.DeleteUserDataRequest, call: Call
    ) -> pb.DeleteUserDataResponse:
        """Delete what is held about a user."""
        del call
        await self._interactions.delete(interaction_validation.user_id(request))
        return pb.DeleteUserDataResponse()


def _message(interaction: Interaction) -> pb.Interaction:
    message = pb.Interaction(
        user_id=interaction.user_id,
        movie_id=interaction.key.movie_id,
        kind=pb.InteractionKind.ValueType(interaction.key.kind),
        rating=interaction.rating,
        recommendation_id=interaction.recommendation_id,
    )
    message.time.FromNanoseconds(interaction.key.time)
    return message
