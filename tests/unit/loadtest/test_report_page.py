from __future__ import annotations

import re
from html.parser import HTMLParser

from tests.fixtures.results import measured, some

from loadtest.report.page import page
from loadtest.report.summary import capacities, curves
from loadtest.results import Results


def test_the_page_needs_nothing_but_itself() -> None:
    class Links(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base"}
            self.found += [f"{name}={value}" for name, value in attributes
                           if name in {"src", "href", "srcset", "data", "action"}]  # fmt: skip

    text = page(some())
    parser = Links()
    parser.feed(text)
    assert not parser.found
    assert not re.search(r"url\(|@import|https?://", text)


def test_the_page_shows_curves_percentiles_and_failures() -> None:
    text = page(some())
    assert "A &lt;b&gt;run&lt;/b&gt;" in text
    assert text.count("<svg") == 2  # one curve, by load and by percentile; the echo is none
    assert "RESOURCE_EXHAUSTED 5" in text
    assert "coalescing_<wbr>gain" in text
    assert "the machine was busy" in text


def test_a_page_without_any_call_is_still_a_page() -> None:
    empty = Results("Nothing", measurements=[measured(calls=0, failures=3)])
    assert "RESOURCE_EXHAUSTED 3" in page(empty)


def test_it_begins_with_what_is_asked_first_and_ends_with_its_notes() -> None:
    text = page(some())
    places = [
        text.index(part)
        for part in ("calls a second at most", "Ratios", "<svg", "All measurements",
                     "gateway_resident_mib", "the machine was busy")
    ]  # fmt: skip
    assert places == sorted(places)


def test_a_page_of_a_published_file_has_curves_and_no_tails() -> None:
    text = page(some().without_histograms())
    assert text.count("<svg") == 1
    assert "percent of the calls" not in text


def test_the_same_results_give_the_same_page() -> None:
    results = some()
    assert page(results) == page(results)


def test_a_curve_is_one_name_under_one_kind_of_load_in_the_order_of_the_load() -> None:
    loads = [
        measured(rate=300.0),
        measured(rate=None, callers=64),
        measured("other", rate=100.0),
        measured(rate=100.0),
        measured(rate=None, callers=1),
        measured(rate=200.0),
    ]
    found = {(curve.name, curve.is_open): curve.offered for curve in curves(loads)}
    assert found == {("recommend", True): [100, 200, 300], ("recommend", False): [1, 64]}


def test_a_load_that_was_repeated_is_one_point() -> None:
    loads = [measured("echo", rate=None, callers=64, calls=calls) for calls in (900, 1000)]
    assert curves(loads) == []
    (curve,) = curves([*loads, measured("echo", rate=None, callers=8)])
    assert [each.calls for each in curve.loads] == [1000, 1000]


def test_a_case_is_compared_with_the_echo_that_was_measured_beside_it() -> None:
    loads = [
        measured("echo: recommend", rate=None, calls=4000),
        measured("recommend", rate=None, calls=1000),
        measured("echo: recommend", rate=None, calls=2000),
        measured("echo: recommend", rate=None, callers=1, calls=500),
    ]
    results = Results("made", measurements=loads)
    results.measurements.insert(1, measured("recommend", rate=None, callers=1, calls=100))
    (capacity,) = capacities(results)
    assert capacity.share_of_echo == 0.5
    assert capacity.single_caller is results.measurements[1]


def test_a_case_sustains_less_than_it_refuses() -> None:
    loads = [
        measured(rate=100.0, calls=1000, failures=9),
        measured(rate=200.0, calls=1900, failures=100),
        measured(rate=300.0, calls=2999, failures=1),
    ]
    (capacity,) = capacities(Results("made", measurements=loads))
    assert capacity.sustained is loads[0]
    assert capacity.overloaded is loads[1]
    assert capacity.peak is loads[2]


def test_callers_saturate_where_more_of_them_gain_nothing() -> None:
    rising = [measured(rate=None, callers=c, calls=100 * c) for c in (1, 8, 64)]
    (capacity,) = capacities(Results("made", measurements=rising))
    assert capacity.saturating_callers is None
    flat = [*rising, measured(rate=None, callers=128, calls=6500)]
    (capacity,) = capacities(Results("made", measurements=flat))
    assert capacity.saturating_callers == 64
