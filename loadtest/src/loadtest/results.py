"""Results file: measurements, machine and ratios."""

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
"""Version of the format; changes if older files would be misread."""


class ResultsError(Exception):
    """A file is not a results file of this schema; the message is one line."""


@dataclass(slots=True)
class Results:
    """Results of one run."""

    title: str
    measured_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat("T", "seconds"))
    """ISO 8601, UTC."""
    machine: Mapping[str, str] = field(default_factory=machine.describe)
    measurements: list[Measurement] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    """Figures that are comparable between machines; see `loadtest.bench.ratios`."""
    figures: dict[str, float] = field(default_factory=dict)
    """Other figures of this machine: memory, build times, floors."""
    notes: list[str] = field(default_factory=list)
    """Omitted measurements, with the reason."""

    def find(self, name: str, load: str | None = None) -> Measurement:
        """Return the last measurement of a name.

        Raises:
            KeyError: There is none.
        """
        for each in reversed(self.measurements):
            if each.name == name and load in (None, each.load):
                return each
        raise KeyError(name)

    def without_histograms(self) -> Results:
        """Return a smaller copy, for version control; percentiles stay."""
        return replace(self, measurements=[m.without_histograms() for m in self.measurements])

    def write(self, path: Path) -> None:
        """Write the file; create its folder if necessary."""
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
        """Read a results file.

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
            raise ResultsError(f"{path} is not a results file of marquee bench: {error}") from error
