"""The teacher-signal store: a folder of spaces, one for each fingerprint.

::

    STORE/<kind>/<id>/space.json                     what it holds, for people
    STORE/<kind>/<id>/shard-<checksum>.arrow         Arrow IPC files, mapped when read
    STORE/<kind>/<id>/journal-<uuid>.arrows          what a live writer has stored so far

A signal is addressed by what the teacher is and what the text is, never by a name, a position or a
step. Two processes may write at once: shards are named by their checksum, so they cannot clash.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from filelock import FileLock, Timeout

from ragdistill import files
from ragdistill.errors import UserError, nearest
from ragdistill.signals import journal, shards
from ragdistill.signals.codecs import codec_for
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill.signals.manifest import FILE, Manifest, refuse_impostor, space_id, space_path
from ragdistill.signals.places import place
from ragdistill.signals.space import Fault, MissingSignals, Space, Writer, verify_shards

__all__ = ["Fault", "MissingSignals", "SignalStore", "Space", "SpaceSummary", "Writer"]

_LOCK_SECONDS = 60
_DAMAGED = ".damaged"
_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class SpaceSummary:
    """What can be told of a space without reading its signals. Unknown is ``None``."""

    id: str
    kind: str
    bytes: int
    rows: int | None
    """Records in shards; a key that two processes stored at once counts twice."""
    journals: int
    """Journals of writers that live, or died and whose space was not opened since."""
    damaged: int
    """Shards set aside because their checksum was wrong."""
    manifest: Manifest | None
    fault: str | None = None
    """Why ``manifest`` is unknown."""


class SignalStore:
    """The signals at an address: a folder, or anything that fsspec reaches (``s3://...``)."""

    def __init__(self, address: str | os.PathLike[str]) -> None:
        self._place = place(address)
        self.address = self._place.address

    def space(
        self, fingerprint: Fingerprint, *, teacher: str, accept_change: bool = False
    ) -> Space:
        """The space of ``fingerprint``. Nothing is created before its first ``writer``.

        Raises:
            UserError: the store knows ``teacher`` with other weights or another tokenizer (unless
                ``accept_change``), or was written by a newer version, or a ``space.json`` is
                damaged.
        """
        manifest = Manifest(fingerprint, (teacher,), fingerprint.kind)
        self._check(manifest, accept_change)
        return Space(self._place, fingerprint, partial(self._register, manifest, accept_change))

    def _check(self, manifest: Manifest, accept_change: bool) -> None:
        asked, (teacher,) = manifest.fingerprint, manifest.teachers
        known = [found for path in self._paths() if (found := self._manifest(path))]
        mine = self._manifest(space_path(asked))
        if mine is not None and mine.fingerprint != asked:
            raise UserError(
                f"it is the folder of {asked.describe()}, but says {mine.fingerprint.describe()}",
                where=f"{self.address}/{space_path(asked)}/{FILE}",
                mend=f"remove it: ragdistill signals prune --space {space_id(asked)}",
            )
        if not accept_change:
            refuse_impostor(known, asked, teacher, self.address)

    def _register(self, manifest: Manifest, accept_change: bool) -> None:
        """Write the space's ``space.json``, or add a name to it; under the store's lock."""
        path = f"{space_path(manifest.fingerprint)}/{FILE}"
        with self._lock():
            # Again, now that nobody else can write: another process may have come first.
            self._check(manifest, accept_change)
            known = self._manifest(space_path(manifest.fingerprint))
            wanted = known.called(*manifest.teachers) if known else manifest
            if wanted != known:
                files.write_text(self._place.work / path, wanted.dumps())
                self._place.publish(path)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the store: one process at a time changes names or removes spaces."""
        with files.writing(self.address):
            self._place.work.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(self._place.work / ".lock", timeout=_LOCK_SECONDS):
                    yield
            except Timeout as error:
                raise UserError(
                    f"another process has held the store for {_LOCK_SECONDS} s",
                    where=self.address,
                    mend="wait for it, or end it",
                ) from error

    def _paths(self) -> Iterator[str]:
        """``kind/id`` of every space."""
        for kind in self._place.names(""):
            names = self._place.names(kind) if not kind.startswith(".") else []
            yield from (f"{kind}/{name}" for name in names if _ID.fullmatch(name))

    def _manifest(self, path: str) -> Manifest | None:
        content = self._place.read(f"{path}/{FILE}")
        if content is None:
            return None
        return Manifest.parse(content, f"{self.address}/{path}/{FILE}")

    def spaces(self) -> list[SpaceSummary]:
        """All spaces, by kind and id; a space whose ``space.json`` is unreadable says why."""
        return [self._summary(path) for path in self._paths()]

    def _summary(self, path: str) -> SpaceSummary:
        kind, _, name = path.partition("/")
        files_in = self._place.names(path)
        try:
            manifest, fault = self._manifest(path), None
        except UserError as error:
            manifest, fault = None, error.format_message()
        return SpaceSummary(
            id=name,
            kind=kind,
            bytes=self._place.size(path),
            rows=self._rows(path, files_in),
            journals=len(journal.journals(self._place.work / path)),
            damaged=sum(item.endswith(_DAMAGED) for item in files_in),
            manifest=manifest,
            fault=fault,
        )

    def _rows(self, path: str, names: list[str]) -> int | None:
        total = 0
        for name in filter(shards.is_shard, names):
            local = self._place.peek(f"{path}/{name}")
            rows = None if local is None else shards.count_rows(local)
            if rows is None:
                return None
            total += rows
        return total

    def find(self, reference: str) -> SpaceSummary:
        """The space whose id begins with ``reference``.

        Raises:
            UserError: none or several do.
        """
        known = self.spaces()
        found = [item for item in known if reference and item.id.startswith(reference)]
        if not found:
            hint = nearest(reference, [item.id for item in known])
            raise UserError(
                f"no space {reference!r}{hint}",
                where=self.address,
                mend="ragdistill signals list shows all",
            )
        if len(found) > 1:
            raise UserError(f"{len(found)} spaces begin with {reference!r}", where=self.address)
        return found[0]

    def open(self, summary: SpaceSummary) -> Space:
        """The space of a summary, for reading.

        Raises:
            UserError: its ``space.json`` is missing or damaged.
        """
        if summary.manifest is None:
            raise UserError(summary.fault or f"no {FILE}", where=f"{self.address}/{summary.id}")
        return Space(self._place, summary.manifest.fingerprint)

    def verify(self) -> list[Fault]:
        """Check every ``space.json`` and every byte of every shard; nothing is changed."""
        return [fault for item in self.spaces() for fault in self._faults(item)]

    def _faults(self, summary: SpaceSummary) -> list[Fault]:
        path = f"{summary.kind}/{summary.id}"
        where = f"{self.address}/{path}/{FILE}"
        if summary.manifest is None:
            return [Fault(where, summary.fault or "missing")]
        fingerprint = summary.manifest.fingerprint
        if space_path(fingerprint) != path:
            return [Fault(where, f"it belongs into {space_path(fingerprint)}")]
        schema = shards.schema_of(codec_for(fingerprint), space_id(fingerprint))
        return verify_shards(self._place, path, schema)

    def remove(self, summary: SpaceSummary) -> None:
        """Delete a space with all its signals.

        Raises:
            UserError: a live writer writes into it, or it cannot be written.
        """
        path = f"{summary.kind}/{summary.id}"
        with self._lock():
            if journal.in_use(self._place.work / path):
                raise UserError("in use by a running collection", where=f"{self.address}/{path}")
            self._place.remove(path)

    def remove_damaged(self) -> int:
        """Delete the shards that were set aside; how many there were."""
        found = [
            f"{path}/{name}"
            for path in self._paths()
            for name in self._place.names(path)
            if name.endswith(_DAMAGED)
        ]
        with files.writing(self.address):
            for path in found:
                self._place.remove(path)
        return len(found)
