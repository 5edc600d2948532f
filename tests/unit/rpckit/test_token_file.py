from __future__ import annotations

import hashlib
import logging
from functools import partial
from pathlib import Path

import pytest

from rpckit.errors import (
    NotReadyError,
    PermissionDeniedError,
    StartupError,
    UnauthenticatedError,
)
from rpckit.security import tokens as tokens_module
from rpckit.security import watched_files
from rpckit.security.tokens import TokenFile
from rpckit.security.watched_files import FileWatcher

TOKEN = "0123456789abcdef-reader"


def token_file(folder: Path, text: str, mode: int = 0o600) -> TokenFile:
    path = folder / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return TokenFile(path)


def bearer(token: str) -> dict[str, str | bytes]:
    return {"authorization": f"Bearer {token}"}


def admits(tokens: TokenFile, token: str) -> bool:
    try:
        tokens.authorize(bearer(token), "read")
    except UnauthenticatedError:
        return False
    return True


def test_comments_and_blank_lines_are_skipped_and_columns_may_be_aligned(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, f"# who  what  token\n\n  gateway \t read   {TOKEN}\n")
    assert tokens.authorize(bearer(TOKEN), "read") == "gateway"


def test_a_caller_may_have_two_tokens_while_one_is_being_replaced(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, f"gateway read {TOKEN}\ngateway read {TOKEN}-new\n")
    assert tokens.authorize(bearer(TOKEN), "read") == "gateway"
    assert tokens.authorize(bearer(TOKEN + "-new"), "read") == "gateway"


def test_a_file_may_hold_digests_instead_of_tokens(tmp_path: Path) -> None:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens = token_file(tmp_path, f"gateway read sha256:{digest}\n")
    assert tokens.authorize(bearer(TOKEN), "read") == "gateway"
    with pytest.raises(UnauthenticatedError):
        tokens.authorize(bearer(f"sha256:{digest}"), "read")


def test_the_scheme_is_case_insensitive_as_in_http(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, f"gateway read {TOKEN}\n")
    assert tokens.authorize({"authorization": f"bearer {TOKEN}"}, "read") == "gateway"


def test_a_permission_is_not_implied_by_another(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, f"builder index {TOKEN}\n")
    assert tokens.authorize(bearer(TOKEN), "index") == "builder"
    with pytest.raises(PermissionDeniedError, match="builder lacks the permission `read`"):
        tokens.authorize(bearer(TOKEN), "read")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (f"gateway {TOKEN}", "2 columns instead of"),
        (f"gateway read, index {TOKEN}", "4 columns instead of"),
        (f"gateway write {TOKEN}", r"known permissions are index, interactions, read"),
        ("gateway read short", "less than 16 characters"),
        ("gateway read sha256:abcd", "not 64 hex digits"),
        ("gateway read sha256:xyz", "hexadecimal"),
        (f"gateway read {TOKEN}\nother read {TOKEN}", "another line's already"),
    ],
)
def test_a_bad_line_is_named_and_its_token_is_not_repeated(
    tmp_path: Path, line: str, complaint: str
) -> None:
    with pytest.raises(StartupError, match=rf"tokens:\d+: .*{complaint}") as failure:
        token_file(tmp_path, line + "\n")
    assert TOKEN not in str(failure.value)


def test_a_file_that_is_missing_or_names_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot read .*none: No such file"):
        TokenFile(tmp_path / "none")
    with pytest.raises(StartupError, match="names no caller"):
        token_file(tmp_path, "# nobody\n")


@pytest.fixture
def reloaded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are checked at every use."""
    monkeypatch.setattr(tokens_module, "FileWatcher", partial(FileWatcher, interval=0))


@pytest.mark.usefixtures("reloaded_at_once")
def test_a_shorter_file_revokes_the_tokens_that_it_lacks(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, f"one read {TOKEN}-1\ntwo read {TOKEN}-2\n")
    (tmp_path / "tokens").write_text(f"two read {TOKEN}-2\n")
    assert not admits(tokens, f"{TOKEN}-1")
    assert admits(tokens, f"{TOKEN}-2")
    tokens.check()


@pytest.mark.parametrize("text", ["", "# nobody\n"])
@pytest.mark.usefixtures("reloaded_at_once")
def test_a_file_that_is_emptied_revokes_every_token_and_says_so_in_readiness(
    tmp_path: Path, text: str
) -> None:
    tokens = token_file(tmp_path, f"gateway read {TOKEN}\n")
    (tmp_path / "tokens").write_text(text)
    assert not admits(tokens, TOKEN)
    with pytest.raises(NotReadyError, match="tokens names no caller"):
        tokens.check()
    (tmp_path / "tokens").write_text(f"gateway read {TOKEN}\n")
    assert admits(tokens, TOKEN)
    tokens.check()


@pytest.mark.parametrize("damage", ["removed", "unreadable", "malformed", "binary"])
@pytest.mark.usefixtures("reloaded_at_once")
def test_a_file_that_cannot_be_loaded_keeps_its_tokens_for_the_grace_and_then_admits_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    tokens, path = token_file(tmp_path, f"gateway read {TOKEN}\n"), tmp_path / "tokens"
    path.unlink()
    match damage:
        case "unreadable":
            path.mkdir()  # permissions do not stop root, who may run the tests
        case "malformed":
            path.write_text("gateway\n")
        case "binary":
            path.write_bytes(b"\xff\xfe")
    assert admits(tokens, TOKEN)
    tokens.check()
    monkeypatch.setattr(watched_files, "RELOAD_GRACE_SECONDS", 0)
    assert not admits(tokens, TOKEN)
    with pytest.raises(NotReadyError, match="not reloaded for 0 s") as reason:
        tokens.check()
    assert TOKEN not in str(reason.value)
    path.rmdir() if damage == "unreadable" else path.unlink(missing_ok=True)
    path.write_text(f"gateway read {TOKEN}\n")
    assert admits(tokens, TOKEN)
    tokens.check()


def test_a_file_that_everybody_can_read_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        token_file(tmp_path, f"gateway read {TOKEN}\n")
        assert not caplog.records
        token_file(tmp_path, f"gateway read {TOKEN}\n", mode=0o644)
    assert "every user of this machine can read the tokens in" in caplog.text
