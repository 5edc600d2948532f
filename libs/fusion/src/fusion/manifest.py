"""What a bundle says of the model inside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

FORMAT = "marquee-fusion-bundle"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a model is, apart from its numbers.

    Attributes:
        name: For people, for example "fusion-rating".
        objective: What the model was fitted to, for example "rating".
        dimension: Length of a vector.
        metric: How vectors are compared; always "IP", inner product.
        score_scale: Factor from an inner product to a score; 5 for the rating objective.
        paddle_version: Of the Paddle that exported the towers.
        data_fingerprint: 12 hexadecimal digits, equal where the training data are.
        evaluation: Figures of the training run by name, for example "rmse".
    """

    name: str
    objective: str
    dimension: int
    metric: str = "IP"
    score_scale: float
    paddle_version: str
    data_fingerprint: str
    evaluation: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Manifest(Description):
    """The description, and the version that the content of the bundle gives.

    Attributes:
        version: 12 hexadecimal digits; equal where the towers, the vocabularies and what their
            vectors mean are. The evaluation does not count.
    """

    version: str

    def to_dict(self) -> dict[str, Any]:
        """The content of manifest.json; `from_dict` is the way back."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """The manifest in the content of a manifest.json.

        Raises:
            ValueError: It is of something else, of a later format, or not as it should be; the
                message is the predicate of a sentence about the file.
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
