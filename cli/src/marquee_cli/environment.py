"""What the command takes from the environment; the only module that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def movielens_dir() -> Path | None:
    """Return the folder of MovieLens-1M that MOVIELENS_DIR names, if it names one."""
    value = os.environ.get("MOVIELENS_DIR")
    return Path(value) if value else None


def with_defaults(defaults: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a child process: this one's, and the defaults that it lacks."""
    return {**defaults, **os.environ}
