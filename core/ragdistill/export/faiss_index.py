"""A FAISS index of document vectors, with the ids of its rows and the encoder it belongs to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from ragdistill.errors import UserError
from ragdistill.export.folder import atomic_folder
from ragdistill.files import write_json

INDEX, IDS, RECORD = "index.faiss", "ids.json", "ragdistill.json"


@dataclass(frozen=True, slots=True)
class DocumentIndex:
    """An exact inner-product index."""

    index: faiss.Index
    """``IndexFlatIP`` of [n, d] vectors."""
    ids: tuple[str, ...]
    """The n document ids, in the order of the rows."""
    encoder_digest: str
    """SHA-256 of the weights that the vectors come from: queries must be embedded by the same."""


def write(
    vectors: npt.NDArray[np.float32], ids: Sequence[str], folder: Path, *, encoder_digest: str
) -> None:
    """Write vectors [n, d] and their n ids into ``folder``; an existing one is replaced.

    Raises:
        ValueError: not as many ids as vectors.
    """
    if len(vectors) != len(ids):
        raise ValueError(f"{len(vectors)} vectors for {len(ids)} ids")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    with atomic_folder(folder) as temporary:
        faiss.write_index(index, str(temporary / INDEX))
        write_json(temporary / IDS, list(ids))
        write_json(temporary / RECORD, {"schema": 1, "encoder_digest": encoder_digest})


def load(folder: Path) -> DocumentIndex:
    """The index in ``folder``.

    Raises:
        UserError: a file is missing or damaged, or the ids do not fit the vectors.
    """
    mend = "export the index again"
    try:
        ids = json.loads((folder / IDS).read_text(encoding="utf-8"))
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        index = faiss.read_index(str(folder / INDEX))
        digest = str(record["encoder_digest"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"no whole FAISS index ({error})", where=folder, mend=mend) from error
    if len(ids) != index.ntotal:
        raise UserError(f"{len(ids)} ids for {index.ntotal} vectors", where=folder, mend=mend)
    return DocumentIndex(index, tuple(ids), digest)
