"""Settings from flags, environment variables and defaults, in this order of precedence.

A setting has one name in three spellings: the field `log_level`, the flag `--log-level` and, with
the prefix of its class, the environment variable `MARQUEE_EMBEDDER_LOG_LEVEL`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ByteSize, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from rpckit.settings.types import KIB, MIB

Settings = TypeVar("Settings", bound=BaseSettings)

REQUIRED = PydanticUndefined
"""Marks a setting without a default."""

_URI_CREDENTIALS = re.compile(r"((?<=://)|^)[^/\s]+(?=@)")  # with and without the scheme


@dataclass(frozen=True, slots=True)
class Setting:
    """Description of one setting."""

    path: tuple[str, ...]
    """Field names from the settings class down, as in `("search", "target")`."""
    env: str
    """Environment variable."""
    default: object
    """Default value, or `REQUIRED`."""
    description: str
    kind: str
    """Type of the value, for help texts: `integer`, `path`, `json|text`."""
    optional: bool
    """Whether `none` is a valid value."""

    @property
    def name(self) -> str:
        """Field names of the path, joined: `search_target`."""
        return "_".join(self.path)

    @property
    def flag(self) -> str:
        """Command line flag."""
        return "--" + self.name.replace("_", "-")


def load(cls: type[Settings], argv: Sequence[str] | None = None) -> Settings:
    """Return the settings of the process, or exit.

    Exits with status 2 and one line on stderr if a flag or a variable of the prefix is unknown, a
    value is invalid, or settings contradict each other; with status 0 for `-h` and
    `--print-config`.

    Args:
        cls: Settings class of the service.
        argv: Arguments without the program name. None: those of the process.
    """
    settings = describe(cls)
    parser = _parser(settings, cls.__module__.partition(".")[0])
    arguments = vars(parser.parse_args(argv))
    print_config = arguments.pop("print_config")
    flags = {s.path: arguments[s.name] for s in settings if s.name in arguments}
    variables = _variables(cls)
    if unknown := sorted(variables.keys() - {setting.env for setting in settings}):
        parser.error(f"unknown environment variable {', '.join(unknown)}")
    try:
        loaded = cls(**_nest(flags))
    except ValidationError as error:
        parser.error(_explain(error, settings))
    if print_config:
        report = {
            setting.name: {
                "value": _printable(_get(loaded, setting.path)),
                "source": _source(setting, flags, variables),
            }
            for setting in settings
        }
        print(json.dumps(report, indent=2))  # noqa: T201 - the output of --print-config
        raise SystemExit(0)
    return loaded


def describe(cls: type[BaseSettings]) -> list[Setting]:
    """Return all settings of a class, nested models flattened, base class first."""
    prefix = str(cls.model_config.get("env_prefix", ""))
    return [
        Setting(
            path=path,
            env=prefix + "_".join(path).upper(),
            default=default,
            description=" ".join((field.description or "").split()),
            kind=_kind(field.annotation),
            optional=type(None) in get_args(field.annotation),
        )
        for path, field, default in _leaves(cls)
    ]


def format_value(value: object) -> str:
    """Return a value as a user would write it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case ByteSize() if value and value % MIB == 0:
            return f"{value // MIB}MiB"
        case ByteSize() if value and value % KIB == 0:
            return f"{value // KIB}KiB"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)  # noqa: T201 - logging is not configured yet
        raise SystemExit(2)


def _parser(settings: Sequence[Setting], program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description="Every flag can also be given as the environment variable named with it.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        default=False,
        help="print the settings in effect and where each comes from as JSON, and exit",
    )
    for setting in settings:
        default = (
            "required"
            if setting.default is REQUIRED
            else f"default {format_value(setting.default)}"
        )
        text = f"{setting.description} [{default}; {setting.env}]".replace("%", "%%")
        if setting.kind == "boolean":
            action = argparse.BooleanOptionalAction
            parser.add_argument(setting.flag, dest=setting.name, action=action, help=text)
        else:
            metavar = setting.kind.upper() if "|" not in setting.kind else f"{{{setting.kind}}}"
            convert = _none_or_text if setting.optional else str
            parser.add_argument(
                setting.flag, dest=setting.name, metavar=metavar, type=convert, help=text
            )
    return parser


def _none_or_text(value: str) -> str | None:
    return None if value == "none" else value


def _leaves(
    model: type[BaseModel], path: tuple[str, ...] = (), defaults: BaseModel | None = None
) -> Iterator[tuple[tuple[str, ...], FieldInfo, object]]:
    for name, field in model.model_fields.items():
        default = (
            getattr(defaults, name) if defaults else field.get_default(call_default_factory=True)
        )
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            nested = default if isinstance(default, BaseModel) else None
            yield from _leaves(field.annotation, (*path, name), nested)
        else:
            yield (*path, name), field, default


_KINDS = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    ByteSize: "size",
    Path: "path",
    SecretStr: "secret",
}


def _kind(annotation: Any) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    return _KINDS[annotation]


def _variables(cls: type[BaseSettings]) -> dict[str, str]:
    prefix = str(cls.model_config.get("env_prefix", ""))
    return {
        name.upper(): value
        for name, value in os.environ.items()
        if prefix and name.upper().startswith(prefix)
    }


def _nest(flags: Mapping[tuple[str, ...], object]) -> dict[str, Any]:
    """Turn `{("search", "target"): x}` into `{"search": {"target": x}}`."""
    nested: dict[str, Any] = {}
    for path, value in flags.items():
        inner = nested
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
    return nested


def _explain(error: ValidationError, settings: Sequence[Setting]) -> str:
    by_path = {setting.path: setting for setting in settings}
    reasons = []
    for problem in error.errors(include_url=False):
        path = tuple(map(str, problem["loc"]))
        reason = problem["msg"].removeprefix("Value error, ")
        setting = by_path.get(path)
        if setting is None:  # a contradiction between settings
            reasons.append(": ".join([*path, reason]))
        elif problem["type"] == "missing":
            reasons.append(f"{setting.flag} is required (or {setting.env})")
        else:
            given = (
                ""
                if setting.kind == "secret"
                else f", not {_without_credentials(str(problem['input']))!r}"
            )
            reason = reason[:1].lower() + reason[1:]
            reasons.append(f"{setting.flag} ({setting.env}): {reason}{given}")
    return "; ".join(reasons)


def _source(
    setting: Setting, flags: Mapping[tuple[str, ...], object], variables: Mapping[str, str]
) -> str:
    if setting.path in flags:
        return "flag"
    return "environment" if variables.get(setting.env) else "default"  # empty means not set


def _get(loaded: object, path: Sequence[str]) -> object:
    for name in path:
        loaded = getattr(loaded, name)
    return loaded


def _printable(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    return _without_credentials(str(value))


def _without_credentials(text: str) -> str:
    """Return a text with user name and password of any address in it replaced."""
    return _URI_CREDENTIALS.sub("***", text)
