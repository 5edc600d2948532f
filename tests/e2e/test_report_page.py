"""The page of a bench run as people see it: in a browser, in both schemes, on desk and phone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page
from tests.fixtures.results import measured

from loadtest.report.page import page
from loadtest.results import Results

Scheme = Literal["light", "dark"]
PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 31)"}
PHONE, DESK = 390, 1280


def results() -> Results:
    """Return an open and a closed loop of Recommend, out of order, and echoes in between."""
    return Results(
        "A bench run",
        machine={"processor": "x", "cpus": "2", "memory": "1 GiB"},
        measurements=[
            measured("echo: recommend", rate=None, callers=64, calls=4000),
            measured(rate=None, callers=64, calls=2000, milliseconds=30),
            measured("echo: recommend", rate=None, callers=64, calls=4400),
            measured(rate=300.0, calls=2400, milliseconds=90, failures=600),
            measured(rate=None, callers=1, calls=400, milliseconds=2),
            measured(rate=100.0, calls=1000, milliseconds=5),
            measured(rate=200.0, calls=2000, milliseconds=20),
        ],
        ratios={"coalescing_gain": 5.0, "p99_at_70_vs_idle_p50_all_envoy": 3.0},
        notes=["the machine was busy"],
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page as a file, as `marquee bench` leaves it."""
    file: Path = tmp_path_factory.mktemp("report") / "results.html"
    file.write_text(page(results()), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(
    params=[(DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark")],
    ids=lambda value: "-".join(map(str, value)),
)
def shown(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    width, scheme = request.param
    with browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme) as opened:
        opened.goto(address)
        yield opened


def pixels(page: Page) -> NDArray[np.uint8]:
    """Return the whole page, row by row, as red, green and blue."""
    image = matplotlib.image.imread(io.BytesIO(page.screenshot(full_page=True)), format="png")
    return (np.asarray(image)[:, :, :3] * 255).round().astype(np.uint8)


def test_curves_are_lines_and_not_areas(shown: Page) -> None:
    fills = shown.eval_on_selector_all(
        ".curve > path", "paths => paths.map(path => getComputedStyle(path).fill)"
    )
    # two curves of three latencies and a throughput, and the tails of their five loads
    assert len(fills) == 2 * 4 + 5
    assert set(fills) == {"none"}


def test_below_a_curve_there_is_the_background(shown: Page) -> None:
    """In the box from where a curve begins to where it ends nearly all is background."""
    image = pixels(shown)
    background = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    curves = shown.eval_on_selector_all(
        ".curve > path",
        """paths => paths.map(path => {
            const matrix = path.getScreenCTM(), length = path.getTotalLength()
            const place = at => {
                const {x, y} = path.getPointAtLength(at * length).matrixTransform(matrix)
                return [x + scrollX, y + scrollY]
            }
            return [place(0), place(1)]
        })""",
    )
    looked_at = 0
    for (left, bottom), (right, top) in curves:
        inside = image[round(top) + 8 : round(bottom) - 8, round(left) + 8 : round(right) - 8]
        if not inside.size:
            continue
        looked_at += 1
        colours, counts = np.unique(inside.reshape(-1, 3), axis=0, return_counts=True)
        most = colours[counts.argmax()]
        assert f"rgb({', '.join(map(str, most))})" == background
        assert counts.max() > 0.7 * counts.sum()
    assert looked_at > len(curves) / 2


def test_each_curve_is_in_the_order_of_its_load(shown: Page) -> None:
    directions = shown.eval_on_selector_all(
        ".curve > path",
        """paths => paths.map(path => Array.from({length: 50}, (_, n) =>
            path.getPointAtLength(path.getTotalLength() * n / 49).x))""",
    )
    for places in directions:
        assert places == sorted(places)


def test_nothing_is_wider_than_the_screen_and_text_is_readable(shown: Page) -> None:
    assert shown.evaluate("document.documentElement.scrollWidth") <= shown.evaluate("innerWidth")
    heights = shown.eval_on_selector_all(
        "svg text",
        "texts => texts.map(text => parseFloat(getComputedStyle(text).fontSize)"
        " * text.getScreenCTM().a)",
    )
    assert len(heights) > 50
    assert min(heights) >= 10
    beyond = shown.eval_on_selector_all(
        "svg text",
        """texts => texts.filter(text => {
            const own = text.getBoundingClientRect()
            const whole = text.ownerSVGElement.getBoundingClientRect()
            return own.left < whole.left - 1 || own.right > whole.right + 1
        }).map(text => text.textContent)""",
    )
    assert beyond == []


def test_the_colours_are_those_of_the_scheme(shown: Page) -> None:
    dark = shown.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    paper = PAPER["dark" if dark else "light"]
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    contrast = shown.eval_on_selector_all(
        ".curve > path, svg text",
        """marks => marks.map(mark => {
            const light = text => {
                const [r, g, b] = text.match(/\\d+/g).map(n => {
                    n /= 255
                    return n <= 0.03928 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4
                })
                return 0.2126 * r + 0.7152 * g + 0.0722 * b
            }
            const style = getComputedStyle(mark)
            const own = light(mark.tagName === 'path' ? style.stroke : style.fill)
            const paper = light(getComputedStyle(document.body).backgroundColor)
            return (Math.max(own, paper) + 0.05) / (Math.min(own, paper) + 0.05)
        })""",
    )
    assert min(contrast) >= 3  # what WCAG asks of what is drawn


def test_the_manager_reads_the_answer_first(shown: Page) -> None:
    card = shown.locator(".card")
    assert card.count() == 1  # the echo is what it is compared with
    text = card.inner_text()
    assert "200 calls a second at most" in text
    assert "p99 with 64 callers" in text
    assert "50 % of the echo measured beside it" in text
    assert "refused or failed at 300/s" in text
    assert card.bounding_box()["y"] < 400
