"""What the gateway takes from its callers fits together into one request to a hop."""

from __future__ import annotations

from gateway.settings import GatewaySettings
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.search.v1 import search_pb2
from rpckit.field_limits import limits_of
from search_service.settings import SearchSettings

ROW = 8192 * 4
"""Bytes of a long vector."""
EXCLUDED_IDS = limits_of(pb.RecommendRequest, "exclude_movie_ids")
GENRES = limits_of(search_pb2.MovieFilter, "genres")


def test_a_full_batch_of_the_largest_requests_is_no_larger_than_a_hop_takes() -> None:
    gateway, hop = GatewaySettings(), SearchSettings()
    batch = gateway.max_batch * (gateway.max_receive_message_bytes + ROW)
    assert batch <= hop.max_receive_message_bytes


def test_the_largest_valid_request_is_taken() -> None:
    request = pb.RecommendRequest(
        user={"user_id": 2**63 - 1, "gender": 2, "age": 120, "occupation": 20},
        page_size=100,
        page_token="x" * 128,
        filter={"genres": ["x" * 64] * GENRES.items.max, "min_year": 1870, "max_year": 2200},
        exclude_movie_ids=[2**42 - 1] * EXCLUDED_IDS.items.max,  # larger ids take more bytes
    )
    assert 62 * 1024 < request.ByteSize() <= GatewaySettings().max_receive_message_bytes
