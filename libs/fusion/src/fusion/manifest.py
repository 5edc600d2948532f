"""The manifest of a bundle: what the model inside it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

FORMAT = "marquee-fusion-bundle"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a model is, apart from its parameters."""

    name: str
    """Name for people, for example "fusion-rating"."""
    objective: str
    """What the model was fitted to, for example "rating"."""
    dimension: int
    """Length of a vector."""
    metric: str = "IP"
    """How vectors are compared; always "IP", inner product."""
    score_scale: float
    """Factor from an inner product to a score; 5 for the rating objective."""
    paddle_version: str
    """Version of Paddle that exported the towers."""
    data_fingerprint: str
    """12 hexadecimal digits that identify the training data."""
    evaluation: Mapping[str, float]
    """Figures of the training run by name, for example "rmse"."""


@dataclass(frozen=True, kw_only=True)
class Manifest(Description):
    """The description, and the version that follows from the content of the bundle."""

    version: str
    """12 hexadecimal digits that identify the towers, the vocabularies and the meaning of the
    vectors. The evaluation does not change it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the content of manifest.json; `from_dict` is the inverse."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Return the manifest in the content of a manifest.json.

        Raises:
            ValueError: It describes something else, is of another format version, or has missing
                or invalid fields; the message continues a sentence that starts with the file name.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"does not describe a {FORMAT}")
        if content.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"is of format {content.get('format_version')!r}, and this version of Marquee "
                f"reads format {FORMAT_VERSION}"
            )
        values = {k: v for k, v in content.items() if k not in ("format", "format_version")}
        names = {field.name for field in fields(cls)}
        if values.keys() != names:
            raise ValueError(f"lacks or should not have {', '.join(sorted(values.keys() ^ names))}")
        for name, value in values.items():
            if not _is_usable(name, value):
                raise ValueError(f"has no usable {name!r}: {value!r}")
        return cls(**values)


def _is_usable(name: str, value: object) -> bool:
    if name == "metric":
        return value == "IP"
    if name == "dimension":
        return type(value) is int and value >= 1
    if name == "score_scale":
        return _is_figure(value) and float(value) > 0  # type: ignore[arg-type]  # just checked
    if name == "evaluation":
        return isinstance(value, dict) and all(_is_figure(figure) for figure in value.values())
    return isinstance(value, str) and value != ""


def _is_figure(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
