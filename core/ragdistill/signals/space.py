"""One space of the store: all signals of one fingerprint."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from ragdistill.errors import UserError
from ragdistill.files import writing
from ragdistill.signals import journal as journals
from ragdistill.signals import shards
from ragdistill.signals.codecs import Codec, Values, codec_for, stored_bytes
from ragdistill.signals.distributions import TokenDistributions
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill.signals.index import Index
from ragdistill.signals.manifest import space_id, space_path
from ragdistill.signals.places import Place
from ragdistill.signals.shards import DamagedShard, Shard

_LOG = logging.getLogger(__name__)
Signals = Values | Sequence[Values] | Sequence[str] | Sequence[TokenDistributions]
"""What a writer takes of n texts."""
FLUSH_BYTES = 32 << 20
"""Size at which a journal becomes a shard."""


class MissingSignals(KeyError):
    """Signals were asked for that the store does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Fault:
    """Something wrong in a store."""

    where: str
    what: str


class Space:
    """The signals of one fingerprint: read by key, written by ``writer``.

    Opening it seals the journals of dead writers, checks the checksum of every shard that this
    process has not checked yet, and reads the keys (20 bytes of memory a record). Not for use by
    several threads at once; several processes may share a space.
    """

    def __init__(
        self, place: Place, fingerprint: Fingerprint, register: Callable[[], None] | None = None
    ) -> None:
        self.fingerprint = fingerprint
        self.codec: Codec = codec_for(fingerprint)
        self._place = place
        self._register = register
        self._path = space_path(fingerprint)
        self.schema: pa.Schema = shards.schema_of(self.codec, space_id(fingerprint))
        self._index = Index({})
        self._open: list[Writer] = []
        self.refresh()

    @property
    def id(self) -> str:
        """Name of the space's folder."""
        return space_id(self.fingerprint)

    @property
    def record_bytes(self) -> int:
        """Bytes that one record takes on disk, key included."""
        return stored_bytes(self.codec)

    @property
    def folder(self) -> Path:
        """Folder of this machine with the space's journals and shards; it need not exist yet."""
        return self._place.work / self._path

    def refresh(self) -> None:
        """Take in what other processes have written, or left behind by dying, since opening."""
        self._recover()
        names = [name for name in self._place.names(self._path) if shards.is_shard(name)]
        known = self._index.shards
        found = {name: known.get(name) or self._load(name) for name in names}
        self._index = Index({name: shard for name, shard in found.items() if shard is not None})

    def _load(self, name: str) -> Shard | None:
        """Open a shard; one that is damaged is set aside, and so its records are missing."""
        path = f"{self._path}/{name}"
        try:
            return self._checked(path)
        except FileNotFoundError:  # Set aside or pruned by another process meanwhile.
            return None
        except DamagedShard as fault:
            with contextlib.suppress(OSError):
                self._place.set_aside(path)
            _LOG.warning(
                "%s/%s: damaged, %s; set aside as %s.damaged, its records will be collected again",
                *(self._place.address, path, fault, name),
            )
            return None

    def _checked(self, path: str) -> Shard:
        try:
            return Shard.load(self._place.fetch(path), self.schema)
        except DamagedShard:
            if not self._place.forget(path):
                raise
        return Shard.load(self._place.fetch(path), self.schema)  # The download was damaged.

    def _recover(self) -> None:
        """Seal what dead writers left; where the folder cannot be written, leave it for later."""
        for path in journals.journals(self.folder):
            with journals.claimed(path) as mine:
                if mine:
                    self._seal(path)
                    path.unlink(missing_ok=True)

    def _seal(self, path: Path) -> str | None:
        """Turn a journal that this process holds into a shard of the store; its name."""
        with writing(self.folder):
            found = journals.batches(path, self.schema)
            name = shards.write(self.folder, found, path.with_suffix(".tmp"))
        if name is not None:
            self._place.publish(f"{self._path}/{name}")
        return name

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Positions in ``keys`` of those that have no signal yet, in order.

        Of a key that is there several times the first position only. Records that an open writer of
        this space has taken are not missing. Raises ``ValueError`` for a key of another length.
        """
        wanted, first = np.unique(shards.key_array(keys), return_index=True)
        absent = self._index.absent(wanted)
        pending = [part for writer in self._open for part in writer.pending]
        if pending:
            absent &= ~np.isin(wanted, np.concatenate(pending))
        found: list[int] = np.sort(first[absent]).tolist()
        return found

    def get(self, keys: Sequence[bytes]) -> Values:
        """The signals of ``keys``, in their order: for vectors float32 [n, dimensions].

        Only what is asked for is read. What a writer has taken is readable once it is flushed.

        Raises:
            MissingSignals: some have none (a ``KeyError``).
            ValueError: a key has another length.
        """
        wanted = shards.key_array(keys)
        signals, lost = self._index.read(self.codec, wanted)
        if len(lost):
            raise MissingSignals(
                f"{len(lost)} of {len(wanted)} signals are not in space {self.id},"
                f" key {keys[int(lost[0])].hex()} first"
            )
        return signals

    def keys(self) -> Iterator[bytes]:
        """The distinct keys that have a signal, shard by shard."""
        for _, keys, _ in self._index.distinct():
            yield from shards.key_bytes(keys)

    def records(self) -> Iterator[pa.RecordBatch]:
        """All records as they are stored (``schema``), each key once."""
        for shard, _, rows in self._index.distinct():
            wanted = np.sort(rows)
            for start, batch in shard.batches():
                low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
                if low < high:
                    yield batch.take(pa.array(wanted[low:high] - start))

    def __len__(self) -> int:
        return self._index.count

    def verify(self) -> list[Fault]:
        """Check every shard again, byte for byte; nothing is changed."""
        return verify_shards(self._place, self._path, self.schema)

    def _batch(self, keys: Sequence[bytes], values: Signals) -> pa.RecordBatch:
        """Keys and their signals in the form they are stored in.

        Raises:
            UserError: the codec refuses the values.
            ValueError: there are not as many values as keys.
        """
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys for {len(values)} signals")
        return shards.record_batch(shards.key_array(keys), self.codec.encode(values), self.schema)

    def writer(self, flush_bytes: int = FLUSH_BYTES) -> "Writer":
        """What takes records, for use in a ``with`` block; see ``Writer``.

        Raises:
            UserError: the store cannot be written, or now knows another teacher by this name.
        """
        self._prepare()
        return Writer(self, flush_bytes)

    def _prepare(self) -> None:
        if self._register is None:
            raise UserError("this space was opened for reading", where=self._place.address)
        self._register()
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def _new_journal(self) -> journals.Journal:
        self._prepare()  # Again: between two journals another process may have pruned the space.
        with writing(self.folder):
            return journals.Journal(self.folder, self.schema)

    def _opened(self, writer: "Writer") -> None:
        self._open.append(writer)

    def _closed(self, writer: "Writer") -> None:
        self._open.remove(writer)

    def _sealed(self, journal: journals.Journal) -> None:
        """Seal a journal that is complete, and make its records readable."""
        name = self._seal(journal.path)
        journal.remove()
        shard = self._load(name) if name is not None else None
        if name is not None and shard is not None:
            self._index = Index({**self._index.shards, name: shard})


class Writer:
    """Takes records into a space. Each is safe from ``kill -9`` when ``append`` returns.

    Records become readable when they are flushed: every ``flush_bytes``, and on closing.
    """

    def __init__(self, space: Space, flush_bytes: int) -> None:
        self._space = space
        self._flush_bytes = flush_bytes
        self._journal: journals.Journal | None = None
        self.pending: list[Values] = []
        """Keys of the records that are in the journal only."""

    def __enter__(self) -> Self:
        self._space._opened(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.flush()
        except UserError as fault:
            if error is None:
                raise
            _LOG.warning("%s", fault.format_message())  # What went wrong first matters more.
        finally:
            self._space._closed(self)

    def append(self, keys: Sequence[bytes], values: Signals) -> None:
        """Store the signals of n texts; for vectors ``values`` is [n, dimensions], for windows n
        arrays [runs, dimensions], for text n strings, for logits n ``TokenDistributions``.

        Raises:
            UserError: NaN, infinity or another shape; the disk is full; the store is read-only.
            ValueError: a key has another length, or there are not as many values as keys.
        """
        batch = self._space._batch(keys, values)
        if not batch.num_rows:
            return
        try:
            self._journal = self._journal or self._space._new_journal()
            with writing(self._space.folder):
                self._journal.append(batch)
        except BaseException:
            self._abandon()
            raise
        self.pending.append(shards.batch_keys(batch).copy())
        if self._journal.bytes >= self._flush_bytes:
            self.flush()

    def flush(self) -> None:
        """Turn what was appended so far into a shard of the store, readable by all.

        Raises:
            UserError: the disk is full; the journal is kept, and sealed at the next opening.
        """
        if self._journal is None:
            return
        try:
            self._journal.close()
            self._space._sealed(self._journal)
            self._journal = None
            self.pending.clear()
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Leave a journal that takes no more to whoever opens the space next."""
        if self._journal is not None:
            self._journal.abandon()
            self._journal = None
        self.pending.clear()


def verify_shards(place: Place, path: str, schema: pa.Schema) -> list[Fault]:
    """Faults of the shards in the folder ``path``, each read whole."""
    faults = []
    for name in place.names(path):
        if not shards.is_shard(name):
            continue
        try:
            place.forget(f"{path}/{name}")  # The store is to be checked, not the copy.
            local = place.fetch(f"{path}/{name}")
            shards.check(local)
            Shard.load(local, schema)
        except (DamagedShard, OSError) as fault:
            faults.append(Fault(f"{place.address}/{path}/{name}", str(fault)))
    return faults
