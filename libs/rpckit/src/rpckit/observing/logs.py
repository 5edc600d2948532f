"""Logs on stderr: one JSON object a line, or text for people.

What a record says beside its message travels in `extra`, and only what is named there: never a
request, whose fields are about people, and never metadata, which holds tokens.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, Literal

from rpckit.observing.tracing.context import TraceContext

AccessLogMode = Literal["all", "errors", "off"]

ERRORS_PER_SECOND = 10
"""Records a second of one method and code, beyond which they are only counted."""


def configure_logging(level: str, style: Literal["json", "text"], program: str) -> None:
    """Send every record of the process to stderr; called once, by `rpckit.serving.server.run`.

    Args:
        level: Least severe level, in lower case.
        style: How a record looks.
        program: Named in every JSON record.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(program) if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class JsonFormatter(logging.Formatter):
    """One JSON object for each record: ts, level, program, logger, message, extras, exception."""

    def __init__(self, program: str) -> None:
        """Format the records of a program."""
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        fields: dict[str, Any] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "program": self._program,
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """Time, level, logger, message and extras for reading in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, and its traceback on more."""
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        line = (
            f"{_timestamp(record)} {record.levelname:7} {record.name}: "
            f"{record.getMessage()}{extras}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class AccessLog:
    """A record for each call that is worth one.

    By default that is each that failed: a record costs tens of microseconds, as much as a call
    itself on the fastest host, and what succeeds is counted and timed by the metrics. So that an
    overloaded server does not spend what it has left on saying so, one method and code gets
    `ERRORS_PER_SECOND` records, and the next one says how many were left out.
    """

    def __init__(self, mode: AccessLogMode) -> None:
        """Log all calls, those that failed, or no call."""
        self._mode = mode
        self._log = logging.getLogger("rpckit.access")
        self._throttles: dict[tuple[str, str], _Throttle] = {}

    def write(
        self, method: str, code: str, seconds: float, caller: str, trace: TraceContext | None
    ) -> None:
        """Log a call that was answered.

        Args:
            method: Full name.
            code: Name of its status.
            seconds: What it took.
            caller: Name of the caller's token, or `anonymous`.
            trace: The trace that it belongs to. None: it was refused unread.
        """
        if self._mode == "off" or (code == "OK" and self._mode == "errors"):
            return
        level = _LEVELS.get(code, logging.INFO)
        if not self._log.isEnabledFor(level):
            return
        fields: dict[str, object] = {
            "method": method,
            "code": code,
            "duration_ms": round(seconds * 1000, 3),
            "caller": caller,
        }
        if trace is not None:
            fields["trace_id"] = trace.trace_id
        if code != "OK":
            throttle = self._throttles.setdefault((method, code), _Throttle())
            if not throttle.admits(time.monotonic()):
                return
            if throttle.suppressed:
                fields["suppressed"] = throttle.suppressed
                throttle.suppressed = 0
        self._log.log(level, "call", extra=fields)


class _Throttle:
    """Admits so many records a second and counts the others."""

    __slots__ = ("_admitted", "_second", "suppressed")

    def __init__(self) -> None:
        self._second = 0
        self._admitted = 0
        self.suppressed = 0

    def admits(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._admitted = int(now), 0
        if self._admitted == ERRORS_PER_SECOND:
            self.suppressed += 1
            return False
        self._admitted += 1
        return True


# Whose fault it was: a caller's mistake is information, a server's trouble a warning.
_LEVELS = {
    "UNKNOWN": logging.ERROR,
    "INTERNAL": logging.ERROR,
    "DATA_LOSS": logging.ERROR,
    "UNAVAILABLE": logging.WARNING,
    "DEADLINE_EXCEEDED": logging.WARNING,
    "RESOURCE_EXHAUSTED": logging.WARNING,
}

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
