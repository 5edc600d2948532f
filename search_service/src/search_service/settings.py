"""Settings of the search service."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from rpckit.security.tls import TlsFiles
from rpckit.settings.server import ServerSettings
from rpckit.settings.types import Port
from search_service.store.collection_schema import DEFAULT_SUITE
from search_service.store.index_types import IndexTypeChoice
from search_service.store.milvus_address import MilvusAddress, check_uri, is_server

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
    """Milvus server, as in `http://localhost:19530`, or `https://` with TLS; or a folder for Milvus
    Lite, which serves one process at a time."""
    milvus_token: SecretStr = SecretStr("")
    """Token for the Milvus server, `user:password` or an API key; empty sends none."""
    milvus_database: str = ""
    """Database of the Milvus server, which must exist; empty means the default one. Suites that
    share a server have one each."""
    suite: str = Field(DEFAULT_SUITE, pattern=r"^[a-z][a-z0-9_-]*$", max_length=63)
    """Name of the suite that this service belongs to. Indexes belong to the suite that created
    them, and those of other suites are refused."""
    milvus_tls_ca: Path | None = None
    """PEM file of the CAs of the Milvus server's certificate; none means public CAs."""
    milvus_tls_cert: Path | None = None
    """PEM file of this client's certificate, for a Milvus server with mTLS."""
    milvus_tls_key: Path | None = None
    """PEM file of the private key of the client certificate."""
    milvus_tls_server_name: str | None = None
    """Name expected in the Milvus server's certificate, if it is not the URI's host."""
    milvus_proxy: bool = False
    """Reach the Milvus server through the proxy that https_proxy, http_proxy and no_proxy say."""
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

    seen_limit: int = Field(10_000_000, ge=0)
    """Largest number of interactions of which users and movies are held in memory, with some 10
    bytes each; beyond it Milvus is asked what the users of each batch have seen."""
    most_interactions_per_user: int = Field(10_000, ge=1, le=10_000)
    """Number of interactions, the newest, that are kept of each user. Older ones are deleted once
    a user has a tenth more."""

    max_batch_rows: int = Field(64, ge=1)
    """Largest number of queries in a batch; a larger request is a batch of its own."""
    max_batches_in_flight: int = Field(2, ge=1)
    """Largest number of batches that are searched at the same time."""
    max_queued_rows: int = Field(4096, ge=1)
    """Largest number of queries that may wait; more are refused with RESOURCE_EXHAUSTED."""

    @field_validator("milvus_uri")
    @classmethod
    def _check_milvus_uri(cls, uri: str) -> str:
        check_uri(uri)
        return uri

    @model_validator(mode="after")
    def _check_milvus_server(self) -> Self:
        if self.milvus_database and not is_server(self.milvus_uri):
            raise ValueError("milvus_database needs a Milvus server")
        if (self.milvus_tls_cert is None) != (self.milvus_tls_key is None):
            raise ValueError("milvus_tls_cert and milvus_tls_key go together")
        if self.milvus_tls_cert and self.milvus_tls_ca is None:
            raise ValueError("milvus_tls_cert needs milvus_tls_ca")
        if self.milvus_tls_ca or self.milvus_tls_server_name:
            server = self.milvus_server()
            if server is None or not server.secure:
                raise ValueError("milvus_tls_... need a milvus_uri with https://")
        return self

    def milvus_server(self) -> MilvusAddress | None:
        """Return how to reach the Milvus server, or None if there is a Milvus Lite folder."""
        if not is_server(self.milvus_uri):
            return None
        tls = None
        if self.milvus_tls_ca is not None:
            tls = TlsFiles(
                cert=self.milvus_tls_cert, key=self.milvus_tls_key, ca=self.milvus_tls_ca
            )
        return MilvusAddress(
            self.milvus_uri,
            token=self.milvus_token.get_secret_value(),
            database=self.milvus_database,
            tls=tls,
            tls_server_name=self.milvus_tls_server_name,
            proxy=self.milvus_proxy,
        )
