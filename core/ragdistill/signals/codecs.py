"""How one kind of teacher signal lies in Arrow columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from ragdistill.errors import UserError, nearest
from ragdistill.signals.fingerprint import KEY_BYTES, Fingerprint
from ragdistill.signals.logits import LogitCodec

Values = np.ndarray[Any, np.dtype[Any]]
"""Signals of n texts: an array whose first axis is n, the rest as the codec says."""


class Codec(Protocol):
    """Turns the signals of n texts into Arrow columns and back."""

    @property
    def name(self) -> str:
        """Name of the codec, as ``space.json`` tells it."""

    @property
    def columns(self) -> list[pa.Field]:
        """The columns beside ``key``."""

    @property
    def record_bytes(self) -> int:
        """Bytes of one record on disk (typical, where records differ in size), key not counted."""

    def encode(self, values: Any) -> list[pa.Array]:
        """One array of n items for each column; ``UserError`` where values cannot be stored."""

    def empty(self, count: int) -> Values:
        """An array that ``decode``'s results fit into, for ``count`` texts."""

    def decode(self, batch: pa.RecordBatch, rows: Values) -> Values:
        """The signals in ``rows`` (integers [n]) of a stored batch, copied out of it."""


@dataclass(frozen=True)
class VectorCodec:
    """One vector a text: [n, dimensions], float32 in memory, float16 or float32 on disk.

    float16 keeps 11 significant bits: each component is off by at most 2**-11 of its size, or by
    2**-25 below 2**-14. For unit vectors of d components a dot product is therefore off by at most
    about 2**-10, and typically by 2**-11 / sqrt(d).
    """

    dtype: str
    dimensions: int
    name: str = "vector"

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> "VectorCodec":
        """The codec of a fingerprint of kind ``vector``."""
        return cls(fingerprint.dtype, _dimensions(fingerprint))

    @property
    def columns(self) -> list[pa.Field]:
        """``vector``: fixed_size_list<float16 | float32>[dimensions]."""
        return [pa.field("vector", _fixed_list(self.dtype, self.dimensions), nullable=False)]

    @property
    def record_bytes(self) -> int:
        """Bytes of one vector on disk."""
        return np.dtype(self.dtype).itemsize * self.dimensions

    def encode(self, values: Values) -> list[pa.Array]:
        """Arrow form of vectors [n, dimensions].

        Raises:
            UserError: another shape, NaN or infinity, or too large for float16.
        """
        vectors = np.asarray(values)
        if vectors.ndim != 2 or vectors.shape[1] != self.dimensions:
            raise UserError(
                f"the teacher returned vectors of shape {list(vectors.shape)}"
                f" where [texts, {self.dimensions}] was announced"
            )
        _refuse_non_finite(vectors)
        return [_fixed_lists(vectors, self.dtype, self.columns[0].type)]

    def empty(self, count: int) -> Values:
        """Uninitialised float32 [count, dimensions]."""
        return np.empty((count, self.dimensions), dtype=np.float32)

    def decode(self, batch: pa.RecordBatch, rows: Values) -> Values:
        """Vectors [len(rows), dimensions] in the type they are stored in."""
        flat = batch.column("vector").flatten().to_numpy(zero_copy_only=True)
        vectors: Values = flat.reshape(-1, self.dimensions)[rows]
        return vectors


@dataclass(frozen=True)
class WindowCodec:
    """The mean state of each run of some tokens: a text's signal is [runs, dimensions], float32 in
    memory, float16 or float32 on disk; texts differ in the number of runs."""

    dtype: str
    dimensions: int
    name: str = "windows"

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> "WindowCodec":
        """The codec of a fingerprint of kind ``windows``."""
        return cls(fingerprint.dtype, _dimensions(fingerprint))

    @property
    def columns(self) -> list[pa.Field]:
        """``windows``: list<fixed_size_list<float16 | float32>[dimensions]>."""
        run = pa.field("item", _fixed_list(self.dtype, self.dimensions), nullable=False)
        return [pa.field("windows", pa.list_(run), nullable=False)]

    @property
    def record_bytes(self) -> int:
        """Bytes of one run on disk: a text has one or many."""
        return np.dtype(self.dtype).itemsize * self.dimensions

    def encode(self, values: Values | Sequence[Values]) -> list[pa.Array]:
        """Arrow form of n arrays [runs, dimensions].

        Raises:
            UserError: another shape, NaN or infinity, or too large for float16.
        """
        texts = [np.asarray(value) for value in values]
        for states in texts:
            if states.ndim != 2 or states.shape[1] != self.dimensions:
                raise UserError(
                    f"the teacher returned states of shape {list(states.shape)}"
                    f" where [runs, {self.dimensions}] was announced"
                )
        flat = np.concatenate([np.empty((0, self.dimensions), np.float32), *texts])
        _refuse_non_finite(flat, "runs of tokens")
        column = self.columns[0].type
        runs = _fixed_lists(flat, self.dtype, column.value_type)
        offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        return [pa.ListArray.from_arrays(pa.array(offsets), runs, type=column)]

    def empty(self, count: int) -> Values:
        """An array of objects [count]."""
        return np.empty(count, dtype=object)

    def decode(self, batch: pa.RecordBatch, rows: Values) -> Values:
        """Objects [len(rows)], each float32 [runs, dimensions]."""
        column = batch.column("windows")
        offsets = column.offsets.to_numpy()
        flat = column.values.flatten().to_numpy(zero_copy_only=True)
        states = flat.reshape(-1, self.dimensions)
        out = self.empty(len(rows))
        for place, row in enumerate(rows):
            out[place] = states[offsets[row] : offsets[row + 1]].astype(np.float32)
        return out


