"""A value made of files that is made anew when they change, for certificates and tokens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from rpckit.errors import StartupError

log = logging.getLogger(__name__)

Value = TypeVar("Value")
_Stamp = tuple[int, int, int] | None


class Watched(Generic[Value]):
    """Follows its files by looking at them when it is used, at most every `interval` seconds.

    Files are replaced one after the other, so a load that fails keeps the value that was good, is
    logged, and is tried again at the next change.
    """

    def __init__(
        self, paths: Sequence[Path], load: Callable[[], Value], *, interval: float = 1.0
    ) -> None:
        """Load the value for the first time.

        Args:
            paths: Files that the value depends on.
            load: Makes the value; raises StartupError where it cannot.
            interval: Seconds between two looks at the files.

        Raises:
            StartupError: The value cannot be made to begin with.
        """
        self._paths = tuple(paths)
        self._load = load
        self._interval = interval
        self._stamps = self._look()
        self._value = load()
        self._next_look = time.monotonic() + interval

    def get(self) -> Value:
        """Return the value, the same object for as long as the files do not change."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + self._interval
            self._refresh()
        return self._value

    def _refresh(self) -> None:
        stamps = self._look()
        if stamps == self._stamps:
            return
        # The stamps from before the load: a file replaced during it shows at the next look.
        self._stamps = stamps
        names = ", ".join(map(str, self._paths))
        try:
            self._value = self._load()
        except StartupError as error:
            log.error("changed but not taken over: %s", error)
        else:
            log.info("taken over after a change: %s", names)

    def _look(self) -> tuple[_Stamp, ...]:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> _Stamp:
    try:
        stat = path.stat()  # follows links: Kubernetes replaces the link, not the file
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
