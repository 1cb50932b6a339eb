"""The index that a team already has of its documents, made by the teacher: an asymmetric student's
queries search it, and no document is embedded again (Kim et al., EmbedDistill, arXiv:2301.12005)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from ragdistill.data.sampling import sample
from ragdistill.data.training_texts import TrainText
from ragdistill.errors import UserError
from ragdistill.export import faiss_index
from ragdistill.files import sha256_file, sha256_json
from ragdistill.metrics.indexes import VectorIndex, build
from ragdistill.metrics.ranking import as_rankings, check_finite
from ragdistill.metrics.retrieval import DEPTH, Task, Vectors
from ragdistill.metrics.trec import Rankings
from ragdistill_embedder.setup import Setup

_WHERE = "--teacher-index"
_AT_ONCE = 1 << 16
_PROBES = 32
_NEAR = 10
_FOUND = 0.9
_MEND = "name the index that this teacher made of these documents"


@dataclass(frozen=True)
class TeacherIndex:
    """Documents where the teacher put them."""

    vectors: VectorIndex
    ids: tuple[str, ...]
    """Of its rows."""
    path: Path | None
    """Where it was brought from; None if it is made of the stored vectors."""

    def rank(self, task: Task, queries: Vectors) -> Rankings:
        """The first :data:`DEPTH` documents for each query; ``queries`` are unit vectors ``[q, d]``.

        Raises:
            UserError: a vector holds NaN or infinity.
        """
        check_finite("query", queries)
        scores, rows = self.vectors.search(queries, min(DEPTH, len(self.ids)))
        if not self.vectors.binary and self.vectors.index.metric_type == faiss.METRIC_L2:
            scores = -scores
        found = as_rankings(scores, rows, self.ids)
        return {query.id: row for query, row in zip(task.queries, found, strict=True)}

    def holds_just(self, task: Task) -> bool:
        """Whether its documents are those of the task, and no others."""
        return len(self.ids) == len(task.documents)


def teacher_index(setup: Setup, path: str | None) -> TeacherIndex:
    """The index at ``path``, checked against the teacher; without one, an exact index of the
    teacher's stored vectors.

    Raises:
        UserError: it cannot be read, belongs to another teacher, or lacks documents.
    """
    documents = setup.task.documents
    if path is None:
        texts = setup.task.document_texts
        setup.collect(setup.wishes([TrainText(text, "passage") for text in texts]))
        vectors = setup.stored(texts, "passage")
        flat = build(vectors, "flat", "float32", vectors.shape[1])
        return TeacherIndex(flat, tuple(document.id for document in documents), None)
    found = _read(Path(path), setup)
    _check_dimensions(found, setup.teacher.dimensions)
    known = set(found.ids)
    if len(known) < len(found.ids):
        raise UserError("names a document twice in its ids", where=path, mend=_MEND)
    missing = [document.id for document in documents if document.id not in known]
    if missing:
        raise UserError(
            f"lacks {len(missing):,} of the {len(documents):,} documents that are searched, "
            f"{missing[0]!r} the first",
            where=path,
            mend=_MEND,
        )
    _check_places(found, setup, path)
    return found


def digest(path: str) -> str:
    """SHA-256 of an index and the ids of its rows: a run is held to them."""
    file = Path(path) / faiss_index.INDEX if Path(path).is_dir() else Path(path)
    parts = [file, file.with_name(faiss_index.IDS)]
    return sha256_json([sha256_file(part) for part in parts if part.is_file()])


def _read(path: Path, setup: Setup) -> TeacherIndex:
    """An index folder as ``export/faiss``, or vectors (``.npy``) or a FAISS file with the ids of
    their rows in ``ids.json`` beside them; without those, rows are in the order of the corpus."""
    if path.is_dir():
        loaded = faiss_index.load(path)
        if loaded.encoder_digest != setup.teacher.digest:
            raise UserError(
                f"was made by another model (weights {loaded.encoder_digest[:12]}) than the teacher "
                f"(weights {setup.teacher.digest[:12]})",
                where=path,
                mend=_MEND,
            )
        return TeacherIndex(loaded.vectors, loaded.ids, path)
    if not path.is_file():
        raise UserError("no such file or folder", where=path, mend=_MEND)
    index = _vectors(path) if path.suffix == ".npy" else _faiss(path)
    ids = _ids(path.with_name(faiss_index.IDS), index.ntotal, setup)
    return TeacherIndex(VectorIndex(index, index.d), ids, path)


def _vectors(path: Path) -> faiss.Index:
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"is no array of vectors: {error}", where=path, mend="save it with numpy.save"
        ) from error
    if not isinstance(vectors, np.ndarray):
        raise UserError("holds several arrays", where=path, mend="save one with numpy.save")
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        raise UserError(
            f"holds {vectors.dtype} of shape {vectors.shape}, not vectors [n, d]", where=path
        )
    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), _AT_ONCE):
        part = np.ascontiguousarray(vectors[start : start + _AT_ONCE], dtype=np.float32)
        norms = np.linalg.norm(part, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise UserError("holds NaN, infinity or a zero vector", where=path, mend=_MEND)
        index.add(part / norms)
    return index


def _faiss(path: Path) -> faiss.Index:
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise UserError(
            "is no index of vectors that FAISS reads",
            where=path,
            mend="write it with faiss.write_index, or name a .npy file of vectors",
        ) from error
    if isinstance(index, (faiss.IndexIDMap, faiss.IndexIDMap2)):
        raise UserError(
            "has numbers of its own for its rows (IndexIDMap), which are no document ids",
            where=path,
            mend="write the index within it (index.index), and its rows' ids into ids.json",
        )
    if index.metric_type not in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2):
        raise UserError(
            "compares vectors neither by the inner product nor by their distance", where=path
        )
    return index


def _ids(path: Path, count: int, setup: Setup) -> tuple[str, ...]:
    if not path.exists():
        ids: Sequence[str] = [document.id for document in setup.task.documents]
        mend = "put the ids of its rows into ids.json beside it"
        where = f"the corpus has {len(ids):,} documents"
    else:
        try:
            ids = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"is no JSON: {error}", where=path) from error
        if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
            raise UserError("is no list of document ids", where=path)
        mend, where = "write an id for each row", f"{path} has {len(ids):,} ids"
    if len(ids) != count:
        raise UserError(f"holds {count:,} vectors, but {where}", where=_WHERE, mend=mend)
    return tuple(ids)


def _check_dimensions(found: TeacherIndex, dimensions: int) -> None:
    if found.vectors.dimensions != dimensions:
        raise UserError(
            f"holds vectors of {found.vectors.dimensions} dimensions; the teacher's have {dimensions}",
            where=found.path,
            mend=_MEND,
        )


def _check_places(found: TeacherIndex, setup: Setup, path: str) -> None:
    """A few documents must lie where the teacher puts them: no file need say who made an index."""
    probes = sample(setup.task.documents, _PROBES, 0, key=lambda item: item.id)
    wanted = list(dict.fromkeys(TrainText(document.content, "passage") for document in probes))
    setup.collect(setup.wishes(wanted))
    vectors = setup.stored([document.content for document in probes], "passage")
    _, rows = found.vectors.search(vectors, min(_NEAR, len(found.ids)))
    # Documents may be told twice: whichever of them is found is right.
    told = {document.id: document.content for document in setup.task.documents}
    near = [
        document.content in {told.get(found.ids[row]) for row in line if row >= 0}
        for document, line in zip(probes, rows, strict=True)
    ]
    if sum(near) < _FOUND * len(near):
        raise UserError(
            f"is not this teacher's: of {len(near)} documents {len(near) - sum(near)} do not lie "
            f"where the teacher puts them",
            where=path,
            mend=_MEND,
        )
