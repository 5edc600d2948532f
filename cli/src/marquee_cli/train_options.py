"""The options of `marquee train` that set the choices of a run, one for each field of `Config`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from training.config import PRESETS, Config, Preset

Command = Callable[..., None]


def with_config_options(command: Command) -> Command:
    """Return a command with an option for each field of `Config`, explained by its description.

    Args:
        command: Function for Typer that takes the fields as `**choices`; a field that is not
            given is None.
    """

    @functools.wraps(command)
    def with_options(**arguments: object) -> None:
        command(**arguments)

    signature = inspect.signature(command, eval_str=True)
    declared = [each for each in signature.parameters.values() if each.kind != each.VAR_KEYWORD]
    options = [_option(name) for name in Config.model_fields]
    with_options.__signature__ = signature.replace(  # type: ignore[attr-defined]  # of inspect
        parameters=[*declared, *options]
    )
    return with_options


def config_of(preset: Preset, choices: Mapping[str, object]) -> Config:
    """Return a preset with the choices that were given in place of its own.

    Args:
        preset: Name of the preset.
        choices: Values of the options by field; None where an option was not given.
    """
    given = {name: value for name, value in choices.items() if value is not None}
    return Config.model_validate({**PRESETS[preset].model_dump(), **given})


def _option(name: str) -> inspect.Parameter:
    field = Config.model_fields[name]
    values = ", ".join(f"{preset} {getattr(PRESETS[preset], name)}" for preset in PRESETS)

    def check(value: Any) -> Any:
        if value is not None:
            try:
                Config.model_validate({name: value})
            except ValidationError as error:
                raise typer.BadParameter(f"{error.errors()[0]['msg']}, not {value}.") from None
        return value

    option = typer.Option(help=f"{field.description} ({values})", callback=check)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[field.annotation | None, option],  # type: ignore[operator]
    )
