"""Counters, gauges and histograms that cost next to nothing on the hot path.

prometheus_client's own take a lock for each number they touch: 1.1 µs for one observation here,
against 0.2 µs for these. Every RPC makes several, on a path of which the fastest host leaves 50 µs
in all. They are exposed through prometheus_client like any other collector.

Written to from the event loop's thread only; read from the exporter's. A scrape may therefore see
a histogram of which the sum is one observation ahead of the counts, and nothing worse.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Sample = tuple[str, dict[str, str], float]
"""Suffix of a sample's name, its labels beside the metric's, and its value."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What a metric is called and means."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, ascending, without infinity."""


class Counter:
    """A number that only rises."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int = 1) -> None:
        """Count."""
        self.value += amount

    def samples(self) -> Iterator[Sample]:
        """Yield what a scrape shows."""
        yield "", {}, self.value


class Gauge:
    """A number that rises and falls: set by hand, or read from `source` at each scrape."""

    __slots__ = ("source", "value")

    def __init__(self) -> None:
        self.value: float = 0
        self.source: Callable[[], float] | None = None

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value

    def samples(self) -> Iterator[Sample]:
        """Yield what a scrape shows."""
        yield "", {}, self.value if self.source is None else self.source()


class Histogram:
    """How many observations fell into each bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value, in the unit of the metric's name."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def samples(self) -> Iterator[Sample]:
        """Yield what a scrape shows: buckets hold all observations up to their bound."""
        total = 0
        for bound, count in zip((*self._bounds, "+Inf"), self.counts, strict=True):
            total += count
            yield "_bucket", {"le": str(bound)}, total
        yield "_count", {}, total
        yield "_sum", {}, self.sum


Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)


class Instruments(Collector):
    """All instruments of a process, made on first use and kept by their labels."""

    def __init__(self, definitions: tuple[Definition, ...]) -> None:
        """Know the metrics; those that nothing was recorded for are exposed without samples."""
        self._children: dict[Definition, dict[tuple[str, ...], Counter | Gauge | Histogram]] = {
            definition: {} for definition in definitions
        }

    def counter(self, definition: Definition, *labels: str) -> Counter:
        """Return the counter with these label values; keep it, looking it up costs."""
        return self._child(definition, labels, Counter)

    def gauge(self, definition: Definition, *labels: str) -> Gauge:
        """Return the gauge with these label values."""
        return self._child(definition, labels, Gauge)

    def histogram(self, definition: Definition, *labels: str) -> Histogram:
        """Return the histogram with these label values; keep it, looking it up costs."""
        return self._child(definition, labels, lambda: Histogram(definition.buckets))

    def info(self, definition: Definition, *labels: str) -> None:
        """Say what is so now: a gauge of 1 with these label values, in place of any before."""
        gauge = Gauge()
        gauge.set(1)
        self._children[definition] = {labels: gauge}

    def collect(self) -> Iterator[Metric]:
        """Yield everything recorded, for prometheus_client."""
        for definition, children in self._children.items():
            # A copy, because the event loop may add a child meanwhile.
            yield _family(definition, dict(children))

    def describe(self) -> Iterator[Metric]:
        """Yield every metric without samples, so that names clash at start and not at a scrape."""
        for definition in self._children:
            yield _family(definition, {})

    def _child(
        self, definition: Definition, labels: tuple[str, ...], make: Callable[[], Instrument]
    ) -> Instrument:
        if len(labels) != len(definition.labels):
            raise ValueError(f"{definition.name} has the labels {definition.labels}, not {labels}")
        # One definition has children of one kind.
        return self._children[definition].setdefault(labels, make())  # type: ignore[return-value]


def _family(
    definition: Definition, children: Mapping[tuple[str, ...], Counter | Gauge | Histogram]
) -> Metric:
    # The text format adds a counter's _total again.
    family = Metric(definition.name.removesuffix("_total"), definition.help, definition.kind)
    for values, child in children.items():
        labels = dict(zip(definition.labels, values, strict=True))
        for suffix, more, value in child.samples():
            family.add_sample(definition.name + suffix, labels | more, value)
    return family
