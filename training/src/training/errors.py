"""What can go wrong outside of the program, told in a sentence."""

from __future__ import annotations


class TrainingError(Exception):
    """Training cannot go on; the message is a sentence for the person who started it."""


class DataError(TrainingError):
    """The data cannot be had or are not what they should be; the message names file and line."""
