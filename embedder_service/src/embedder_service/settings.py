"""The settings of the embedder."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from rpckit.settings.server import ServerSettings
from rpckit.settings.types import Port


class EmbedderSettings(ServerSettings):
    """Settings of the embedder."""

    model_config = SettingsConfigDict(env_prefix="MARQUEE_EMBEDDER_")

    port: Port = 50051
    """Port of the gRPC server; 0 takes any free one."""
    metrics_port: Port | None = 51051
    """Port of the metrics' HTTP server; 0 takes any free one, none switches it off."""
    bundle: Path = Path("build/bundle")
    """Folder of the model bundle that `marquee train` wrote."""
    max_batch: int = Field(1024, ge=1, le=65536)
    """Most users or movies in one request, and in one run of the predictor."""
    max_queue: int = Field(8192, ge=1)
    """Rows that may wait for the predictor; more are refused with RESOURCE_EXHAUSTED."""
