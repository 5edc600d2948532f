from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from suite.interruption import Interrupted, interruptible, raise_if_interrupted


@pytest.fixture(autouse=True)
def _hangups_are_not_ignored() -> Iterator[None]:
    """As they are where the tests are not run by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_exception_inside_and_what_it_was_outside(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Interrupted), interruptible():
        os.kill(os.getpid(), signum)
    assert signal.getsignal(signum) is before
    raise_if_interrupted()  # it is over


def test_an_exception_that_got_lost_is_raised_again() -> None:
    with interruptible():
        raise_if_interrupted()
        with suppress(Interrupted):  # as gRPC's destructors do
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            raise_if_interrupted()


def test_a_hangup_that_nohup_ignores_is_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible():
        os.kill(os.getpid(), signal.SIGHUP)
        raise_if_interrupted()
