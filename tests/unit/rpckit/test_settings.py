from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ByteSize, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from rpckit.security.tls import TlsFiles
from rpckit.settings.client import ClientSettings
from rpckit.settings.loading import REQUIRED, describe, format_value, load
from rpckit.settings.server import ServerSettings
from rpckit.settings.types import Port


class KioskSettings(ServerSettings):
    """Settings of a service made up for these tests."""

    model_config = SettingsConfigDict(env_prefix="MARQUEE_KIOSK_")

    port: Port = 50059
    """Port of the kiosk."""
    catalogue: Path
    """Where its
    movies are."""
    password: SecretStr | None = None
    """Opens the till."""
    search: ClientSettings = ClientSettings(target="127.0.0.1:50052", timeout_s=2)


GIVEN = ["--catalogue", "movies"]


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Load with flags that must be refused; return the one line that says why."""
    with pytest.raises(SystemExit) as exit_info:
        load(KioskSettings, argv)
    out, err = capsys.readouterr()
    assert exit_info.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_a_flag_wins_over_the_environment_and_that_over_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load(KioskSettings, GIVEN).max_concurrent_rpcs == 1024
    monkeypatch.setenv("MARQUEE_KIOSK_MAX_CONCURRENT_RPCS", "7")
    assert load(KioskSettings, GIVEN).max_concurrent_rpcs == 7
    assert load(KioskSettings, [*GIVEN, "--max-concurrent-rpcs", "9"]).max_concurrent_rpcs == 9


def test_the_service_s_default_replaces_the_base_s() -> None:
    assert load(KioskSettings, GIVEN).port == 50059


def test_parts_of_a_nested_target_are_set_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_KIOSK_SEARCH_TLS_CA", "/run/ca.pem")
    search = load(KioskSettings, [*GIVEN, "--search-target", "dns:///search:50052"]).search
    assert search == ClientSettings(
        target="dns:///search:50052", tls_ca=Path("/run/ca.pem"), timeout_s=2
    )


def test_switches_have_a_flag_for_each_direction() -> None:
    assert load(KioskSettings, GIVEN).reflection
    assert not load(KioskSettings, [*GIVEN, "--no-reflection"]).reflection
    assert load(KioskSettings, [*GIVEN, "--insecure"]).insecure


def test_sizes_are_read_with_their_unit() -> None:
    settings = load(KioskSettings, [*GIVEN, "--max-receive-message-bytes", "2MiB"])
    assert settings.max_receive_message_bytes == 2 * 1024 * 1024


@pytest.mark.parametrize("source", ["flag", "environment"])
def test_none_unsets_what_is_optional(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    class Metered(KioskSettings):
        metrics_port: Port | None = 51059
        """Port."""

    flags = ["--metrics-port", "none"] if source == "flag" else []
    if source == "environment":
        monkeypatch.setenv("MARQUEE_KIOSK_METRICS_PORT", "none")
    assert load(Metered, GIVEN).metrics_port == (51059 if source == "flag" else None)
    assert load(Metered, [*GIVEN, *flags]).metrics_port is None


@pytest.mark.parametrize("mode", ["all", "errors", "off"])
def test_every_choice_can_be_made_by_flag_and_by_variable(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    assert load(KioskSettings, [*GIVEN, "--access-log", mode]).access_log == mode
    monkeypatch.setenv("MARQUEE_KIOSK_ACCESS_LOG", mode)
    assert load(KioskSettings, GIVEN).access_log == mode


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_KIOSK_TLS_CERT", "")
    monkeypatch.setenv("MARQUEE_KIOSK_PORT", "")
    settings = load(KioskSettings, GIVEN)
    assert settings.tls_cert is None
    assert settings.port == 50059


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = load(KioskSettings, GIVEN)
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--prot", "1"], "unrecognized arguments: --prot 1"),
        (["--port"], "--port: expected one argument"),
        (["--refl"], "--refl"),  # no abbreviations: they break when a setting is added
        (["--port", "70000"], "--port (MARQUEE_KIOSK_PORT)"),
        (["--port", "seven"], "'seven'"),
        (["--default-deadline-s", "0"], "--default-deadline-s"),
        (["--shutdown-grace-s", "-1"], "--shutdown-grace-s"),
        (["--max-concurrent-rpcs", "0"], "--max-concurrent-rpcs"),
        (["--max-send-message-bytes", "5 sacks"], "--max-send-message-bytes"),
        (["--log-level", "loud"], "--log-level"),
        (["--trace-sample-ratio", "1.5"], "--trace-sample-ratio"),
        (["--search-timeout-s", "nan"], "--search-timeout-s"),
        (["--tls-key", "k"], "tls_cert and tls_key go together"),
        (["--tls-cert", "c"], "tls_cert and tls_key go together"),
        (["--tls-client-ca", "ca"], "tls_client_ca needs tls_cert"),
        (["--metrics-port", "50059"], "metrics_port and port must differ"),
        (["--host", "10.0.0.1"], "host 10.0.0.1 can be reached"),
        (["--host", "kiosk.example"], "host kiosk.example can be reached"),
        (["--host", "::", "--insecure", "--token-file", "t"], "token_file needs tls_cert"),
        (["--search-tls-cert", "c", "--search-tls-ca", "a"], "search: tls_cert and tls_key"),
        (["--search-tls-server-name", "s"], "search: tls_cert and tls_server_name need tls_ca"),
        (
            ["--search-token-file", "t", "--search-target", "dns:///s:1"],
            "search: token_file needs tls_ca",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line_that_names_it(
    capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    assert says in refusal(capsys, *GIVEN, *flags)


def test_a_missing_required_setting_is_reported_by_flag_and_variable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "--catalogue is required (or MARQUEE_KIOSK_CATALOGUE)" in refusal(capsys)


def test_an_unknown_variable_of_the_prefix_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_KIOSK_LOGLEVEL", "debug")
    monkeypatch.setenv("MARQUEE_OTHER_LOGLEVEL", "debug")  # somebody else's
    assert refusal(capsys, *GIVEN).endswith("unknown environment variable MARQUEE_KIOSK_LOGLEVEL\n")


def test_a_bad_secret_is_not_repeated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Strict(KioskSettings):
        password: SecretStr | None = None
        """Opens the till."""

    monkeypatch.setitem(Strict.model_config, "str_max_length", 3)
    Strict.model_rebuild(force=True)
    with pytest.raises(SystemExit):
        load(Strict, ["--catalogue", "m", "--host", "::1", "--password", "swordfish"])
    err = capsys.readouterr().err
    assert "--password" in err
    assert "swordfish" not in err


@pytest.mark.parametrize(
    "flags",
    [
        ["--host", "10.0.0.1", "--insecure"],
        ["--host", "10.0.0.1", "--tls-cert", "c", "--tls-key", "k", "--token-file", "t"],
        ["--host", "127.0.0.1", "--token-file", "t"],
        ["--host", "[::1]"],
        ["--host", "localhost"],
        ["--search-token-file", "t"],  # the default target is on loopback
        ["--search-token-file", "t", "--search-target", "ipv4:127.0.0.1:1,127.0.0.1:2"],
        ["--search-token-file", "t", "--search-target", "unix:/run/search.sock"],
        ["--search-token-file", "t", "--search-target", "dns:///s:1", "--search-tls-ca", "c"],
        ["--port", "0", "--metrics-port", "0"],
    ],
)
def test_safe_settings_are_accepted(flags: list[str]) -> None:
    load(KioskSettings, [*GIVEN, *flags])


def test_print_config_shows_values_and_sources_but_no_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_KIOSK_LOG_LEVEL", "debug")
    monkeypatch.setenv("MARQUEE_KIOSK_PASSWORD", "swordfish")
    monkeypatch.setenv("MARQUEE_KIOSK_LOG_FORMAT", "")
    with pytest.raises(SystemExit) as exit_info:
        load(KioskSettings, [*GIVEN, "--print-config"])
    assert exit_info.value.code == 0
    out = capsys.readouterr().out
    shown = json.loads(out)
    assert shown["catalogue"] == {"value": "movies", "source": "flag"}
    assert shown["log_level"] == {"value": "debug", "source": "environment"}
    assert shown["search_timeout_s"] == {"value": 2.0, "source": "default"}
    assert shown["log_format"] == {"value": "json", "source": "default"}
    assert shown["metrics_port"]["value"] is None
    assert shown.keys() == {setting.name for setting in describe(KioskSettings)}
    assert "swordfish" not in out


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        load(KioskSettings, ["-h"])
    assert exit_info.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    for setting in describe(KioskSettings):
        assert setting.flag in words
        assert setting.env in words
        assert setting.description, setting.name
        assert setting.description in words


def test_describe_knows_kind_default_and_text() -> None:
    rows = {setting.name: setting for setting in describe(KioskSettings)}
    assert rows["catalogue"].default is REQUIRED
    assert rows["catalogue"].description == "Where its movies are."
    assert rows["port"].kind == "integer"
    assert rows["tls_cert"].kind == "path"
    assert rows["tls_cert"].optional
    assert rows["log_format"].kind == "json|text"
    assert rows["max_send_message_bytes"].kind == "size"
    assert rows["password"].kind == "secret"
    assert rows["search_timeout_s"].default == 2
    assert rows["search_timeout_s"].env == "MARQUEE_KIOSK_SEARCH_TIMEOUT_S"


def test_tls_files_are_those_of_the_side_that_is_set() -> None:
    assert load(KioskSettings, GIVEN).tls_files() is None
    tls = ["--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a"]
    assert load(KioskSettings, [*GIVEN, *tls]).tls_files() == TlsFiles(
        cert=Path("c"), key=Path("k"), ca=Path("a")
    )
    search = load(KioskSettings, [*GIVEN, "--search-tls-ca", "a"]).search
    assert search.tls_files() == TlsFiles(ca=Path("a"))


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (
            ("--search-target", "http://search:50052"),
            "a gRPC target has no http://: write search:50052",
        ),
        (
            ("--host", "127.0.0.1:50059"),
            "a host has no port: the port is a setting of its own",
        ),
    ],
)
def test_an_address_of_the_wrong_form_is_refused_with_the_right_one(
    flags: tuple[str, str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flag, value = flags
    variable = f"MARQUEE_KIOSK_{flag.strip('-').replace('-', '_').upper()}"
    assert f": {flag} ({variable}): {reason}, not {value!r}" in refusal(capsys, *GIVEN, *flags)


def test_metrics_are_not_served_on_a_socket(capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(capsys, *GIVEN, "--metrics-host", "unix:/run/metrics.sock")
    assert "metrics_host is an IP address or a name, not a socket" in error


@pytest.mark.parametrize("mode", ["rw", "99", "1777", ""])
def test_the_mode_of_a_socket_is_octal(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--socket-mode" in refusal(capsys, *GIVEN, "--socket-mode", mode)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6_can_be_written_with_and_without_brackets(host: str) -> None:
    settings = load(KioskSettings, [*GIVEN, "--host", host, "--metrics-host", host])
    assert (settings.host, settings.metrics_host) == ("::1", "::1")


@pytest.mark.parametrize(
    ("size", "expected"),
    [(8 << 20, "8MiB"), (64 << 10, "64KiB"), ((1 << 20) + 1, "1048577"), (0, "0")],
)
def test_a_size_is_printed_in_the_largest_unit_that_divides_it(size: int, expected: str) -> None:
    assert format_value(ByteSize(size)) == expected
