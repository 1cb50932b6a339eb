"""The store's promises: by content, never mixed, readable without loading it all."""

import logging
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragdistill.errors import UserError
from ragdistill.signals import Fingerprint, text_key
from ragdistill.signals.store import MissingSignals, SignalStore, Space
from signals_helpers import DIMENSIONS, fill, fingerprint, keys, run, space, vectors


def test_a_space_gives_back_what_was_collected_in_any_order(tmp_path: Path) -> None:
    fill(space(tmp_path), range(300), flush_bytes=3_000)
    opened = space(tmp_path)
    asked = keys([7, 299, 0, 7, 150])
    assert len(list((tmp_path / "vector" / opened.id).glob("shard-*.arrow"))) > 2
    np.testing.assert_array_equal(opened.get(asked), vectors(asked))
    assert len(opened) == 300
    assert set(opened.keys()) == set(keys(range(300)))
    assert opened.verify() == []
    assert not list(tmp_path.rglob("journal-*"))


def test_missing_tells_first_positions_only_and_counts_open_writers(tmp_path: Path) -> None:
    opened = space(tmp_path)
    fill(opened, range(10))
    asked = keys([3, 11, 12, 11, 9, 13])
    assert opened.missing(asked) == [1, 2, 5]
    with opened.writer() as writer:
        writer.append(keys([12]), vectors(keys([12])))
        assert opened.missing(asked) == [1, 5]
        with pytest.raises(MissingSignals, match="1 of 1 signals"):
            opened.get(keys([12]))
        writer.flush()
        np.testing.assert_array_equal(opened.get(keys([12])), vectors(keys([12])))
    assert opened.missing(asked) == [1, 5]
    assert opened.missing([]) == []
    assert opened.get([]).shape == (0, DIMENSIONS)


def test_what_is_missing_is_an_error_and_not_zeros(tmp_path: Path) -> None:
    opened = space(tmp_path)
    with pytest.raises(KeyError, match="2 of 2 signals are not in space"):
        opened.get(keys([1, 2]))
    with pytest.raises(ValueError, match="16 bytes"):
        opened.missing([b"short"])


def test_opening_creates_nothing(tmp_path: Path) -> None:
    opened = space(tmp_path / "store")
    assert opened.missing(keys([1])) == [0]
    assert opened.record_bytes == 16 + 4 * DIMENSIONS
    assert not (tmp_path / "store").exists()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.lists(st.binary(min_size=16, max_size=16), max_size=9), max_size=6),
    flush_bytes=st.sampled_from([1, 2_000, 1 << 20]),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[bytes]], flush_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    opened = space(folder)
    with opened.writer(flush_bytes=flush_bytes) as writer:
        for part in parts:
            writer.append(part, vectors(part))
    distinct = sorted({key for part in parts for key in part})
    for again in (opened, space(folder)):
        assert sorted(again.keys()) == distinct
        assert len(again) == len(distinct)
        np.testing.assert_array_equal(again.get(distinct), vectors(distinct))
        assert again.missing([*distinct, b"\0" * 15 + b"x"])[:1] in ([len(distinct)], [])


def test_keys_that_differ_in_zero_bytes_only_are_not_mixed_up(tmp_path: Path) -> None:
    asked = [b"\0" * 16, b"a" + b"\0" * 15, b"a" + b"\0" * 14 + b"b", b"\0" * 15 + b"a"]
    opened = space(tmp_path)
    values = np.arange(4 * DIMENSIONS, dtype=np.float32).reshape(4, DIMENSIONS)
    with opened.writer() as writer:
        writer.append(asked, values)
    assert sorted(opened.keys()) == sorted(asked)
    np.testing.assert_array_equal(opened.get(asked[::-1]), values[::-1])


def test_the_folder_is_plain_json_and_arrow(tmp_path: Path) -> None:
    opened = space(tmp_path, prompt="query: ")
    fill(opened, range(5))
    folder = tmp_path / "vector" / opened.id
    assert '"prompt": "query: "' in (folder / "space.json").read_text("utf-8")
    (shard,) = folder.glob("shard-*.arrow")
    table = pa.ipc.open_file(pa.memory_map(str(shard))).read_all()
    assert table.column_names == ["key", "vector"]
    assert table.column("key").to_pylist() == keys(range(5))
    assert table.schema.field("vector").type.list_size == DIMENSIONS


