"""What users have seen, through the gateway, over real services."""

from __future__ import annotations

import time

import grpc
import pytest
from tests.fixtures.bundle import USERS
from tests.fixtures.suite import Suite
from tests.inprocess.gateway.test_recommender_service import ids, recommend, refused

from marquee.interactions.v1 import interactions_pb2
from marquee.interactions.v1.interactions_pb2_grpc import InteractionServiceStub

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def record(suite: Suite, user_id: int, movie_ids: list[int]) -> None:
    """Record that a user saw movies yesterday."""
    request = interactions_pb2.RecordInteractionsRequest()
    for movie_id in movie_ids:
        interaction = request.interactions.add(
            user_id=user_id,
            movie_id=movie_id,
            kind=interactions_pb2.INTERACTION_KIND_SEEN,
        )
        interaction.time.FromSeconds(int(time.time()) - 86_400)
    await InteractionServiceStub(suite.gateway).RecordInteractions(request, timeout=10)


async def forget(suite: Suite, user_id: int) -> None:
    """Delete a user's data."""
    request = interactions_pb2.DeleteUserDataRequest(user_id=user_id)
    await InteractionServiceStub(suite.gateway).DeleteUserData(request, timeout=10)


@pytest.mark.parametrize("user_id", [4, USERS + 7], ids=["known", "unknown"])
async def test_what_a_user_has_seen_is_not_recommended_unless_asked_for(
    suite: Suite, user_id: int
) -> None:
    user = {"user_id": user_id}
    whole = ids(await recommend(suite, user=user, page_size=50))
    await record(suite, user_id, whole[::2])
    assert ids(await recommend(suite, user=user, page_size=50)) == whole[1::2]
    assert ids(await recommend(suite, user=user, page_size=9, exclude_seen=True)) == whole[1:19:2]
    assert ids(await recommend(suite, user=user, page_size=50, exclude_seen=False)) == whole
    assert len(ids(await recommend(suite, user={"age": 25}, page_size=50))) == 50
    await forget(suite, user_id)
    assert ids(await recommend(suite, user=user, page_size=50)) == whole


async def test_what_a_user_sees_between_two_pages_is_on_none_of_the_later_ones(
    suite: Suite,
) -> None:
    user = {"user_id": 5}
    whole = ids(await recommend(suite, user=user, page_size=50))
    first = await recommend(suite, user=user, page_size=10)
    await record(suite, 5, [whole[12], whole[30]])
    second = await recommend(suite, user=user, page_size=10, page_token=first.next_page_token)
    assert ids(second) == [*whole[10:12], *whole[13:21]]
    await record(suite, 5, [whole[0]])
    third = await recommend(suite, user=user, page_size=50, page_token=second.next_page_token)
    assert ids(third) == [*whole[22:30], *whole[31:]]
    await forget(suite, 5)


async def test_seen_movies_can_only_be_left_out_for_a_user_with_an_id(suite: Suite) -> None:
    assert await refused(suite, exclude_seen=True) == ["exclude_seen"]
    assert await refused(suite, user={"age": 25}, exclude_seen=True) == ["exclude_seen"]
    assert len(ids(await recommend(suite, exclude_seen=False))) == 10


async def test_a_token_is_good_for_the_same_list_however_it_is_asked_for(suite: Suite) -> None:
    user = {"user_id": 6}
    token = (await recommend(suite, user=user)).next_page_token
    assert ids(await recommend(suite, user=user, exclude_seen=True, page_token=token))
    fields = await refused(suite, user=user, exclude_seen=False, page_token=token)
    assert fields == ["page_token"]


async def test_the_gateways_callers_get_all_that_is_held_and_the_errors_of_the_search_service(
    suite: Suite,
) -> None:
    stub = InteractionServiceStub(suite.gateway)
    await record(suite, 7, [1, 2, 3])
    request = interactions_pb2.GetUserDataRequest(user_id=7, page_size=2)
    page = await stub.GetUserData(request, timeout=10)
    assert [each.movie_id for each in page.interactions] == [1, 2]
    request.page_token = page.next_page_token
    assert [each.movie_id for each in (await stub.GetUserData(request)).interactions] == [3]
    await forget(suite, 7)
    request.page_token = ""
    assert not (await stub.GetUserData(request, timeout=10)).interactions
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await record(suite, 7, [1, 0])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "interactions[1].movie_id: must be 1 or more"
