from __future__ import annotations

import pytest
from pydantic import ValidationError

from training.config import PRESETS, Config


def test_the_full_preset_is_the_default() -> None:
    assert PRESETS["full"] == Config()


def test_every_choice_is_described() -> None:
    assert all(field.description for field in Config.model_fields.values())


def test_choices_cannot_be_changed_or_misspelt() -> None:
    with pytest.raises(ValidationError):
        Config().seed = 2  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Config(epoch=2)  # type: ignore[call-arg]
