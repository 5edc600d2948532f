"""Fixtures that more than one folder of tests uses; each subject's are in a module of its own."""

from __future__ import annotations

from hypothesis import settings

# Examples are bounded by their number; the time of one tells what else the machine is doing.
settings.register_profile("marquee", deadline=None)
settings.load_profile("marquee")

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.bundle",
    "tests.fixtures.collector",
    "tests.fixtures.milvus",
    "tests.fixtures.serving",
]
