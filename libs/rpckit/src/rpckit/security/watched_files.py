"""A value that is loaded from files and reloaded when they change: certificates, tokens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from rpckit.errors import StartupError

log = logging.getLogger(__name__)

Value = TypeVar("Value")
_Fingerprint = tuple[int, int, int] | None


class FileWatcher(Generic[Value]):
    """Reloads a value when its files change.

    There is no thread: `get` checks the files, at most every `interval` seconds. A load that fails
    keeps the last good value and is logged, because files are replaced one after the other; the
    next change triggers the next attempt.
    """

    def __init__(
        self, paths: Sequence[Path], load: Callable[[], Value], *, interval: float = 1.0
    ) -> None:
        """Load the value for the first time.

        Args:
            paths: Files that the value depends on.
            load: Loads the value; raises StartupError if it cannot.
            interval: Shortest time between two checks of the files, in seconds.

        Raises:
            StartupError: The first load failed.
        """
        self._paths = tuple(paths)
        self._load = load
        self._interval = interval
        self._fingerprints = self._read_fingerprints()
        self._value = load()
        self._next_check = time.monotonic() + interval

    def get(self) -> Value:
        """Return the value: the same object until the files change."""
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + self._interval
            self._reload_if_changed()
        return self._value

    def _reload_if_changed(self) -> None:
        fingerprints = self._read_fingerprints()
        if fingerprints == self._fingerprints:
            return
        # Those from before the load, so that the next check sees a file replaced during the load.
        self._fingerprints = fingerprints
        names = ", ".join(map(str, self._paths))
        try:
            self._value = self._load()
        except StartupError as error:
            log.error("changed but not reloaded: %s", error)
        else:
            log.info("reloaded after a change: %s", names)

    def _read_fingerprints(self) -> tuple[_Fingerprint, ...]:
        return tuple(_fingerprint(path) for path in self._paths)


def _fingerprint(path: Path) -> _Fingerprint:
    try:
        stat = path.stat()  # follows links: Kubernetes replaces the link, not the file
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
