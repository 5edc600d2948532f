"""Fixtures that more than one folder of tests uses; each subject's are in a module of its own."""

from __future__ import annotations

import signal

from hypothesis import settings

# A job in the background of a shell ignores SIGINT, and so would every process that a test starts.
# A handler is not inherited: they start with the default action.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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
