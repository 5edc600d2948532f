from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from rpckit.errors import PermissionDeniedError, StartupError, UnauthenticatedError
from rpckit.security.tokens import TokenFile

TOKEN = "0123456789abcdef-reader"


def token_file(folder: Path, text: str, mode: int = 0o600) -> TokenFile:
    path = folder / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return TokenFile(path)


def bearer(token: str) -> dict[str, str | bytes]:
    return {"authorization": f"Bearer {token}"}


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
        (f"gateway write {TOKEN}", r"known permissions are index and read"),
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


def test_a_file_that_everybody_can_read_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        token_file(tmp_path, f"gateway read {TOKEN}\n")
        assert not caplog.records
        token_file(tmp_path, f"gateway read {TOKEN}\n", mode=0o644)
    assert "every user of this machine can read the tokens in" in caplog.text
