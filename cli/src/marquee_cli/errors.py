"""The error of a command that fails."""

from __future__ import annotations


class CommandError(Exception):
    """A command failed.

    The message is one line for the user: what is wrong and, if known, how to fix it.
    """
