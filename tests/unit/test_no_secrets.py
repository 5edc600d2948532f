"""No output of a service's settings shows a secret, whichever setting holds it."""

from __future__ import annotations

import pytest

from embedder_service.settings import EmbedderSettings
from gateway.settings import GatewaySettings
from rpckit.settings.loading import Setting, describe, load
from rpckit.settings.server import ServerSettings
from search_service.settings import SearchSettings

SERVICES: list[type[ServerSettings]] = [EmbedderSettings, GatewaySettings, SearchSettings]
CANARY = "canary-7f3a"


def holding_the_canary(setting: Setting) -> str | None:
    """Return a value of the setting that holds a secret as people write it; None: none fits."""
    if setting.kind == "secret":
        return CANARY
    if setting.kind == "text" and setting.name.endswith("target"):
        return f"dns://user:{CANARY}@127.0.0.1/localhost:1"  # http:// is refused
    if setting.kind == "text" and setting.name.endswith(("uri", "endpoint")):
        return f"http://user:{CANARY}@127.0.0.1:1/"
    return None


CASES = [
    pytest.param(cls, setting, id=f"{cls.__name__}-{setting.name}")
    for cls in SERVICES
    for setting in describe(cls)
    if holding_the_canary(setting) is not None
]


def test_every_kind_of_secret_is_among_the_cases() -> None:
    names = {case.values[1].name for case in CASES}
    assert {"milvus_uri", "milvus_token", "otlp_endpoint", "search_target"} <= names


@pytest.mark.parametrize(("cls", "setting"), CASES)
def test_print_config_shows_no_secret(
    cls: type[ServerSettings], setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(cls, [setting.flag, str(holding_the_canary(setting)), "--print-config"])
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    assert CANARY not in printed.out + printed.err


@pytest.mark.parametrize(("cls", "setting"), CASES)
def test_a_refused_setting_is_named_without_its_secret(
    cls: type[ServerSettings], setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    _, scheme_end, rest = str(holding_the_canary(setting)).partition("://")
    value = f"ftp://{rest}" if scheme_end else CANARY
    with pytest.raises(SystemExit):
        load(cls, [setting.flag, value, "--port", "-1"])
    printed = capsys.readouterr()
    assert CANARY not in printed.out + printed.err


@pytest.mark.parametrize(("cls", "setting"), CASES)
def test_a_refused_address_without_a_scheme_is_named_without_its_secret(
    cls: type[ServerSettings], setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    value = str(holding_the_canary(setting)).removeprefix("http://")
    with pytest.raises(SystemExit):
        load(cls, [setting.flag, value, "--port", "-1"])
    printed = capsys.readouterr()
    assert CANARY not in printed.out + printed.err
