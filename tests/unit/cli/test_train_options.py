from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from marquee_cli.train_options import config_of, with_config_options
from training.config import PRESETS, Config


def options(*arguments: str) -> dict[str, object]:
    """Return the choices that a command with the options gets."""
    got: dict[str, object] = {}

    def command(name: Annotated[str, typer.Option()] = "", **choices: object) -> None:
        got.update(choices, name=name)

    app = typer.Typer(rich_markup_mode=None)
    app.command()(with_config_options(command))
    app(list(arguments), standalone_mode=False)
    return got


def test_options_that_are_not_given_are_none() -> None:
    assert options() == dict.fromkeys(Config.model_fields) | {"name": ""}


def test_options_change_the_choices_of_a_preset() -> None:
    choices = dict.fromkeys(Config.model_fields) | {"epochs": 3, "user_id_dropout": 0.25}
    changed = PRESETS["quick"].model_copy(update={"epochs": 3, "user_id_dropout": 0.25})
    assert config_of("quick", choices) == changed
    assert config_of("small", {}) == PRESETS["small"]


def test_options_are_given_in_the_type_of_their_field() -> None:
    got = options("--epochs", "3", "--user-id-dropout", "0.25", "--name", "x")
    assert (got["epochs"], got["user_id_dropout"], got["seed"], got["name"]) == (3, 0.25, None, "x")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", "0"),
        ("--epochs", "many"),
        ("--test-share", "1"),
        ("--user-id-dropout", "1.0"),
        ("--learning-rate", "-1"),
        ("--objective", "popularity"),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_option(option: str, value: str) -> None:
    with pytest.raises(typer.BadParameter) as refusal:
        options(option, value)
    assert refusal.value.exit_code == 2
    assert refusal.value.format_message().startswith(f"Invalid value for '{option}': ")


def test_help_explains_every_choice_and_its_value_in_each_preset() -> None:
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @with_config_options
    def command(**choices: object) -> None:
        pass

    text = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    for name, field in Config.model_fields.items():
        assert field.description
        assert f"--{name.replace('_', '-')} " in text
        assert field.description.split(";")[0].split(":")[0] in text
        for preset, config in PRESETS.items():
            assert f"{preset} {getattr(config, name)}" in text
