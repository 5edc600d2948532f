"""A value that is loaded from files and reloaded when they change: certificates, tokens."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from rpckit.errors import NotReadyError, StartupError

log = logging.getLogger(__name__)

RELOAD_GRACE_SECONDS = 60.0
"""How long files may fail to load before they are stale: more than a deployment takes to replace
them one after the other, and little for a token that was to be revoked."""

Value = TypeVar("Value")
_Fingerprint = tuple[int, int, int, int] | None


class FileWatcher(Generic[Value]):
    """Reloads a value when its files change.

    There is no thread: `get` checks the files, at most every `interval` seconds. A load that fails
    keeps the last good value, because files are replaced one after the other, and is repeated at
    every check. It may be called from several threads.
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
        self.names = ", ".join(map(str, self._paths))
        """The paths, for messages and metrics."""
        self.failures = 0
        """Number of failed loads so far."""
        self._load = load
        self._interval = interval
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._failing_since = 0.0
        self._fingerprints = self._read_fingerprints()
        self._value = load()
        self._next_check = time.monotonic() + interval

    def get(self) -> Value:
        """Return the value: the same object until what the files hold changes."""
        if time.monotonic() >= self._next_check:
            with self._lock:
                self._next_check = time.monotonic() + self._interval
                self._reload_if_needed()
        return self._value

    def failing_seconds(self) -> float:
        """Return for how long the files have failed to load; 0 if the value is what they hold."""
        return 0.0 if self._failure is None else time.monotonic() - self._failing_since

    def is_stale(self) -> bool:
        """Tell whether the files have failed to load for longer than the grace."""
        return self._failure is not None and self.failing_seconds() >= RELOAD_GRACE_SECONDS

    def check(self) -> None:
        """Check the files now, unless the interval has not passed.

        Raises:
            NotReadyError: The value is stale.
        """
        self.get()
        if self.is_stale():
            # A constant text, so that readiness is logged once.
            raise NotReadyError(f"not reloaded for {RELOAD_GRACE_SECONDS:g} s: {self._failure}")

    def _reload_if_needed(self) -> None:
        fingerprints = self._read_fingerprints()
        if fingerprints == self._fingerprints and self._failure is None:
            return
        # Those from before the load, so that the next check sees a file replaced during the load.
        self._fingerprints = fingerprints
        try:
            value = self._load()
        except StartupError as error:
            self._fail(str(error))
            return
        self._failure = None
        if value != self._value:
            self._value = value
        log.info("reloaded after a change: %s", self.names)

    def _fail(self, reason: str) -> None:
        self.failures += 1
        if self._failure is None:
            self._failing_since = time.monotonic()
        if reason != self._failure:  # else it would be logged at every check
            log.error("changed but not reloaded: %s", reason)
        self._failure = reason

    def _read_fingerprints(self) -> tuple[_Fingerprint, ...]:
        return tuple(_fingerprint(path) for path in self._paths)


def _fingerprint(path: Path) -> _Fingerprint:
    try:
        stat = path.stat()  # follows links: Kubernetes replaces the link, not the file
    except OSError:
        return None
    # Permissions and owner change the ctime alone.
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino
