from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from training.download import download
from training.errors import DataError

CONTENT = b"the zip" * 50_000
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Files(BaseHTTPRequestHandler):
    """/whole gives the content, /cut ends too early, all else is not there."""

    requests = 0

    def do_GET(self) -> None:
        Files.requests += 1
        if self.path not in ("/whole", "/cut"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[:100_000])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Files.requests = 0
    with HTTPServer(("127.0.0.1", 0), Files) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_download_with_the_right_checksum_is_kept_and_not_fetched_again(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    for _ in range(2):
        path = download(folder, url=f"{server}/whole", md5=MD5)
        assert path == folder / "ml-1m.zip"
        assert path.read_bytes() == CONTENT
    assert Files.requests == 1
    assert "MovieLens-1M: 100%" in capsys.readouterr().err


def test_a_damaged_copy_is_fetched_anew(server: str, tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip").write_bytes(CONTENT[:-1])
    download(tmp_path, url=f"{server}/whole", md5=MD5, progress=False)
    assert (tmp_path / "ml-1m.zip").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "md5", "reason"),
    [
        ("/whole", "0" * 32, f"has MD5 {MD5}, not {'0' * 32}"),
        ("/cut", MD5, "the connection ended after 100000 of 350000 bytes"),
        ("/nothing", MD5, "cannot be downloaded: .*Not Found"),
    ],
)
def test_a_download_that_fails_leaves_nothing_behind(
    server: str, tmp_path: Path, path: str, md5: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        download(tmp_path, url=server + path, md5=md5, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_without_a_server_the_message_says_what_else_can_be_done(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Files) as http:
        port = http.server_port
    with pytest.raises(DataError, match="or make a synthetic data set"):
        download(tmp_path, url=f"http://127.0.0.1:{port}/whole", progress=False)


def test_only_web_addresses_are_fetched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither an http nor an https address"):
        download(tmp_path, url=f"file://{tmp_path}/ml-1m.zip")
