"""Environment variables of the command; no other module of it reads any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def movielens_dir() -> Path | None:
    """Return the folder of MovieLens-1M that MOVIELENS_DIR names, or None."""
    value = os.environ.get("MOVIELENS_DIR")
    return Path(value) if value else None


def is_set(variable: str) -> bool:
    """Return whether a variable has a value."""
    return bool(os.environ.get(variable))


def with_defaults(defaults: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment for a child process, with defaults for unset variables."""
    return {**defaults, **os.environ}
