"""One measurement: a load and its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from loadtest.histogram import Latencies
from loadtest.tally import MethodTally

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class MethodResult:
    """Results of one method."""

    calls: int
    """Successful ones."""
    failures: Mapping[str, int]
    """Number by name of status code."""
    mean_ms: float
    max_ms: float
    percentiles_ms: Mapping[str, float]
    """Latencies of the successes by percent, as in "99.9"."""
    histogram: str
    """The same in full, in microseconds, HdrHistogram's compressed form; "" where left out."""

    @classmethod
    def of(cls, tally: MethodTally) -> Self:
        """Summarise a tally of all processes."""
        latencies = tally.latencies
        return cls(
            calls=latencies.count,
            failures=dict(sorted(tally.failures.items())),
            mean_ms=_ms(latencies.mean),
            max_ms=_ms(latencies.longest),
            percentiles_ms={f"{p:g}": _ms(latencies.percentile(p)) for p in PERCENTILES},
            histogram=latencies.encode(),
        )

    @property
    def failed(self) -> int:
        """Failures of every code."""
        return sum(self.failures.values())

    def latencies(self) -> Latencies:
        """Return the histogram."""
        return Latencies.decode(self.histogram)


@dataclass(frozen=True, slots=True)
class Measurement:
    """Results of one load."""

    name: str
    """Name of the case, as in "recommend: milvus"."""
    load: str
    """Load as text, as in "64 callers"."""
    client: str
    """Name of the client."""
    duration_s: float
    offered_per_s: float | None
    """The fixed rate of an open loop; None for a closed one."""
    concurrency: int | None
    """Callers of a closed loop; None for an open one."""
    methods: Mapping[str, MethodResult]
    lag_p99_ms: float = 0.0
    """p99 of how late the client sent its calls; a large value invalidates the measurement."""
    client_cpu_s: float = 0.0
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    """CPU seconds of local servers during the measurement, by name."""

    @property
    def calls(self) -> int:
        """Successful calls of all methods."""
        return sum(each.calls for each in self.methods.values())

    @property
    def failed(self) -> int:
        """Failed calls of all methods."""
        return sum(each.failed for each in self.methods.values())

    @property
    def has_histograms(self) -> bool:
        """Whether full histograms are present, not only percentiles."""
        return self.calls > 0 and all(each.histogram for each in self.methods.values())

    @property
    def failed_share(self) -> float:
        """Share of the answered calls that failed, from 0 to 1."""
        return self.failed / max(1, self.calls + self.failed)

    @property
    def per_second(self) -> float:
        """Successful calls a second."""
        return self.calls / self.duration_s

    def percentile_ms(self, percent: float) -> float:
        """Return the latency of all methods together, in milliseconds."""
        if len(self.methods) == 1:
            (result,) = self.methods.values()
            if (known := result.percentiles_ms.get(f"{percent:g}")) is not None:
                return known
        merged = Latencies()
        for each in self.methods.values():
            merged.merge(each.histogram)
        return _ms(merged.percentile(percent))

    def cpu_us_per_call(self, server: str) -> float:
        """Return the microseconds of a server's CPU that one successful call took."""
        return self.cpu_s[server] / max(1, self.calls) * 1e6

    def without_histograms(self) -> Measurement:
        """Return a copy without histograms; a mix of methods keeps them for its percentiles."""
        if len(self.methods) > 1:
            return self
        return replace(
            self, methods={name: replace(m, histogram="") for name, m in self.methods.items()}
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with the throughput."""
        return {**asdict(self), "calls": self.calls, "per_second": round(self.per_second, 2)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the measurement that `to_json` returned.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is unknown.
        """
        fields = {name: v for name, v in value.items() if name not in {"calls", "per_second"}}
        methods = {name: MethodResult(**each) for name, each in fields.pop("methods").items()}
        return cls(methods=methods, **fields)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 4)
