"""What the supervisor asks the process inside Envoy to run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from rpckit.settings.server import ServerSettings


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A service to run, in a form that another process can unpickle.

    Class and function are object references, `module:name`, as in entry points.
    """

    name: str
    """Name of the program."""
    settings_class: str
    """Object reference of the settings class."""
    values: dict[str, Any]
    """Values of the settings' fields."""
    wire_function: str
    """Object reference of the function that builds the service."""
    run_dir: Path
    """Directory of the files that both processes share; closed to other users."""

    @classmethod
    def of(
        cls, name: str, settings: ServerSettings, wire: Callable[..., Any], run_dir: Path
    ) -> LaunchSpec:
        """Describe a service."""
        settings_class = object_reference(type(settings))
        return cls(name, settings_class, dict(settings), object_reference(wire), run_dir)

    def settings(self) -> ServerSettings:
        """Return the settings, without reading the environment again."""
        settings_class = resolve_name(self.settings_class)
        made: ServerSettings = settings_class.model_construct(**self.values)
        return made

    def wire(self) -> Callable[..., Any]:
        """Return the function that builds the service."""
        function: Callable[..., Any] = resolve_name(self.wire_function)
        return function


def object_reference(thing: type | Callable[..., Any]) -> str:
    """Return the `module:name` from which another process can import a class or function."""
    module = thing.__module__
    if module == "__main__":  # `python -m` hides the name of the module it runs
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name if spec is not None else module
    return f"{module}:{thing.__qualname__}"
