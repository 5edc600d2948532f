"""How a command fails."""

from __future__ import annotations


class CommandError(Exception):
    """A command cannot do what it was asked to.

    Its message is one line for the person who gave the command: what is wrong, and what to do
    about it where that is known.
    """