@dataclass(frozen=True)
class ScoreCodec:
    """One score a pair of query and document: [n], float32. Scores are few bytes, and small
    differences of log-likelihoods count, so they are never kept in half precision."""

    name: str = "score"
    record_bytes: int = 4

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> "ScoreCodec":
        """The codec of a fingerprint of kind ``score``.

        Raises:
            UserError: another type than float32 is asked for.
        """
        if fingerprint.dtype != "float32":
            raise UserError(f"scores cannot be stored as {fingerprint.dtype!r}", mend="use float32")
        return cls()

    @property
    def columns(self) -> list[pa.Field]:
        """``score``: float32."""
        return [pa.field("score", pa.float32(), nullable=False)]

    def encode(self, values: Values) -> list[pa.Array]:
        """Arrow form of scores [n].

        Raises:
            UserError: another shape, NaN or infinity.
        """
        scores = np.asarray(values, dtype=np.float32)
        if scores.ndim != 1:
            raise UserError(
                f"the teacher returned scores of shape {list(scores.shape)} where [pairs] was announced"
            )
        _refuse_non_finite(scores[:, None], "pairs")
        return [pa.array(scores)]

    def empty(self, count: int) -> Values:
        """Uninitialised float32 [count]."""
        return np.empty(count, dtype=np.float32)

    def decode(self, batch: pa.RecordBatch, rows: Values) -> Values:
        """Scores [len(rows)]."""
        scores: Values = batch.column("score").to_numpy(zero_copy_only=True)[rows]
        return scores


@dataclass(frozen=True)
class TextCodec:
    """What a teacher wrote of a text: [n], each of any length, the empty one too."""

    name: str = "text"
    record_bytes: int = 100

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> "TextCodec":
        """The codec of a fingerprint of kind ``text``.

        Raises:
            UserError: another type than utf8 is asked for.
        """
        if fingerprint.dtype != "utf8":
            raise UserError(f"text cannot be stored as {fingerprint.dtype!r}", mend="use utf8")
        return cls()

    @property
    def columns(self) -> list[pa.Field]:
        """``text``: string."""
        return [pa.field("text", pa.string(), nullable=False)]

    def encode(self, values: Sequence[str]) -> list[pa.Array]:
        """Arrow form of texts [n].

        Raises:
            UserError: something that is no text, or that UTF-8 cannot write.
        """
        if not all(isinstance(value, str) for value in values):
            raise UserError("the teacher returned something that is no text")
        try:
            return [pa.array(values, type=pa.string())]
        except UnicodeEncodeError as error:
            raise UserError(f"the teacher returned text that cannot be written: {error}") from error

    def empty(self, count: int) -> Values:
        """An array of objects [count]."""
        return np.empty(count, dtype=object)

    def decode(self, batch: pa.RecordBatch, rows: Values) -> Values:
        """Texts [len(rows)], objects."""
        out = self.empty(len(rows))
        out[:] = batch.column("text").take(pa.array(rows)).to_pylist()
        return out


def _dimensions(fingerprint: Fingerprint) -> int:
    """The dimensions of what is stored, if that can be stored at all."""
    if fingerprint.dtype not in ("float16", "float32"):
        raise UserError(
            f"vectors cannot be stored as {fingerprint.dtype!r}", mend="use float16 or float32"
        )
    if not fingerprint.dimensions or fingerprint.dimensions < 1:
        raise UserError(f"vectors of {fingerprint.dimensions} dimensions cannot be stored")
    return fingerprint.dimensions


def _fixed_list(dtype: str, dimensions: int) -> pa.DataType:
    item = pa.field("item", pa.from_numpy_dtype(dtype), nullable=False)
    return pa.list_(item, dimensions)


def _fixed_lists(vectors: Values, dtype: str, kind: pa.DataType) -> pa.Array:
    """Finite vectors [n, d] as Arrow lists of ``dtype``."""
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(vectors, dtype=dtype)
    if not np.isfinite(stored).all():
        raise UserError(
            f"a component of {float(np.abs(vectors).max()):.3g} does not fit {dtype}",
            mend="store the signals as float32",
        )
    return pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), type=kind)


def _refuse_non_finite(vectors: Values, what: str = "texts") -> None:
    finite = np.asarray(np.isfinite(vectors).all(axis=1))
    if not finite.all():
        raise UserError(
            f"the teacher returned NaN or infinity for {int((~finite).sum())} of"
            f" {len(finite)} {what} (the first is number {int(np.argmin(finite))} of its batch)",
            mend="check the teacher's weights, or compute in float32",
        )


CODECS: Mapping[str, Callable[[Fingerprint], Codec]] = {
    "vector": VectorCodec.of,
    "windows": WindowCodec.of,
    "score": ScoreCodec.of,
    "text": TextCodec.of,
    "logits": LogitCodec.of,
}
"""Kind of signal to the codec for a fingerprint of that kind."""


def codec_for(fingerprint: Fingerprint) -> Codec:
    """The codec of ``fingerprint.kind``.

    Raises:
        UserError: nothing stores this kind of signal.
    """
    if fingerprint.kind not in CODECS:
        raise UserError(
            f"no codec for signals of kind {fingerprint.kind!r}{nearest(fingerprint.kind, CODECS)}",
            mend=f"known: {', '.join(sorted(CODECS))}",
        )
    return CODECS[fingerprint.kind](fingerprint)


def stored_bytes(codec: Codec) -> int:
    """Bytes of one record on disk, key included."""
    return KEY_BYTES + codec.record_bytes
