"""Writing files whole or not at all, and digests of what is on disk."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragdistill.errors import UserError

_CHUNK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,  # of a folder to be made: its parent takes none, as those of /proc do
    errno.ENOTDIR,
    errno.EEXIST,
}
_GOES_ON = (
    "free some, or write elsewhere; what is stored is kept, and the same command goes on from there"
)
_CUT_SHORT = "unexpected pos"
"""What torch says of a file whose limit was met."""


@contextmanager
def writing(where: str | Path, *, full: str = _GOES_ON) -> Iterator[None]:
    """Turn a full disk, and a place that cannot be written, into errors that a person can mend; ``full``
    says how where the disk is full."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = _error_number(error, where)
        if number in _FULL:
            raise UserError("no space left on the disk", where=where, mend=full) from error
        if number in _FORBIDDEN:
            raise UserError(
                f"cannot be written ({os.strerror(number)})",
                where=where,
                mend="choose another place, or get the right to write",
            ) from error
        raise


def _error_number(error: Exception, where: str | Path) -> int:
    """The operating system's number of an error, 0 where it has none.

    Writers in native code do not pass it on: safetensors tells it in words only, torch that less
    was written than it gave, or nothing at all, but leaves a disk that has no space.
    """
    if isinstance(error, OSError):
        return error.errno or 0
    folder = Path(where)
    full = folder.exists() and shutil.disk_usage(folder).free < _CHUNK
    told = any(word in str(error) for word in (*map(os.strerror, _FULL), _CUT_SHORT))
    return errno.ENOSPC if full or told else 0


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hexadecimal SHA-256 of ``value`` as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_bytes(path: Path) -> int:
    """Bytes of all files under ``path``."""
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
