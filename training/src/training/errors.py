"""Errors whose causes lie outside the program."""

from __future__ import annotations


class TrainingError(Exception):
    """Training cannot continue; the message is a sentence for the person who started it."""


class DataError(TrainingError):
    """The data is missing or invalid; the message names file and line."""
