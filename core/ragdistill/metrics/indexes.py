"""FAISS indexes of unit vectors: how each vector is kept, and how the nearest are found.

Vectors: ``float32``; ``float16``; ``int8``, eight bits a dimension between the least and the
greatest value that the documents have there; ``binary``, the sign of each dimension. Binary
vectors are compared by Hamming distance, and the candidates then rescored with the query as it is
(Yamada et al., arXiv:2106.00882; as sentence-transformers does it), which takes no further byte.

Indexes: ``flat`` compares every vector; ``hnsw`` walks a graph (arXiv:1603.09320); ``ivfpq`` looks
into the nearest cells at vectors in codes of product quantisation (Jegou et al., TPAMI 2011), so
it has vectors of its own, ``pq``. Settings are those of FAISS's guidelines (arXiv:2401.08281).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray
from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss

from ragdistill.errors import UserError

faiss: Any = _faiss  # its stubs know less than it has
Coding = Literal["float32", "float16", "int8", "binary"]
Kind = Literal["flat", "hnsw", "ivfpq"]
Vectors = NDArray[np.float32]

PQ = "pq"
"""What the vectors of an ``ivfpq`` index are."""
RESCORED = 4
"""Candidates that are rescored for each document asked for, of binary vectors."""
_CODES: dict[str, str] = {"float32": "Flat", "float16": "SQfp16", "int8": "SQ8"}
_LINKS = 32
_PER_CENTROID = 39  # vectors that FAISS wants for each centroid it learns
_CODEBOOK = 256
FEWEST_IVFPQ = _PER_CENTROID * _CODEBOOK
"""Documents that the codes of ``ivfpq`` are learnt from, at the least."""
_CHUNK = 1 << 16  # rows that are cut or packed at a time
_LEARNT_FROM = 1 << 18  # rows that ranges, cells and codes are learnt from, at the most
_QUERIES = 32  # that are rescored at a time


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index over n vectors of ``dimensions``."""

    index: Any
    """A ``faiss.Index`` by inner product, or a ``faiss.IndexBinary``."""
    dimensions: int

    @property
    def binary(self) -> bool:
        """Whether the vectors are bits."""
        return isinstance(self.index, faiss.IndexBinary)

    @property
    def width(self) -> int:
        """Dimensions that FAISS sees: bits come in whole bytes."""
        return -(-self.dimensions // 8) * 8 if self.binary else self.dimensions

    def search(
        self, queries: Vectors, k: int, *, rescored: bool = True
    ) -> tuple[Vectors, NDArray[np.int64]]:
        """Scores and rows ``[q, k]`` of the nearest to unit vectors ``[q, dimensions]``, the best
        first; where fewer than ``k`` are found, the row is -1.

        Args:
            rescored: whether binary candidates are; otherwise a score is minus the Hamming distance.
        """
        if not self.binary:
            scores, rows = self.index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
            return scores, rows
        if rescored:
            return self._rescored(queries, k)
        distances, rows = self.index.search(_bits(queries), k)
        return -distances.astype(np.float32), rows

    def _rescored(self, queries: Vectors, k: int) -> tuple[Vectors, NDArray[np.int64]]:
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        for start in range(0, len(queries), _QUERIES):
            found = semantic_search_faiss(
                queries[start : start + _QUERIES],
                corpus_index=self.index,
                corpus_precision="ubinary",
                top_k=k,
                rescore_multiplier=RESCORED,
            )[0]
            for place, hits in enumerate(found, start):
                rows[place, : len(hits)] = [hit["corpus_id"] for hit in hits]
                scores[place, : len(hits)] = [hit["score"] for hit in hits]
        return scores, rows

    def write(self, path: Path) -> None:
        """Write it as FAISS does."""
        self._write(str(path))

    def bytes(self) -> int:
        """Bytes of what :meth:`write` writes, counted without keeping them."""
        sizes: list[int] = []

        def count(block: bytes) -> int:
            sizes.append(len(block))
            return len(block)

        self._write(faiss.PyCallbackIOWriter(count))
        return sum(sizes)

    def _write(self, target: Any) -> None:
        (faiss.write_index_binary if self.binary else faiss.write_index)(self.index, target)


def build(documents: Vectors, kind: Kind, coding: Coding, dimensions: int) -> VectorIndex:
    """An index over ``documents`` ``[n, d]`` cut after ``dimensions``; holds no other copy of them.

    Raises:
        UserError: see :func:`why_not`.
    """
    if reason := why_not(kind, coding, len(documents), dimensions):
        raise UserError(reason, mend="choose another kind of index")
    index = _empty(kind, coding, len(documents), dimensions)
    if not index.is_trained:
        index.train(unit_prefix(_some(documents), dimensions))
    for part in _chunks(documents):
        cut = unit_prefix(part, dimensions)
        index.add(_bits(cut) if coding == "binary" else np.ascontiguousarray(cut, np.float32))
    _look_further(index, kind)
    return VectorIndex(index, dimensions)


def why_not(kind: Kind, coding: Coding, documents: int, dimensions: int) -> str:
    """Why no such index can be built; empty where it can."""
    if kind != "ivfpq":
        return ""
    if coding != "float32":
        return f"ivfpq keeps vectors in codes of its own, not as {coding}"
    if documents < FEWEST_IVFPQ:
        return f"ivfpq learns its codes from {FEWEST_IVFPQ:,} documents or more, not {documents:,}"
    if dimensions % 4:
        return f"ivfpq divides vectors into parts of 4 dimensions, and {dimensions} are no such"
    return ""


def unit_prefix(vectors: Vectors, length: int) -> Vectors:
    """Unit vectors of the first ``length`` dimensions of ``vectors`` ``[n, d]``; whole ones are
    returned as they are."""
    if length == vectors.shape[1]:
        return vectors
    cut = np.ascontiguousarray(vectors[:, :length])
    norms = np.linalg.norm(cut, axis=1, keepdims=True)
    shortened: Vectors = cut / np.maximum(norms, np.finfo(np.float32).tiny)
    return shortened


def _empty(kind: Kind, coding: Coding, documents: int, dimensions: int) -> Any:
    """The index before it has learnt or holds anything."""
    if coding == "binary":
        width = -(-dimensions // 8) * 8
        return faiss.index_binary_factory(width, f"BHNSW{_LINKS}" if kind == "hnsw" else "BFlat")
    code = _CODES[coding]
    if kind == "hnsw":
        code = f"HNSW{_LINKS},{code}"
    if kind == "ivfpq":
        cells = min(round(4 * documents**0.5), documents // _PER_CENTROID)
        code = f"IVF{cells},PQ{dimensions // 4}x8"
    return faiss.index_factory(dimensions, code, faiss.METRIC_INNER_PRODUCT)


def _look_further(index: Any, kind: Kind) -> None:
    """FAISS's defaults (16 nodes of a graph, one cell) are for speed tests; these are kept with
    the index."""
    if kind == "hnsw":
        index.hnsw.efSearch = 64
    if kind == "ivfpq":
        index.nprobe = max(1, min(32, index.nlist // 8))


def _bits(vectors: Vectors) -> NDArray[np.uint8]:
    return np.asarray(quantize_embeddings(vectors, precision="ubinary"))


def _chunks(documents: Vectors) -> Iterator[Vectors]:
    for start in range(0, len(documents), _CHUNK):
        yield documents[start : start + _CHUNK]


def _some(documents: Vectors) -> Vectors:
    """At most :data:`_LEARNT_FROM` rows, evenly spread."""
    step = -(-len(documents) // _LEARNT_FROM)
    return np.ascontiguousarray(documents[::step], np.float32)
