"""Fixtures that more than one folder of tests uses; each subject's are in a module of its own."""

from __future__ import annotations

pytest_plugins = ["tests.fixtures.collector", "tests.fixtures.milvus", "tests.fixtures.serving"]