def test_what_is_no_space_is_left_alone(tmp_path: Path) -> None:
    fill(space(tmp_path), range(5))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "vector" / "notes.txt").write_text("x")
    (tmp_path / "vector" / space(tmp_path).id / "notes.txt").write_text("x")
    assert len(SignalStore(tmp_path).spaces()) == 1
    assert SignalStore(tmp_path).verify() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "c"},
        {"tokenizer": "c" * 64},
        {"prompt": "x"},
        {"pooling": "cls"},
        {"max_length": 9},
        {"dtype": "float16"},
        {"parameters": {"normalised": True}},
    ],
)
def test_whatever_changes_the_signal_has_a_space_of_its_own(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    fill(space(tmp_path), range(3))
    other = SignalStore(tmp_path).space(
        fingerprint(**changes),  # type: ignore[arg-type]
        teacher="other",
    )
    assert other.missing(keys(range(3))) == [0, 1, 2]


def test_a_fingerprint_is_its_content(tmp_path: Path) -> None:
    one = fingerprint(parameters={"a": 1, "b": None})
    other = fingerprint(parameters={"b": None, "a": 1})
    assert one.id == other.id
    assert Fingerprint.from_json(one.as_json()) == one
    assert one.differences(fingerprint("c")) == ["weights", "parameters"]
    assert text_key("a") != text_key("a ")
    assert len(text_key("\ud800")) == 16


@pytest.mark.parametrize("changes", [{"weights": "c"}, {"tokenizer": "c" * 64}])
def test_another_teacher_under_the_same_name_is_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    fill(space(tmp_path), range(3))
    store, changed = SignalStore(tmp_path), fingerprint(**changes)  # type: ignore[arg-type]
    with pytest.raises(UserError) as caught:
        store.space(changed, teacher="T")
    message = caught.value.format_message()
    assert fingerprint().id[:12] in message
    assert changed.id[:12] in message
    assert f"differ in {next(iter(changes))}" in message
    fill(store.space(changed, teacher="T", accept_change=True), range(2))
    for known in (changed, fingerprint()):  # Both were vouched for now, and stay apart.
        store.space(known, teacher="T")
    assert len(space(tmp_path)) == 3
    with pytest.raises(UserError, match="differ in"):
        store.space(fingerprint("d"), teacher="T")


def test_a_second_name_or_prompt_of_the_same_teacher_is_welcome(tmp_path: Path) -> None:
    fill(space(tmp_path), range(3))
    store = SignalStore(tmp_path)
    assert store.space(fingerprint(), teacher="alias").missing(keys(range(3))) == []
    fill(store.space(fingerprint(prompt="query: "), teacher="T"), range(1))
    fill(store.space(fingerprint(), teacher="alias"), [9])
    with pytest.raises(UserError, match="knows teacher 'alias'"):
        store.space(fingerprint("c"), teacher="alias")


def test_names_are_checked_again_when_writing_begins(tmp_path: Path) -> None:
    first, second = space(tmp_path), space(tmp_path, weights="c")
    fill(first, range(3))
    with pytest.raises(UserError, match="differ in weights"):
        second.writer()


def test_space_json_is_checked(tmp_path: Path) -> None:
    opened = space(tmp_path)
    fill(opened, range(3))
    path = tmp_path / "vector" / opened.id / "space.json"
    good = path.read_text("utf-8")
    for bad, complaint in [
        (good.replace('"schema": 1', '"schema": 2'), "newer ragdistill .*upgrade"),
        (good.replace('"schema": 1', '"schema": 0'), "damaged .*version 0"),
        (good[:40], "space.json: damaged"),
        ("[]", "space.json: damaged"),
        (good.replace("aaaa", "aaac", 1), "does not give its id"),
        (good.replace('"prompt"', '"promt"'), "damaged"),
    ]:
        path.write_text(bad, "utf-8")
        with pytest.raises(UserError, match=complaint):
            space(tmp_path)
        assert [fault.where for fault in SignalStore(tmp_path).verify()] == [str(path)]
    other = fingerprint("d")
    path.write_text(good.replace("a" * 64, "d" * 64).replace(fingerprint().id, other.id), "utf-8")
    with pytest.raises(UserError, match=r"it is the folder of .* but says"):
        space(tmp_path)
    assert "it belongs into" in SignalStore(tmp_path).verify()[0].what


def test_a_flipped_byte_costs_its_shard_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = space(tmp_path)
    fill(opened, range(10))
    fill(opened, range(10, 20))
    victim = min((tmp_path / "vector" / opened.id).glob("shard-*"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    (fault,) = SignalStore(tmp_path).verify()
    assert fault.where == str(victim)
    with caplog.at_level(logging.WARNING):
        again = space(tmp_path)
    assert "damaged" in caplog.text
    lost = again.missing(keys(range(20)))
    assert lost in (list(range(10)), list(range(10, 20)))
    assert victim.with_name(f"{victim.name}.damaged").exists()
    assert SignalStore(tmp_path).verify() == []
    fill(again, lost)
    np.testing.assert_array_equal(again.get(keys(range(20))), vectors(keys(range(20))))


def test_a_shard_of_another_space_is_never_taken(tmp_path: Path) -> None:
    one, other = space(tmp_path), space(tmp_path, prompt="x")
    fill(one, range(3))
    fill(other, range(3, 6))
    (shard,) = (tmp_path / "vector" / other.id).glob("shard-*")
    shard.rename(tmp_path / "vector" / one.id / shard.name)
    assert len(space(tmp_path)) == 3
    assert space(tmp_path).missing(keys(range(6))) == [3, 4, 5]


def _fail_after_storing(opened: Space, number: int) -> None:
    with opened.writer() as writer:
        writer.append(keys([number]), vectors(keys([number])))
        raise RuntimeError("the teacher failed")


def test_an_error_in_the_block_keeps_what_was_appended(tmp_path: Path) -> None:
    opened = space(tmp_path)
    with pytest.raises(RuntimeError, match="teacher"):
        _fail_after_storing(opened, 1)
    assert opened.missing(keys([1, 2])) == [1]


def test_a_store_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(space(tmp_path), range(3))
    if os.geteuid() != 0:
        for folder in [tmp_path, *tmp_path.rglob("*/")]:
            folder.chmod(0o500)
    else:  # Nothing stops root: let the system calls say what they would say to others.
        _refuse_writing(monkeypatch)
    opened = space(tmp_path)
    np.testing.assert_array_equal(opened.get(keys([2])), vectors(keys([2])))
    with pytest.raises(UserError, match="cannot be written"):
        opened.writer()
    for folder in [tmp_path, *tmp_path.rglob("*/")]:
        folder.chmod(0o700)


def _refuse_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refusing(path: str, flags: int, *rest: object, **named: object) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(30, "Read-only file system", path)
        return real(path, flags, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)


def test_a_store_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="no folder"):
        SignalStore(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be written"):
        SignalStore(tmp_path / "file" / "store").space(fingerprint(), teacher="T").writer()


_MEMORY = """
import re, sys
from pathlib import Path
from signals_helpers import fill, keys, space, vectors
count = int(sys.argv[2])
opened = space(sys.argv[1], dimensions=64)
with opened.writer(flush_bytes=4 << 20) as writer:
    for start in range(0, count, 500):
        part = keys(range(start, start + 500))
        writer.append(part, vectors(part, 64))
again = space(sys.argv[1], dimensions=64)
for start in range(0, count, 500):
    part = keys(range(start, start + 500))
    assert not again.missing(part)
    assert (again.get(part) == vectors(part, 64)).all()
# Not getrusage: its maximum counts the parent's memory before exec.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_hardly_grows_with_the_number_of_records(tmp_path: Path) -> None:
    peaks = []
    for count in (20_000, 200_000):
        process = run(_MEMORY, tmp_path / str(count), count)
        assert process.returncode == 0
        peaks.append(int(process.stdout))
    assert peaks[1] < 1.2 * peaks[0]
