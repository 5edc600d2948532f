"""The settings of the gateway."""

from __future__ import annotations

from pydantic import ByteSize, Field
from pydantic_settings import SettingsConfigDict

from marquee.search.v1.search_pb2 import SearchMoviesRequest
from rpckit.field_limits import limits_of
from rpckit.settings.client import ClientSettings
from rpckit.settings.server import ServerSettings
from rpckit.settings.types import KIB, Port


class GatewaySettings(ServerSettings):
    """Settings of the gateway."""

    model_config = SettingsConfigDict(env_prefix="MARQUEE_GATEWAY_")

    port: Port = 50050
    """Port of the gRPC server; 0 takes any free one."""
    metrics_port: Port | None = 51050
    """Port of the metrics' HTTP server; 0 takes any free one, none switches it off."""
    max_receive_message_bytes: ByteSize = Field(ByteSize(64 * KIB), ge=1)
    """Largest request, as in `64KiB`: room for the largest valid list request while ids of movies
    are below 2^35 (larger ones take more bytes)."""
    embedder: ClientSettings = ClientSettings(target="127.0.0.1:50051", timeout_s=2)
    search: ClientSettings = ClientSettings(target="127.0.0.1:50052", timeout_s=2)
    max_batch: int = Field(64, ge=1, le=limits_of(SearchMoviesRequest, "queries").items.max)
    """Most requests in one batch; 1 turns batching off. There are fewer where the embedder takes
    fewer, or a message could grow too large."""
    max_in_flight: int = Field(2, ge=1)
    """Most batches under way at once; further requests wait."""
