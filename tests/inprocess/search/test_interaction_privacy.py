"""Who may read and change what is held about users, and where nothing of it appears."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc
import pytest
from tests.inprocess.search.conftest import build
from tests.inprocess.search.test_interactions import (
    BEN,
    found,
    held,
    interaction,
    record,
    running,
    users,
)

from marquee.interactions.v1 import interactions_pb2 as pb
from search_service.store import interaction_schema

TOKENS = """\
reader   read,index    reader-0123456789
recorder interactions  recorder-0123456789
"""


@pytest.mark.parametrize(
    ("caller", "code"),
    [
        ("reader", grpc.StatusCode.PERMISSION_DENIED),
        ("recorder", grpc.StatusCode.OK),
        ("nobody", grpc.StatusCode.UNAUTHENTICATED),
    ],
)
async def test_users_data_needs_a_permission_of_its_own(
    tmp_path: Path, caller: str, code: grpc.StatusCode
) -> None:
    (tmp_path / "tokens").write_text(TOKENS)
    metadata = (("authorization", f"Bearer {caller}-0123456789"),)
    async with running(tmp_path, token_file=tmp_path / "tokens") as service:
        stub = users(service)
        calls = (
            stub.GetUserData(pb.GetUserDataRequest(user_id=BEN), metadata=metadata),
            stub.DeleteUserData(pb.DeleteUserDataRequest(user_id=BEN), metadata=metadata),
            stub.RecordInteractions(
                pb.RecordInteractionsRequest(interactions=[interaction(1)]), metadata=metadata
            ),
        )
        assert [await call.code() for call in calls] == [code] * 3


async def test_no_log_and_no_error_says_anything_of_a_user(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running(tmp_path) as service:
        await build(service)
        await record(service, [interaction(1, BEN, recommendation_id="of-ben")])
        await found(service, BEN)
        await held(service, BEN)
        # Milvus refuses this expression and repeats it in its message.
        with monkeypatch.context() as wrong:
            wrong.setattr(interaction_schema, "USER", "no_such_field")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await held(service, BEN)
        await users(service).DeleteUserData(pb.DeleteUserDataRequest(user_id=BEN))
    assert "defect" in caplog.text
    for text in (str(caught.value), caplog.text):
        assert str(BEN) not in text
        assert "of-ben" not in text
