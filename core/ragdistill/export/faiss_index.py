"""A FAISS index of document vectors, with the ids of its rows and the encoder it belongs to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from ragdistill.errors import UserError
from ragdistill.export.folder import atomic_folder
from ragdistill.files import write_json
from ragdistill.metrics.indexes import Coding, Kind, VectorIndex, build

INDEX, IDS, RECORD = "index.faiss", "ids.json", "ragdistill.json"


@dataclass(frozen=True, slots=True)
class DocumentIndex:
    """An index that finds documents by their ids."""

    vectors: VectorIndex
    """Of the documents' n vectors."""
    ids: tuple[str, ...]
    """The n document ids, in the order of the rows."""
    encoder_digest: str
    """SHA-256 of the weights that the vectors come from: queries must be embedded by the same, or by
    a student that was taught to place them there."""

    @property
    def index(self) -> Any:
        """FAISS's own, as ``index.faiss`` holds it."""
        return self.vectors.index

    def search(self, queries: npt.NDArray[np.float32], k: int) -> list[list[tuple[str, float]]]:
        """The ids and scores of the ``k`` nearest for each of unit vectors ``[q, d]``."""
        scores, rows = self.vectors.search(queries, k)
        return [
            [(self.ids[row], float(score)) for row, score in zip(*found, strict=True) if row >= 0]
            for found in zip(rows, scores, strict=True)
        ]


def write(
    vectors: npt.NDArray[np.float32],
    ids: Sequence[str],
    folder: Path,
    *,
    encoder_digest: str,
    kind: Kind = "flat",
    coding: Coding = "float32",
) -> None:
    """Write vectors [n, d] and their n ids into ``folder``; an existing one is replaced.

    Raises:
        ValueError: not as many ids as vectors.
        UserError: no such index can be built of these vectors.
    """
    if len(vectors) != len(ids):
        raise ValueError(f"{len(vectors)} vectors for {len(ids)} ids")
    index = build(vectors, kind, coding, vectors.shape[1])
    record = {
        "schema": 1,
        "encoder_digest": encoder_digest,
        "binary": index.binary,
        "dimensions": index.dimensions,
    }
    with atomic_folder(folder) as temporary:
        index.write(temporary / INDEX)
        write_json(temporary / IDS, list(ids))
        write_json(temporary / RECORD, record)


def load(folder: Path) -> DocumentIndex:
    """The index in ``folder``.

    Raises:
        UserError: a file is missing or damaged, or the ids do not fit the vectors.
    """
    mend = "export the index again"
    try:
        ids = json.loads((folder / IDS).read_text(encoding="utf-8"))
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        digest, dimensions = str(record["encoder_digest"]), int(record["dimensions"])
        read = faiss.read_index_binary if record["binary"] else faiss.read_index
        index = read(str(folder / INDEX))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"no whole FAISS index ({error})", where=folder, mend=mend) from error
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
        raise UserError("is no list of document ids", where=folder / IDS, mend=mend)
    if len(ids) != index.ntotal:
        raise UserError(f"{len(ids)} ids for {index.ntotal} vectors", where=folder, mend=mend)
    vectors = VectorIndex(index, dimensions)
    if vectors.width != index.d:
        raise UserError(
            f"{dimensions} dimensions for vectors of {index.d}", where=folder, mend=mend
        )
    return DocumentIndex(vectors, tuple(ids), digest)
