"""What vectors may be stored, and what float16 costs."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdistill.errors import UserError
from ragdistill.signals.codecs import VectorCodec
from ragdistill.signals.export import export
from ragdistill.signals.shards import key_array, record_batch, schema_of
from signals_helpers import DIMENSIONS, keys, space


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (np.full((2, DIMENSIONS), np.nan), "NaN or infinity for 2 of 2"),
        (np.vstack([np.ones(DIMENSIONS), np.full(DIMENSIONS, np.inf)]), "the first is number 1"),
        (np.ones((2, 3)), r"shape \[2, 3\] where \[texts, 8\]"),
        (np.ones((2, 2, DIMENSIONS)), "shape"),
        (np.full((2, DIMENSIONS), 1e39), "does not fit float32"),
    ],
)
def test_what_is_no_vector_is_refused_and_nothing_is_written(
    tmp_path: Path, values: np.ndarray, complaint: str
) -> None:
    opened = space(tmp_path)
    with opened.writer() as writer, pytest.raises(UserError, match=complaint):
        writer.append(keys([1, 2]), values)
    assert opened.missing(keys([1, 2])) == [0, 1]
    assert not list(tmp_path.rglob("shard-*"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"kind": "vectr"}, "did you mean 'vector'"),
        ({"dtype": "int8"}, "cannot be stored as 'int8'"),
        ({"dimensions": None}, "dimensions"),
    ],
)
def test_signals_that_no_codec_stores_are_refused(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        space(tmp_path, **changes)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), dimensions=st.integers(1, 400))
def test_float16_costs_no_more_than_documented(seed: int, dimensions: int) -> None:
    rng = np.random.default_rng(seed)
    unit = rng.normal(size=(9, dimensions))
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    codec = VectorCodec("float16", dimensions)
    columns = codec.encode(unit)
    batch = record_batch(key_array(keys(range(9))), columns, schema_of(codec, "x"))
    kept = codec.decode(batch, np.arange(9)).astype(np.float32)
    assert (np.abs(kept - unit) <= np.maximum(2.0**-11 * np.abs(unit), 2.0**-25)).all()
    assert np.abs(kept @ kept.T - unit @ unit.T).max() <= 2.0**-9.9


def ragged(wanted: list[bytes]) -> list[np.ndarray]:
    """Token states of one to four runs: a function of the key alone."""
    return [
        np.random.default_rng(key[0]).normal(size=(1 + key[1] % 4, DIMENSIONS)).astype(np.float16)
        for key in wanted
    ]


def test_texts_of_unequal_length_come_back_as_they_went(tmp_path: Path) -> None:
    wanted = keys(range(60))
    opened = space(tmp_path, kind="windows", dtype="float16")
    with opened.writer(flush_bytes=2000) as writer:
        for start in range(0, 60, 7):
            writer.append(wanted[start : start + 7], ragged(wanted[start : start + 7]))
    again = space(tmp_path, kind="windows", dtype="float16")
    order = np.random.default_rng(0).permutation(60)
    found = again.get([wanted[place] for place in order])
    for place, states in zip(order, found, strict=True):
        assert states.dtype == np.float32
        np.testing.assert_array_equal(states, ragged(wanted)[place])
    export(again, tmp_path / "states.parquet")
    told = pq.read_table(tmp_path / "states.parquet").to_pylist()
    assert {row["key"]: len(row["windows"]) for row in told} == {
        key: len(states) for key, states in zip(wanted, ragged(wanted), strict=True)
    }
    with pytest.raises(UserError, match=r"are no vectors.*parquet"):
        export(again, tmp_path / "states.npy")
    assert not again.verify()


@pytest.mark.parametrize(
    ("states", "complaint"),
    [
        (np.ones((3, DIMENSIONS + 1)), r"shape \[3, 9\] where \[runs, 8\]"),
        (np.ones(DIMENSIONS), "shape"),
        (np.full((1, DIMENSIONS), np.nan), "NaN or infinity"),
        (np.full((1, DIMENSIONS), 1e6), "does not fit float16"),
    ],
)
def test_what_are_no_token_states_is_refused(
    tmp_path: Path, states: np.ndarray, complaint: str
) -> None:
    opened = space(tmp_path, kind="windows", dtype="float16")
    with opened.writer() as writer, pytest.raises(UserError, match=complaint):
        writer.append(keys([1, 2]), [np.ones((2, DIMENSIONS)), states])
    assert opened.missing(keys([1, 2])) == [0, 1]


def test_what_a_teacher_wrote_comes_back_as_it_went(tmp_path: Path) -> None:
    wanted, said = keys(range(5)), ["Wo?", "", "zwei\nZeilen", "\u6c34\U0001f300\x00", "a" * 9000]
    opened = space(tmp_path, kind="text", dtype="utf8", dimensions=None)
    with opened.writer() as writer:
        writer.append(wanted[:2], said[:2])
        writer.append(wanted[2:], said[2:])
        for unfit in (["a", None], ["a", 1], ["a", "\ud800"]):
            with pytest.raises(UserError, match="the teacher returned"):
                writer.append(keys([7, 8]), unfit)  # type: ignore[arg-type]
    again = space(tmp_path, kind="text", dtype="utf8", dimensions=None)
    order = [3, 0, 4, 1, 2, 3]
    assert list(again.get([wanted[place] for place in order])) == [said[place] for place in order]
    assert again.missing(keys([7, 8])) == [0, 1]
    export(again, tmp_path / "said.parquet")
    assert sorted(pq.read_table(tmp_path / "said.parquet")["text"].to_pylist()) == sorted(said)
    with pytest.raises(UserError, match="text cannot be stored as 'float32'"):
        space(tmp_path, kind="text")
