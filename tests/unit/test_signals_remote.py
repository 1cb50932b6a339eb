"""A store at an fsspec address."""

import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest

from ragdistill.errors import UserError
from ragdistill.signals.journal import Journal
from ragdistill.signals.store import SignalStore
from signals_helpers import fill, fingerprint, keys, space, vectors


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store in the memory of this process, with an empty home for its mirror."""
    monkeypatch.setenv("RAGDISTILL_HOME", str(tmp_path / "home"))
    return f"memory://signals-{tmp_path.name}"


def _elsewhere(tmp_path: Path) -> None:
    """Forget the mirror, as another machine would not have it."""
    shutil.rmtree(tmp_path / "home")


def test_another_machine_reads_what_was_collected(address: str, tmp_path: Path) -> None:
    fill(space(address), range(100), flush_bytes=3_000)
    _elsewhere(tmp_path)
    opened = space(address)
    assert opened.missing(keys(range(101))) == [100]
    np.testing.assert_array_equal(opened.get(keys([99, 0])), vectors(keys([99, 0])))
    assert SignalStore(address).verify() == []
    (summary,) = SignalStore(address).spaces()
    assert summary.rows == 100
    with pytest.raises(UserError, match="differ in weights"):
        space(address, weights="c")


def test_a_dead_writers_journal_is_sealed_and_uploaded(address: str, tmp_path: Path) -> None:
    opened = space(address)
    opened.writer()
    dead = Journal(opened.folder, opened.schema)
    dead.append(opened._batch(keys([1]), vectors(keys([1]))))
    dead.abandon()
    opened.refresh()
    _elsewhere(tmp_path)
    assert space(address).missing(keys([1, 2])) == [1]


def test_damage_is_told_from_a_damaged_copy(address: str, tmp_path: Path) -> None:
    fill(space(address), range(10))
    (copy,) = (tmp_path / "home").rglob("shard-*")
    copy.write_bytes(b"torn")
    assert len(space(address)) == 10  # Downloaded again.
    files = fsspec.filesystem("memory")
    (shard,) = files.glob(f"{address}/**/shard-*")
    files.pipe_file(shard, files.cat_file(shard)[:-1])
    assert len(SignalStore(address).verify()) == 1
    opened = space(address)
    assert opened.missing(keys([0])) == [0]
    assert files.exists(f"{shard}.damaged")
    assert SignalStore(address).remove_damaged() == 1
    fill(opened, range(10))
    assert SignalStore(address).verify() == []


def test_a_space_is_removed(address: str) -> None:
    fill(space(address), range(10))
    store = SignalStore(address)
    store.remove(store.find(fingerprint().id[:6]))
    assert store.spaces() == []
    assert space(address).missing(keys([0])) == [0]


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UserError, match="cannot open the signal store"):
        SignalStore("nosuch://place")
