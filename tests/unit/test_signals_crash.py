"""Death at any moment, full disks, several processes: nothing lost, nothing wrong."""

import logging
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from ragdistill.errors import UserError
from ragdistill.signals import journal
from ragdistill.signals.journal import Journal
from ragdistill.signals.store import SignalStore, Space
from signals_helpers import fill, keys, run, space, start, vectors

_COLLECT = """
import os, sys
from signals_helpers import keys, space, vectors
opened = space(sys.argv[1])
log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
missing = opened.missing(keys(range(3000)))
with opened.writer(flush_bytes=9_000) as writer:
    for start in range(0, len(missing), 7):
        part = missing[start : start + 7]
        os.write(log, f"asked {' '.join(map(str, part))}\\n".encode())
        writer.append(keys(part), vectors(keys(part)))
        os.write(log, f"stored {' '.join(map(str, part))}\\n".encode())
"""


def test_kill_9_loses_nothing_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    rng = random.Random(4)
    for _ in range(10):
        size = log.stat().st_size
        process = start(_COLLECT, tmp_path / "store", log)
        while log.stat().st_size == size and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.06))
        process.kill()
        process.wait()
    assert run(_COLLECT, tmp_path / "store", log).returncode == 0
    stored: set[str] = set()
    for line in log.read_text().splitlines():
        what, *numbers = line.split()
        if what == "asked":
            assert not stored & set(numbers)
        else:
            stored.update(numbers)
    _assert_complete(space(tmp_path / "store"), 3000)


def _assert_complete(opened: Space, count: int) -> None:
    assert len(opened) == count
    np.testing.assert_array_equal(opened.get(keys(range(count))), vectors(keys(range(count))))
    assert opened.verify() == []
    assert journal.journals(opened.folder) == []


_DIE = """
import os, signal, sys
from pathlib import Path
from ragdistill.signals import journal, shards, space
import signals_helpers

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

def after(function):
    def run(*given, **named):
        function(*given, **named)
        die()
    return run

moment = sys.argv[2]
if moment == "before sealing": shards.write = die
if moment == "half a shard": shards._joined = die
if moment == "before the name": shards.sha256_file = die
if moment == "after the name": shards.write = after(shards.write)
if moment == "before the journal goes": journal.Journal.remove = die
if moment == "before its lock goes":
    unlink = Path.unlink
    Path.unlink = lambda path, **named: (
        after(unlink)(path) if path.suffix == ".arrows" else unlink(path, **named)
    )
if moment == "after all": journal.Journal.remove = after(journal.Journal.remove)
signals_helpers.fill(signals_helpers.space(sys.argv[1]), range(100))
"""


@pytest.mark.parametrize(
    "moment",
    [
        "before sealing",
        "half a shard",
        "before the name",
        "after the name",
        "before the journal goes",
        "before its lock goes",
        "after all",
    ],
)
def test_death_at_each_step_of_sealing(tmp_path: Path, moment: str) -> None:
    assert run(_DIE, tmp_path, moment).returncode == -signal.SIGKILL
    _assert_complete(space(tmp_path), 100)
    left = {path.suffix for path in (tmp_path / "vector").rglob("*") if path.is_file()}
    assert left - {".lock"} == {".arrow", ".json"}


_WRITE = """
import sys
from signals_helpers import keys, space, vectors
opened = space(sys.argv[1])
with opened.writer(flush_bytes=5_000) as writer:
    for start in range(int(sys.argv[2]), int(sys.argv[3]), 10):
        part = keys(range(start, start + 10))
        writer.append(part, vectors(part))
        opened.refresh()
"""


def test_two_writers_and_a_reader_at_once(tmp_path: Path) -> None:
    writers = [start(_WRITE, tmp_path, low, low + 600) for low in (0, 400)]
    while any(writer.poll() is None for writer in writers):
        reader = space(tmp_path)
        known = list(reader.keys())
        np.testing.assert_array_equal(reader.get(known), vectors(known))
    assert [writer.returncode for writer in writers] == [0, 0]
    opened = space(tmp_path)
    _assert_complete(opened, 1000)
    (summary,) = SignalStore(tmp_path).spaces()
    assert summary.rows == 1200
    assert sum(batch.num_rows for batch in opened.records()) == 1000


