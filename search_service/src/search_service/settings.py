"""Settings of the search service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from rpckit.settings.server import ServerSettings
from rpckit.settings.types import Port
from search_service.store.index_types import IndexTypeChoice

Engine = Literal["auto", "milvus", "resident"]
"""What answers searches of the active index."""


class SearchSettings(ServerSettings):
    """Settings of a search service, in addition to those of every server."""

    model_config = SettingsConfigDict(env_prefix="MARQUEE_SEARCH_")

    port: Port = 50052
    """Port of the gRPC server; 0 takes any free one."""
    metrics_port: Port | None = 51052
    """Port of the metrics' HTTP server; 0 takes any free one, none switches it off."""

    milvus_uri: str = "build/milvus.db"
    """Milvus server, as in `http://localhost:19530`, or a folder for Milvus Lite, which serves
    one process at a time."""
    milvus_token: SecretStr = SecretStr("")
    """Token for the Milvus server, `user:password` or an API key; empty sends none."""
    milvus_timeout_s: float = Field(5.0, gt=0, allow_inf_nan=False)
    """Timeout of a read or write in Milvus, in seconds."""
    engine: Engine = "auto"
    """What answers searches of the active index: milvus, or a replica in memory (resident), which
    is exact and faster; auto takes the replica up to resident_limit and Milvus beyond."""
    resident_limit: int = Field(200_000, ge=1)
    """Largest number of movies of an index that is replicated in memory."""
    index_type: IndexTypeChoice = "auto"
    """Index type in Milvus: flat is exact, hnsw approximate and faster for large catalogues, auto
    chooses by the number of movies when the index is activated."""
    hnsw_from: int = Field(20_000, ge=1)
    """Number of movies from which auto means hnsw."""
    movie_cache_size: int = Field(200_000, ge=0)
    """Largest number of movies of an index whose title, year and genres are cached."""
    movie_cache_max_age_s: float = Field(5.0, ge=0, allow_inf_nan=False)
    """Maximum age of cached titles, years and genres of an index that is not the active one, in
    seconds; it bounds how long a write of another process goes unseen. In the active index such a
    write is seen within 2 s."""

    max_batch_rows: int = Field(64, ge=1)
    """Largest number of queries in a batch; a larger request is a batch of its own."""
    max_batches_in_flight: int = Field(2, ge=1)
    """Largest number of batches that are searched at the same time."""
    max_queued_rows: int = Field(4096, ge=1)
    """Largest number of queries that may wait; more are refused with RESOURCE_EXHAUSTED."""

    @field_validator("milvus_uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        if "://" in uri and not uri.startswith(("http://", "https://")):
            raise ValueError("must be an http:// or https:// URI or a folder")
        return uri
