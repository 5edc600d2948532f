"""The choices of a training run as command line options."""

from __future__ import annotations

import argparse

from pydantic import ValidationError

from training.config import PRESETS, Config
from training.errors import TrainingError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--preset` and one option for each choice of `Config`, explained by its docstring."""
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default="full",
        help='where the other choices start: "full" for the best model of MovieLens-1M, "quick" '
        'for a good one in less time, "small" for data sets like the synthetic one '
        "(default: full)",
    )
    group = parser.add_argument_group("choices of the run", "each is by default that of the preset")
    for name, field in Config.model_fields.items():
        values = ", ".join(f"{preset} {getattr(c, name)}" for preset, c in PRESETS.items())
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=f"config_{name}",
            metavar=name.upper(),
            help=f"{field.description} ({values})".replace("%", "%%"),
        )


def config_of(arguments: argparse.Namespace) -> Config:
    """The choices that a command line names.

    Raises:
        TrainingError: A value is out of its range; the message names the option.
    """
    changes = {
        name: value
        for name in Config.model_fields
        if (value := getattr(arguments, f"config_{name}")) is not None
    }
    try:
        return Config.model_validate({**PRESETS[arguments.preset].model_dump(), **changes})
    except ValidationError as error:
        problem = error.errors()[0]
        option = f"--{str(problem['loc'][0]).replace('_', '-')}"
        raise TrainingError(f"{option} {problem['input']}: {problem['msg']}.") from error