def test_the_journal_of_a_live_writer_is_left_alone(tmp_path: Path) -> None:
    first = space(tmp_path)
    with first.writer() as writer:
        writer.append(keys([1]), vectors(keys([1])))
        second = space(tmp_path)
        assert second.missing(keys([1])) == [0]
        assert journal.in_use(second.folder)
        assert len(journal.journals(second.folder)) == 1
        store = SignalStore(tmp_path)
        with pytest.raises(UserError, match="in use"):
            store.remove(store.find(second.id))
    second.refresh()
    assert second.missing(keys([1])) == []
    assert not journal.in_use(second.folder)


def _abandoned(folder: Path, sizes: list[int]) -> tuple[Space, Path, list[int]]:
    """A dead writer's journal of batches of ``sizes``; with its length after each batch."""
    opened = space(folder)
    opened.writer()
    dead, ends, at = Journal(opened.folder, opened.schema), [0], 0
    for size in sizes:
        part = keys(range(at, at + size))
        dead.append(opened._batch(part, vectors(part)))
        ends.append(dead.bytes)
        at += size
    dead.abandon()
    return opened, dead.path, ends


def test_a_torn_journal_keeps_every_whole_batch(tmp_path: Path) -> None:
    sizes = [3, 1, 5]
    opened, path, ends = _abandoned(tmp_path, sizes)
    content = path.read_bytes()
    for cut in range(0, len(content) + 1, 7):
        path.write_bytes(content[:cut])
        whole = sum(size for size, end in zip(sizes, ends[1:], strict=True) if end <= cut)
        assert sum(batch.num_rows for batch in journal.batches(path, opened.schema)) == whole
    path.write_bytes(content[: ends[2] + 30] + bytes(500))
    opened.refresh()
    assert opened.missing(keys(range(9))) == [4, 5, 6, 7, 8]


def test_no_flipped_byte_of_a_journal_is_taken_for_data(tmp_path: Path) -> None:
    opened, path, _ = _abandoned(tmp_path, [3, 1, 5])
    content = path.read_bytes()
    wanted = keys(range(9))
    truth = {key: row.tolist() for key, row in zip(wanted, vectors(wanted), strict=True)}
    for at in range(0, len(content), 5):
        flipped = bytearray(content)
        flipped[at] ^= 1 << (at % 8)
        path.write_bytes(flipped)
        for batch in journal.batches(path, opened.schema):
            found = zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
            assert all(truth[key] == row for key, row in found)


_LIMITED = """
import resource, sys
from ragdistill.errors import UserError
from signals_helpers import fill, space
opened = space(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    fill(opened, range(500), flush_bytes=20_000)
except UserError as error:
    print(error.format_message())
"""


@pytest.mark.parametrize("limit", [100, 700, 5_000, 19_000])
def test_a_full_disk_is_told_and_what_was_stored_is_kept(tmp_path: Path, limit: int) -> None:
    fill(space(tmp_path), range(1000, 1010))  # space.json must fit.
    assert "no space left on the disk" in run(_LIMITED, tmp_path, limit).stdout
    opened = space(tmp_path)
    known = set(opened.keys())
    assert {*known} <= {*keys(range(500)), *keys(range(1000, 1010))}
    np.testing.assert_array_equal(opened.get(sorted(known)), vectors(sorted(known)))
    fill(opened, opened.missing(keys(range(500))))
    assert len(opened) == 510
    assert opened.verify() == []


def _fail_after_storing(opened: Space, number: int) -> None:
    with opened.writer() as writer:
        writer.append(keys([number]), vectors(keys([number])))
        raise RuntimeError("the teacher failed")


def test_a_failure_to_seal_does_not_hide_the_first_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    opened = space(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("ragdistill.signals.shards.write", full)
        with pytest.raises(UserError, match="no space left"), opened.writer() as writer:
            writer.append(keys([1]), vectors(keys([1])))
        with pytest.raises(RuntimeError, match="teacher"):
            _fail_after_storing(opened, 2)
    assert "no space left" in caplog.text
    with caplog.at_level(logging.WARNING):
        opened.refresh()
    assert opened.missing(keys([1, 2])) == []
