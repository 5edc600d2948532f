"""The contract is the one list of limits; what must repeat a number is compared with it here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import pytest
from google.protobuf.message import Message
from pydantic import ValidationError

from embedder_service.settings import EmbedderSettings
from fusion import records
from gateway.settings import GatewaySettings
from marquee.interactions.v1 import interactions_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import index_pb2, search_pb2
from marquee.type.v1 import types_pb2
from marquee_cli.commands.bench.run import run
from marquee_cli.commands.recommend import recommend
from marquee_cli.commands.verify import verify
from rpckit.field_limits import limits_of
from search_service.store import collection_schema, interaction_schema
from suite.index_builder import MOVIES_PER_REQUEST

CONTRACT = sorted((Path(__file__).parents[2] / "protos/marquee").rglob("*.proto"))


def test_records_may_hold_what_the_contract_allows() -> None:
    age = limits_of(types_pb2.User, "age").value
    assert (age.min, age.max) == (records.MIN_AGE, records.MAX_AGE)
    occupation = limits_of(types_pb2.User, "occupation").value
    assert (0, len(records.OCCUPATIONS) - 1) == (occupation.min, occupation.max)
    year = limits_of(types_pb2.Movie, "year").value
    assert (year.min, year.max) == (records.MIN_YEAR, records.MAX_YEAR)
    assert limits_of(types_pb2.Movie, "title").bytes.max == records.MAX_TITLE_BYTES
    assert limits_of(types_pb2.Movie, "genres").items.max == records.MAX_GENRES
    for field in ("liked_movie_ids", "disliked_movie_ids"):
        history = limits_of(types_pb2.User, field)
        assert history.items.max == records.MAX_HISTORY
        assert (history.value.min, history.value.max) == (1, records.MAX_ID)
    for message, field in ((types_pb2.User, "user_id"), (types_pb2.Movie, "movie_id")):
        ids = limits_of(message, field).value
        assert (ids.min, ids.max) == (1, records.MAX_ID)


def test_the_store_has_room_for_what_the_contract_allows() -> None:
    assert limits_of(types_pb2.Movie, "title").bytes.max == collection_schema.MAX_TITLE_BYTES
    genres = limits_of(index_pb2.CreateIndexRequest, "genres").items.max
    assert len(collection_schema.STORED_FIELDS) + genres <= 64, "Milvus allows no more fields"
    recommendation = limits_of(interactions_pb2.Interaction, "recommendation_id").bytes.max
    assert recommendation == interaction_schema.MAX_RECOMMENDATION_BYTES


SAME_LIMITS = [
    (recommender_pb2.RecommendRequest, "exclude_movie_ids", search_pb2.MovieQuery, ""),
    (recommender_pb2.SimilarMoviesRequest, "exclude_movie_ids", search_pb2.MovieQuery, ""),
    (recommender_pb2.SimilarMoviesRequest, "liked_movie_ids", search_pb2.MovieQuery, ""),
    (recommender_pb2.SimilarMoviesRequest, "disliked_movie_ids", search_pb2.MovieQuery, ""),
    (recommender_pb2.SimilarMoviesRequest, "page_size", recommender_pb2.RecommendRequest, ""),
    (recommender_pb2.RankMoviesRequest, "movie_ids", search_pb2.MovieQuery, "candidate_movie_ids"),
    (recommender_pb2.RecommendRequest, "diversity", search_pb2.MovieQuery, ""),
    (recommender_pb2.SimilarMoviesRequest, "diversity", search_pb2.MovieQuery, ""),
    (search_pb2.MovieFilter, "min_year", types_pb2.Movie, "year"),
    (search_pb2.MovieFilter, "max_year", types_pb2.Movie, "year"),
]
"""A field, and the one that has its value in another message; empty: of the same name."""


@pytest.mark.parametrize(("message", "field", "other", "others_field"), SAME_LIMITS)
def test_fields_that_carry_the_same_value_have_the_same_limits(
    message: type[Message], field: str, other: type[Message], others_field: str
) -> None:
    one, same = limits_of(message, field), limits_of(other, others_field or field)
    assert (one.value, one.items.max, one.bytes) == (same.value, same.items.max, same.bytes)


def test_a_page_is_no_longer_than_a_search_may_be() -> None:
    page = limits_of(recommender_pb2.RecommendRequest, "page_size")
    assert page.value.max < limits_of(search_pb2.MovieQuery, "top_k").value.max
    assert page.default in page.value
    listing = limits_of(search_pb2.ListMoviesRequest, "page_size")
    assert listing.default in listing.value


def test_a_batch_of_the_gateway_is_one_that_both_hops_take() -> None:
    most = limits_of(search_pb2.SearchMoviesRequest, "queries").items.max
    assert GatewaySettings(max_batch=most).max_batch == most
    with pytest.raises(ValidationError, match="max_batch"):
        GatewaySettings(max_batch=most + 1)
    assert EmbedderSettings.model_fields["max_batch"].default >= most


def test_an_index_build_sends_what_the_services_take() -> None:
    assert MOVIES_PER_REQUEST in limits_of(index_pb2.UpsertMoviesRequest, "movies").items


def test_the_command_offers_what_the_services_take() -> None:
    (count,) = get_type_hints(recommend, include_extras=True)["count"].__metadata__
    page = limits_of(recommender_pb2.RecommendRequest, "page_size")
    assert f"{page.value}. Default: {page.default}." in count.help
    (diversity,) = get_type_hints(recommend, include_extras=True)["diversity"].__metadata__
    reach = limits_of(recommender_pb2.RecommendRequest, "diversity").value
    assert diversity.help.endswith(f", {reach}.")
    batch, top_k = (
        get_type_hints(run, include_extras=True)[name].__metadata__[0]
        for name in ("batch", "top_k")
    )
    queries = limits_of(search_pb2.SearchMoviesRequest, "queries").items
    assert (batch.min, batch.max) == (queries.min, queries.max)
    assert (top_k.min, top_k.max) == (page.value.min, page.value.max)


def test_a_list_is_verified_as_far_as_it_goes() -> None:
    (depth,) = get_type_hints(verify, include_extras=True)["depth"].__metadata__
    top_k = limits_of(search_pb2.MovieQuery, "top_k").value
    assert (top_k.min, top_k.max) == (depth.min, depth.max)


@pytest.mark.parametrize("proto", CONTRACT, ids=lambda path: path.stem)
def test_the_comments_of_the_contract_repeat_no_limit(proto: Path) -> None:
    comments = "\n".join(
        line for line in proto.read_text(encoding="utf-8").splitlines() if line.lstrip()[:2] == "//"
    )
    assert not re.findall(r"Range:|[Aa]t (?:most|least) \d|Absent: \d", comments)
