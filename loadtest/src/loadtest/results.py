"""Results as a file: what was measured, where, and the ratios that follow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from loadtest import machine
from loadtest.measurement import Measurement

SCHEMA = 1
"""Changes when a reader of older files would be misled."""


class ResultsError(Exception):
    """A file is no results file, or of another schema; the message is one line."""


@dataclass(slots=True)
class Results:
    """Everything that one run measured."""

    title: str
    measured_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat("T", "seconds"))
    """ISO 8601, UTC."""
    machine: Mapping[str, str] = field(default_factory=machine.describe)
    measurements: list[Measurement] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    """Figures that hold beyond the machine; `loadtest.bench.ratios` explains each."""
    figures: dict[str, float] = field(default_factory=dict)
    """Figures of this machine that are no measurement of a load: memory, build times, floors."""
    notes: list[str] = field(default_factory=list)
    """What was left out and why."""

    def find(self, name: str, load: str | None = None) -> Measurement:
        """Return the measurement of a name, the last one if there are several.

        Raises:
            KeyError: There is none.
        """
        for each in reversed(self.measurements):
            if each.name == name and load in (None, each.load):
                return each
        raise KeyError(name)

    def without_histograms(self) -> Results:
        """Return it for a file that is kept under version control; percentiles are as they were."""
        return replace(self, measurements=[m.without_histograms() for m in self.measurements])

    def write(self, path: Path) -> None:
        """Write the file, and its folder where it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "schema": SCHEMA,
            "title": self.title,
            "measured_at": self.measured_at,
            "machine": dict(self.machine),
            "ratios": self.ratios,
            "figures": self.figures,
            "notes": self.notes,
            "measurements": [each.to_json() for each in self.measurements],
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `write` wrote.

        Raises:
            ResultsError: It cannot be read, or is of another schema.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            schema = content.pop("schema")
            if schema != SCHEMA:
                raise ResultsError(f"{path} has schema {schema}; this program reads {SCHEMA}")
            measured = [Measurement.from_json(each) for each in content.pop("measurements")]
            return cls(measurements=measured, **content)
        except OSError as error:
            raise ResultsError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultsError(f"{path} is no results file of marquee bench: {error}") from error
