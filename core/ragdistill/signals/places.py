"""Where a store lies: a folder of this machine, or any address that fsspec knows.

Shards never change, and their name is their checksum, so an object store needs no protocol: a
remote place is a local mirror plus ``fetch`` and ``publish``. Everything above reads and writes
plain local files.
"""

import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from ragdistill.errors import UserError
from ragdistill.files import atomic_path, writing
from ragdistill.home import home


class Place(Protocol):
    """A tree of small folders of files. Paths are relative to the store, parted by ``/``."""

    address: str
    work: Path
    """The same tree on this machine: journals are kept there, and shards are read there."""

    def names(self, folder: str) -> list[str]:
        """Sorted names of the files and folders in ``folder``; none where it is missing."""

    def read(self, path: str) -> bytes | None:
        """Content of a small file as it is now, ``None`` where it is missing."""

    def fetch(self, path: str) -> Path:
        """A local file with the content of ``path``, which never changes."""

    def peek(self, path: str) -> Path | None:
        """What ``fetch`` gives, if that needs no download."""

    def forget(self, path: str) -> bool:
        """Drop a downloaded copy of ``path``; false where there was none to drop."""

    def publish(self, path: str) -> None:
        """Make the complete local file ``work / path`` part of the store."""

    def set_aside(self, path: str) -> None:
        """Rename ``path`` to ``path.damaged``."""

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all in it."""

    def size(self, folder: str) -> int:
        """Bytes of the files in ``folder``."""


def place(address: str | os.PathLike[str]) -> Place:
    """The place at ``address``: a local path, or ``protocol://...`` as fsspec spells it."""
    text = os.fspath(address)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if "://" not in text:
        return LocalPlace(Path(text).expanduser())
    if "@" in urlsplit(text).netloc:
        # Options are kept in run.json and shown in reports.
        raise UserError(
            "an address with credentials in it would be written down",
            where="--store",
            mend="leave them out, and set what the protocol reads from the environment",
        )
    return RemotePlace(text)


class LocalPlace:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise UserError("the signal store is no folder", where=folder, mend="choose --store")
        self.work = folder
        self.address = str(folder)

    def names(self, folder: str) -> list[str]:
        """See ``Place``."""
        try:
            return sorted(os.listdir(self.work / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, path: str) -> bytes | None:
        """See ``Place``."""
        try:
            return (self.work / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def fetch(self, path: str) -> Path:
        """See ``Place``."""
        return self.work / path

    def peek(self, path: str) -> Path | None:
        """See ``Place``."""
        return self.work / path

    def forget(self, path: str) -> bool:
        """See ``Place``."""
        return False

    def publish(self, path: str) -> None:
        """See ``Place``: the file already lies where it belongs."""

    def set_aside(self, path: str) -> None:
        """See ``Place``."""
        (self.work / path).replace(self.work / f"{path}.damaged")

    def remove(self, path: str) -> None:
        """See ``Place``. A folder disappears at once, then its files are deleted."""
        target = self.work / path
        if target.is_dir():
            target.rename(target.with_name(f".{target.name}.{uuid.uuid4().hex}.removed"))
            for doomed in target.parent.glob(".*.removed"):  # Also what a crash left.
                shutil.rmtree(doomed)
        else:
            target.unlink(missing_ok=True)

    def size(self, folder: str) -> int:
        """See ``Place``."""
        found = (item for item in (self.work / folder).iterdir() if item.is_file())
        return sum(item.stat().st_size for item in found)


class RemotePlace:
    """An fsspec address, mirrored under ``RAGDISTILL_HOME/journals/<digest of the address>``.

    The locks that keep two writers apart are those of the mirror: they hold among the processes
    of one machine. Across machines, shards still never clash, because their names differ.
    """

    def __init__(self, address: str) -> None:
        import fsspec

        try:
            self._fs, self._root = fsspec.url_to_fs(address)
        except (ValueError, ImportError) as error:
            raise UserError(f"cannot open the signal store: {error}", where=address) from error
        self.address = address
        self.work = home() / "journals" / hashlib.sha256(address.encode()).hexdigest()[:16]

    def _at(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}".rstrip("/")

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        self._fs.invalidate_cache()
        try:
            found: list[dict[str, Any]] = self._fs.ls(self._at(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return found

    def names(self, folder: str) -> list[str]:
        """See ``Place``."""
        return sorted(item["name"].rstrip("/").rpartition("/")[2] for item in self._entries(folder))

    def read(self, path: str) -> bytes | None:
        """See ``Place``."""
        try:
            content: bytes = self._fs.cat_file(self._at(path))
        except FileNotFoundError:
            return None
        return content

    def fetch(self, path: str) -> Path:
        """See ``Place``. Downloaded once; the caller checks it against its name."""
        local = self.work / path
        if not local.exists():
            with writing(self.work), atomic_path(local) as temporary:
                self._fs.get_file(self._at(path), str(temporary))
        return local

    def peek(self, path: str) -> Path | None:
        """See ``Place``."""
        local = self.work / path
        return local if local.exists() else None

    def forget(self, path: str) -> bool:
        """See ``Place``."""
        known = self.peek(path) is not None
        (self.work / path).unlink(missing_ok=True)
        return known

    def publish(self, path: str) -> None:
        """See ``Place``. Uploaded beside, then moved: not every file system uploads atomically."""
        folder = path.rpartition("/")[0]
        upload = self._at(f"{folder}/.{uuid.uuid4().hex}.upload")
        with writing(self.address):
            self._fs.makedirs(self._at(folder), exist_ok=True)
            self._fs.put_file(str(self.work / path), upload)
            self._fs.mv(upload, self._at(path))

    def set_aside(self, path: str) -> None:
        """See ``Place``."""
        (self.work / path).unlink(missing_ok=True)
        self._fs.mv(self._at(path), self._at(f"{path}.damaged"))

    def remove(self, path: str) -> None:
        """See ``Place``."""
        local = self.work / path
        if local.is_dir():
            shutil.rmtree(local)
        else:
            local.unlink(missing_ok=True)
        if self._fs.exists(self._at(path)):
            self._fs.rm(self._at(path), recursive=True)

    def size(self, folder: str) -> int:
        """See ``Place``."""
        return sum(item["size"] or 0 for item in self._entries(folder) if item["type"] == "file")
