"""The journal: what a live writer has stored so far, safe from ``kill -9``.

An Arrow IPC stream ``journal-<uuid>.arrows``. Every batch goes to the operating system before
``append`` returns, and carries the SHA-256 of its own serialised form, so that a torn tail or a
flipped byte is seen. The writer holds a lock on the file beside it for as long as it lives; a
journal whose lock is free belongs to a dead writer and can be sealed into a shard by anyone.
"""

import hashlib
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from filelock import FileLock, Timeout

_LOG = logging.getLogger(__name__)
_CHECKSUM = b"sha256"
_PATTERN = "journal-*.arrows"
_TORN = (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError)
"""What reading a file that ends too early, or has flipped bytes, can raise."""


def _checksum(batch: pa.RecordBatch) -> bytes:
    return hashlib.sha256(batch.serialize()).hexdigest().encode()


def _lock(journal: Path) -> FileLock:
    return FileLock(journal.with_suffix(".lock"), blocking=False, thread_local=False)


class Journal:
    """A journal open for appending, locked by this process."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.path = folder / f"journal-{uuid.uuid4().hex}.arrows"
        self._lock = _lock(self.path)
        # The lock comes first: a journal without a holder would be taken for a dead writer's.
        self._lock.acquire()
        try:
            self._sink = pa.OSFile(str(self.path), "wb")
            self._stream = pa.ipc.new_stream(self._sink, schema)
        except BaseException:
            self.remove()
            raise

    @property
    def bytes(self) -> int:
        """Bytes written so far."""
        written: int = self._sink.tell()
        return written

    def append(self, batch: pa.RecordBatch) -> None:
        """Write one batch through to the operating system.

        Raises:
            OSError: it could not be written whole; the journal takes no more after that.
        """
        self._stream.write_batch(batch, custom_metadata={_CHECKSUM: _checksum(batch)})

    def close(self) -> None:
        """Write nothing more; the lock stays held."""
        self._sink.close()

    def remove(self) -> None:
        """Delete the journal and give up its lock."""
        self.path.unlink(missing_ok=True)
        # Deleted while held: whoever waits for it finds the journal gone (see `claimed`).
        self.path.with_suffix(".lock").unlink(missing_ok=True)
        self._lock.release()

    def abandon(self) -> None:
        """Leave the journal, with all it holds, to whoever opens the space next."""
        self.close()
        self._lock.release()


def batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The whole, undamaged batches of a journal of ``schema``, in the order they were written.

    What was torn by a crash or does not match its checksum is dropped with a warning.
    """
    with pa.OSFile(str(path), "rb") as source:
        try:
            yield from _read(path, pa.ipc.open_stream(source), schema)
        except _TORN as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # The disk failed, not the journal: keep it.
            _LOG.warning("%s: dropped the torn end of a journal", path)


def _read(path: Path, stream: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if not stream.schema.equals(schema, check_metadata=True):
        _LOG.warning("%s: dropped a journal with a damaged head", path)
        return
    while True:
        try:
            batch, metadata = stream.read_next_batch_with_custom_metadata()
        except StopIteration:
            return
        batch.validate(full=True)
        if metadata is not None and metadata.get(_CHECKSUM) == _checksum(batch):
            yield batch
        else:
            _LOG.warning("%s: dropped %d damaged records", path, batch.num_rows)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Hold a dead writer's journal; false where its writer lives, or somebody else was quicker."""
    lock = _lock(path)
    try:
        lock.acquire()
    except (Timeout, OSError):
        yield False
        return
    try:
        yield path.exists()
        if not path.exists():
            path.with_suffix(".lock").unlink(missing_ok=True)
    finally:
        lock.release()


def journals(folder: Path) -> list[Path]:
    """All journals in ``folder``, of live and of dead writers, by name."""
    with suppress(FileNotFoundError):
        return sorted(folder.glob(_PATTERN))
    return []


def in_use(folder: Path) -> bool:
    """Whether a live writer, of this process or another, writes into ``folder``."""
    for path in journals(folder):
        with claimed(path) as mine:
            if not mine and path.exists():
                return True
    return False
