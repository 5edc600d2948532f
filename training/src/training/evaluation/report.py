"""The report of a comparison: results.json, report.md, report.png and report.html."""

from __future__ import annotations

import io
from collections.abc import Iterator
from html import escape
from pathlib import Path

from training.evaluation.plots import draw
from training.evaluation.results import Results
from training.evaluation.tables import Grid, grids, markdown, summary

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem}"
    "div{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}"
    "th:first-child,td:first-child{text-align:left}svg{max-width:100%;height:auto}"
)


def write_report(folder: Path, results: Results) -> str:
    """Write the four files of the report into a folder.

    Returns:
        The text of report.md.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text, figure, picture = markdown(results), draw(results), io.StringIO()
    results.write_json(folder / "results.json")
    (folder / "report.md").write_text(text, encoding="utf-8")
    figure.savefig(folder / "report.png")
    figure.savefig(picture, format="svg")
    svg = picture.getvalue()
    (folder / "report.html").write_text(_page(results, svg[svg.index("<svg") :]), encoding="utf-8")
    return text


def _page(results: Results, picture: str) -> str:
    """Return one page without anything to load."""
    title = escape(summary(results))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        f"{picture}\n{''.join(map(_section, grids(results)))}</body></html>\n"
    )


def _section(grid: Grid) -> str:
    def cells(tag: str, row: Iterator[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in row)}</tr>\n"

    body = "".join(cells("td", iter(row)) for row in grid.rows)
    return (
        f"<h2>{escape(grid.title)}</h2>\n<div><table>{cells('th', iter(grid.head))}{body}"
        "</table></div>\n"
    )
