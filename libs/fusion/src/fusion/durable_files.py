"""Replace files and folders so that a power cut at any instant leaves the old or the new ones.

Data reach the disk with fsync(2), and names with an fsync of their folder. A name changes at once,
by rename(2) or renameat2(2).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Constants of renameat2(2)."""


def replace_file(draft: Path, path: Path) -> None:
    """Move a complete file into place.

    Args:
        draft: The file, in the folder of `path`.
        path: Where it goes; an existing file is replaced.
    """
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def replace_folder(draft: Path, path: Path) -> None:
    """Move a complete folder into place; a folder that was there is then at `draft`.

    Where the system cannot exchange two folders at once, there is an instant without either.

    Args:
        draft: The folder, on the same file system as `path`.
        path: Where it goes.
    """
    for entry in (*draft.rglob("*"), draft):
        _sync(entry)
    if not path.exists():
        draft.rename(path)
    elif not _exchange(draft, path):
        replaced = draft.with_name(f"{draft.name}-replaced")
        path.rename(replaced)
        draft.rename(path)
        replaced.rename(draft)
    _sync(draft.parent)
    _sync(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once; False if this system or file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    names = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    return bool(renameat2(*names, _RENAME_EXCHANGE) == 0)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
