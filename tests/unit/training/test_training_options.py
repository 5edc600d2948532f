from __future__ import annotations

import argparse

import pytest
from pydantic import ValidationError

from training.config import PRESETS, Config
from training.errors import TrainingError
from training.options import add_options, config_of


def parse(*arguments: str) -> Config:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return config_of(parser.parse_args(arguments))


def test_without_options_the_choices_are_those_of_the_full_preset() -> None:
    assert parse() == PRESETS["full"] == Config()


def test_options_change_the_choices_of_a_preset() -> None:
    config = parse("--preset", "quick", "--epochs", "3", "--user-id-dropout", "0.25")
    assert config == PRESETS["quick"].model_copy(update={"epochs": 3, "user_id_dropout": 0.25})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", "0"),
        ("--epochs", "many"),
        ("--test-share", "1"),
        ("--user-id-dropout", "1.0"),
        ("--learning-rate", "-1"),
        ("--objective", "ranking"),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_option(option: str, value: str) -> None:
    with pytest.raises(TrainingError, match=f"{option} {value}: "):
        parse(option, value)


def test_help_explains_every_choice() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    text = " ".join(parser.format_help().split())
    for name, field in Config.model_fields.items():
        assert field.description
        assert f"--{name.replace('_', '-')} " in text
        assert field.description.split(";")[0].split(":")[0] in text


def test_choices_cannot_be_changed_or_misspelt() -> None:
    with pytest.raises(ValidationError):
        Config().seed = 2  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Config(epoch=2)  # type: ignore[call-arg]
