"""A space as one file of a common format, for other tools."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ragdistill.errors import UserError
from ragdistill.files import atomic_path, writing
from ragdistill.signals.codecs import Values, VectorCodec
from ragdistill.signals.fingerprint import KEY_BYTES
from ragdistill.signals.shards import batch_keys
from ragdistill.signals.space import Space


def export(space: Space, out: Path) -> int:
    """Write every record of ``space`` once; the ending of ``out`` chooses the format.

    - ``.parquet``: the columns of the store;
    - ``.safetensors``: ``keys`` uint8 [n, 16] and ``vectors`` [n, d] in the type they are stored in,
      the fingerprint as metadata;
    - ``.npy``: the vectors [n, d]; their keys, uint8 [n, 16], beside them in ``NAME.keys.npy``.

    Returns:
        Number of records.

    Raises:
        UserError: another ending, the file exists already, there are no records, or they are of a
            kind that the format cannot hold.
    """
    if out.suffix not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise UserError("unknown format", where=out, mend=f"end the name in one of {known}")
    for target in [out, *([_keys_path(out)] if out.suffix == ".npy" else [])]:
        if target.exists():
            raise UserError("exists already", where=target, mend="choose another name")
    if not len(space):
        raise UserError(f"space {space.id} has no records", mend="nothing to export")
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        return _FORMATS[out.suffix](space, out)


def _to_parquet(space: Space, out: Path) -> int:
    import pyarrow.parquet as pq

    rows = 0
    with atomic_path(out) as temporary, pq.ParquetWriter(str(temporary), space.schema) as writer:
        for batch in space.records():
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _to_npy(space: Space, out: Path) -> int:
    with atomic_path(_keys_path(out)) as keys_path, atomic_path(out) as vectors_path:
        keys, _ = _fill(space, keys_path, vectors_path)
        return len(keys)


def _to_safetensors(space: Space, out: Path) -> int:
    from safetensors.numpy import save_file

    told = {"fingerprint": json.dumps(space.fingerprint.as_json(), ensure_ascii=False)}
    with TemporaryDirectory(dir=out.parent) as scratch, atomic_path(out) as temporary:
        mapped = _fill(space, Path(scratch, "keys.npy"), Path(scratch, "vectors.npy"))
        save_file(dict(zip(("keys", "vectors"), mapped, strict=True)), temporary, metadata=told)
        return len(mapped[0])


def _fill(space: Space, keys_path: Path, vectors_path: Path) -> tuple[Values, Values]:
    """Keys [n, 16] and vectors [n, d] as mapped ``.npy`` files."""
    codec = space.codec
    if not isinstance(codec, VectorCodec):
        raise UserError(f"signals of kind {codec.name!r} are no vectors", mend="export to .parquet")
    count = len(space)
    keys = _create(keys_path, "uint8", (count, KEY_BYTES))
    vectors = _create(vectors_path, codec.dtype, (count, codec.dimensions))
    at = 0
    for batch in space.records():
        end = at + batch.num_rows
        keys[at:end] = batch_keys(batch).view(np.uint8).reshape(-1, KEY_BYTES)
        vectors[at:end] = codec.decode(batch, np.arange(batch.num_rows))
        at = end
    return keys, vectors


def _create(path: Path, dtype: str, shape: tuple[int, int]) -> Values:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)


def _keys_path(out: Path) -> Path:
    return out.with_suffix(".keys.npy")


_FORMATS: dict[str, Callable[[Space, Path], int]] = {
    ".parquet": _to_parquet,
    ".safetensors": _to_safetensors,
    ".npy": _to_npy,
}
