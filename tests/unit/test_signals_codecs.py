"""What vectors may be stored, and what float16 costs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdistill.errors import UserError
from ragdistill.signals.codecs import VectorCodec
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
