"""A shard: up to some tens of MiB of records in one Arrow IPC file that never changes.

``shard-<first 32 hexadecimal digits of the file's SHA-256>.arrow``. Because the name is the
checksum, writing needs no manifest and no coordination: a file is complete and right, or its name
says that it is not. The same records in the same order give the same file.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from ragdistill.files import sha256_file
from ragdistill.signals.codecs import Codec, Values
from ragdistill.signals.fingerprint import KEY_BYTES

SCHEMA_VERSION = 1
PREFIX, SUFFIX = "shard-", ".arrow"
_DIGITS = 32
_METADATA = b"ragdistill"
_BATCH_BYTES = 4 << 20
_KEY = f"S{KEY_BYTES}"

_verified: set[tuple[str, int, int]] = set()
"""Path, size and time of change of the shards whose checksum this process has seen to be right."""


class DamagedShard(Exception):
    """A shard whose content is not what its name or its place says."""


def is_shard(name: str) -> bool:
    """Whether a file's name is that of a shard."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def schema_of(codec: Codec, space_id: str) -> pa.Schema:
    """Columns of a shard, and in its metadata the space that it belongs to."""
    key = pa.field("key", pa.binary(KEY_BYTES), nullable=False)
    metadata = json.dumps({"schema": SCHEMA_VERSION, "space": space_id}, sort_keys=True)
    return pa.schema([key, *codec.columns], metadata={_METADATA: metadata})


def key_array(keys: Sequence[bytes]) -> Values:
    """Keys as an array [n] of ``KEY_BYTES`` bytes each (dtype S: compared bytewise).

    Raises:
        ValueError: a key has another length.
    """
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"a key has {KEY_BYTES} bytes: use ragdistill.signals.text_key")
    return np.frombuffer(b"".join(keys), dtype=_KEY)


def key_bytes(keys: Values) -> Iterator[bytes]:
    """The inverse of ``key_array``; NumPy's own conversion would drop trailing zero bytes."""
    raw = keys.tobytes()
    return (raw[start : start + KEY_BYTES] for start in range(0, len(raw), KEY_BYTES))


def record_batch(keys: Values, columns: list[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """Keys [n] and the codec's columns as one batch."""
    buffers = [None, pa.py_buffer(keys.tobytes())]
    stored = pa.FixedSizeBinaryArray.from_buffers(pa.binary(KEY_BYTES), len(keys), buffers)
    return pa.record_batch([stored, *columns], schema=schema)


def batch_keys(batch: pa.RecordBatch) -> Values:
    """The keys [n] of a stored batch, not copied."""
    column = batch.column("key")
    start = column.offset * KEY_BYTES
    return np.frombuffer(column.buffers()[1], dtype=_KEY, count=len(column), offset=start)


def write(folder: Path, batches: Iterable[pa.RecordBatch], temporary: Path) -> str | None:
    """Write batches as a shard into ``folder``, through ``temporary``; ``None`` if there are none.

    Returns:
        The shard's name. When this returns, the shard is on the disk, not only in its cache.
    """
    rows = 0
    try:
        with pa.OSFile(str(temporary), "wb") as sink:
            writer = None
            for batch in _merged(batches):
                writer = writer or pa.ipc.new_file(sink, batch.schema)
                writer.write_batch(batch)
                rows += batch.num_rows
            if writer is not None:
                writer.close()
        if not rows:
            return None
        _sync(temporary)
        name = f"{PREFIX}{sha256_file(temporary)[:_DIGITS]}{SUFFIX}"
        temporary.replace(folder / name)
        _sync(folder)
    finally:
        temporary.unlink(missing_ok=True)
    _verified.add(_identity(folder / name))
    return name


def _merged(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Many small batches as few of about ``_BATCH_BYTES``: quick to open, small to hold."""
    pending: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        pending.append(batch)
        size += batch.nbytes
        if size >= _BATCH_BYTES:
            yield _joined(pending)
            pending, size = [], 0
    if pending:
        yield _joined(pending)


def _joined(pending: list[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(pending).combine_chunks()
    return table.to_batches()[0]


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows cannot open a folder.
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _identity(path: Path) -> tuple[str, int, int]:
    state = path.stat()
    return str(path), state.st_size, state.st_mtime_ns


def check(path: Path) -> None:
    """Compare a shard's bytes with the checksum in its name. Read in pieces, not mapped.

    Raises:
        DamagedShard: they differ.
    """
    if path.name != f"{PREFIX}{sha256_file(path)[:_DIGITS]}{SUFFIX}":
        _verified.discard(_identity(path))
        raise DamagedShard("its bytes do not match the checksum in its name")
    _verified.add(_identity(path))


@dataclass(frozen=True)
class Shard:
    """An opened shard: its sorted keys in memory (20 bytes a record), its signals on disk."""

    path: Path
    keys: Values
    """Sorted, [n]."""
    rows: Values
    """Row in the file of each of ``keys``, int32 [n]."""
    starts: Values
    """First row of each batch of the file, and the number of rows at the end, int64."""

    @classmethod
    def load(cls, path: Path, schema: pa.Schema) -> "Shard":
        """Check a shard, unless this process has done so before, and read its keys.

        Raises:
            DamagedShard: its checksum, its columns or the space it belongs to are not right.
        """
        if _identity(path) not in _verified:
            check(path)
        try:
            keys, starts = cls._directory(path, schema)
        except (pa.ArrowException, ValueError) as error:
            raise DamagedShard(f"it is no Arrow file of records ({error})") from error
        rows = np.argsort(keys, kind="stable").astype(np.int32)
        return cls(path, keys[rows], rows, starts)

    @staticmethod
    def _directory(path: Path, schema: pa.Schema) -> tuple[Values, Values]:
        """All keys of a file, in the order of its rows, and where its batches start."""
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            if not reader.schema.equals(schema, check_metadata=True):
                raise DamagedShard("its columns, or the space it belongs to, are others")
            parts = [batch_keys(reader.get_batch(i)) for i in range(reader.num_record_batches)]
            starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
            return np.concatenate(parts), starts

    def __len__(self) -> int:
        return len(self.keys)

    def locate(self, wanted: Values) -> tuple[Values, Values]:
        """For keys [n]: their rows (int32 [n], meaningless where not found), and found (bool)."""
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return self.rows[at], self.keys[at] == wanted

    def gather(self, codec: Codec, rows: Values, out: Values, into: Values) -> None:
        """Copy the signals in ``rows`` [n] to ``out[into]``.

        The file is mapped for this call only: mapped pages count as memory of the process.
        """
        order = np.argsort(rows, kind="stable")
        rows, into = rows[order], into[order]
        cuts = np.searchsorted(rows, self.starts)
        with pa.memory_map(str(self.path)) as source, pa.ipc.open_file(source) as reader:
            for number, (low, high) in enumerate(pairwise(cuts)):
                if low < high:
                    local = rows[low:high] - self.starts[number]
                    out[into[low:high]] = codec.decode(reader.get_batch(number), local)

    def batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The file's batches, each with the row that it begins at."""
        with pa.memory_map(str(self.path)) as source, pa.ipc.open_file(source) as reader:
            for number in range(reader.num_record_batches):
                yield int(self.starts[number]), reader.get_batch(number)


def count_rows(path: Path) -> int | None:
    """Records in a shard by its directory, its content unread; ``None`` where it is unreadable."""
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            numbers = range(reader.num_record_batches)
            return sum(int(reader.get_batch(number).num_rows) for number in numbers)
    except (pa.ArrowException, OSError):
        return None
