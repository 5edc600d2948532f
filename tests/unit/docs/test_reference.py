from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]


def reasons() -> Iterator[str]:
    """Find the reasons of errors in the text of the code, however they are imported."""
    sources = [path for member in ("*", "libs/*") for path in ROOT.glob(f"{member}/src/**/*.py")]
    for path in sources:
        yield from re.findall(r'^    reason = "(\w+)"', path.read_text(), re.MULTILINE)


def test_the_pages_made_from_the_code_are_what_the_code_says() -> None:
    command = [sys.executable, ROOT / "docs/generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_every_reason_is_unique_and_in_the_table_of_errors() -> None:
    page = (ROOT / "docs/errors.md").read_text()
    counted = Counter(reasons())
    assert counted
    assert [reason for reason, count in counted.items() if count > 1] == []
    assert [reason for reason in counted if f"| `{reason}` |" not in page] == []
