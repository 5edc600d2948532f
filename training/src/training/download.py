"""Downloads MovieLens-1M from GroupLens, whose license forbids redistribution."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from training.errors import DataError

URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
MD5 = "c4d9eecfca2ab87c1945afe126590906"
"""As GroupLens publishes it beside the file: it detects a damaged copy, not a forged one."""

_CHUNK = 1 << 16


def download(
    folder: Path, *, url: str = URL, md5: str = MD5, timeout: float = 30.0, progress: bool = True
) -> Path:
    """Download the zip into a folder, unless a copy with the right checksum is there already.

    Args:
        folder: Folder for ml-1m.zip; created if missing.
        url: Address of the zip, http or https.
        md5: Checksum of the zip, in hexadecimal digits.
        timeout: Longest time without data from the server, in seconds.
        progress: Show a progress bar.

    Returns:
        Path of the zip.

    Raises:
        DataError: The server cannot be reached, or the file has another checksum.
    """
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{url} is neither an http nor an https address.")
    target = folder / "ml-1m.zip"
    if target.is_file() and _md5(target) == md5:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"{target.name}.part")
    try:
        _fetch(url, draft, timeout, progress)
        actual = _md5(draft)
        if actual != md5:
            raise DataError(f"{url} has MD5 {actual}, not {md5}.")
        draft.replace(target)
    except (OSError, urllib.error.URLError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DataError(
            f"{url} cannot be downloaded: {reason}. Without a network, name a folder or a zip "
            "that holds MovieLens-1M, or make a synthetic data set."
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return target


def _fetch(url: str, draft: Path, timeout: float, progress: bool) -> None:
    with urllib.request.urlopen(url, timeout=timeout) as answer, draft.open("wb") as file:  # noqa: S310  # checked above
        received = 0
        size = int(answer.headers.get("Content-Length", 0)) or None
        with tqdm(
            total=size, unit="B", unit_scale=True, desc="MovieLens-1M", disable=not progress
        ) as bar:
            while chunk := answer.read(_CHUNK):
                received += file.write(chunk)
                bar.update(len(chunk))
        if size is not None and received != size:
            raise OSError(f"the connection ended after {received} of {size} bytes")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
