"""What a late-interaction student's documents are served from: the vectors of their tokens, in codes.

A document has a vector for each token, a hundred times the bytes of one vector: so how they are kept decides
what serving costs. Ways, each a codec of FAISS (arXiv:2401.08281):

- ``float32``, ``float16``; ``int8``, eight bits between the least and the greatest value of a dimension;
- ``binary``, the sign of each dimension; the query stays as it is;
- ``residual``, the nearest of some thousand centroids, and two bits of what is left in each dimension, as in
  ColBERTv2 (Santhanam et al., arXiv:2112.01488); their buckets are quantiles, the same in every dimension,
  where here each dimension has four values of its own, from k-means;
- ``pq``, product quantisation (Jegou et al., TPAMI 2011), eight bits for every four dimensions.

Vectors are of unit length, and are made so again when they are decoded, as ColBERTv2 does. Fewer vectors are
the other saving: ``model.encode_document(texts, token_pooling=HierarchicalTokenPooling(2))`` of
sentence-transformers keeps half of them (Clavie et al., arXiv:2409.14683).

A folder has ``codes.npy`` ``[tokens, bytes]``, ``starts.npy`` ``[documents + 1]``, ``codec.faiss``,
``ids.json`` and ``ragdistill.json``.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from ragdistill.errors import UserError
from ragdistill.export.folder import atomic_folder
from ragdistill.files import write_json
from ragdistill.metrics.ranking import check_finite
from ragdistill_reranker.max_similarity import Vectors, max_similarities

faiss: Any = _faiss  # its stubs know less than it has
TokenCoding = Literal["float32", "float16", "int8", "binary", "residual", "pq"]

CODINGS: tuple[TokenCoding, ...] = get_args(TokenCoding)
CODES, STARTS, CODEC, IDS, RECORD = (
    "codes.npy",
    "starts.npy",
    "codec.faiss",
    "ids.json",
    "ragdistill.json",
)
_PER_CENTROID = 39  # vectors that FAISS wants for each centroid it learns
_FEWEST = {"residual": 16 * _PER_CENTROID, "pq": 256 * _PER_CENTROID}
_MOST_CELLS = 4096  # more are found no better for their time on a CPU
_LEARNT_FROM = 1 << 18  # tokens, at the most
_CHUNK = 1 << 16  # tokens that are encoded at a time


@dataclass(frozen=True)
class TokenIndex:
    """Vectors of the tokens of n documents; the codes stay on the disk until they are asked for."""

    ids: tuple[str, ...]
    """The n document ids, in the order of places."""
    coding: TokenCoding
    codes: NDArray[np.uint8]
    """``[tokens, bytes]``, of all documents behind one another."""
    starts: NDArray[np.int64]
    """Where each document's tokens begin, and where the last one's end, ``[n + 1]``."""
    codec: Any
    """FAISS's, which has learnt and holds nothing."""
    encoder_digest: str
    """SHA-256 of the weights that the vectors come from; empty where nobody said."""

    @classmethod
    def read(cls, folder: Path) -> "TokenIndex":
        """The index in ``folder``.

        Raises:
            UserError: a file is missing or damaged, or they do not belong together.
        """
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            found = cls(
                tuple(json.loads((folder / IDS).read_text(encoding="utf-8"))),
                record["coding"],
                np.load(folder / CODES, mmap_mode="r"),
                np.load(folder / STARTS),
                faiss.read_index(str(folder / CODEC)),
                str(record["encoder_digest"]),
            )
            found._check()
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UserError(
                f"no whole index of tokens ({error})", where=folder, mend="write the index again"
            ) from error
        return found

    def _check(self) -> None:
        """Raise ValueError where the files do not belong together."""
        if self.coding not in CODINGS or not all(isinstance(name, str) for name in self.ids):
            raise ValueError("not of this version")
        shape = (int(self.starts[-1]), int(self.codec.sa_code_size()))
        if self.codes.shape != shape or self.codes.dtype != np.uint8:
            raise ValueError(f"codes of {self.codes.shape}, not {shape}")
        if len(self.starts) != len(self.ids) + 1 or self.starts[0] or (self.lengths < 0).any():
            raise ValueError(f"{len(self.ids)} ids for other documents")

    @property
    def dimensions(self) -> int:
        """Of a token's vector."""
        return int(self.codec.d)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each document, ``[n]``."""
        return np.diff(self.starts)

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each document is, by its id."""
        return {name: place for place, name in enumerate(self.ids)}

    @property
    def bytes_per_document(self) -> float:
        """Bytes that a search needs, codebooks too, over the documents; ids are not counted."""
        return (self.codes.nbytes + self.starts.nbytes + _bytes(self.codec)) / len(self.ids)

    def document(self, place: int) -> Vectors:
        """Vectors of the tokens of the document at ``place``, ``[tokens, d]``, of unit length."""
        return self._decode(self.codes[self.starts[place] : self.starts[place + 1]])

    def scores(self, query: Vectors, places: Sequence[int]) -> Vectors:
        """``sum_i max_j q_i d_j`` of a query with the documents at ``places``, ``[n]``; 0 for one
        that has no token.

        Args:
            query: vectors of its tokens, ``[tokens, d]``.
        """
        if not len(places):
            return np.zeros(0, np.float32)
        # A slice of a file on the disk is no copy until they are put together.
        parts = [self.codes[self.starts[place] : self.starts[place + 1]] for place in places]
        return max_similarities(query, self._decode(np.concatenate(parts)), [*map(len, parts)])

    def _decode(self, codes: NDArray[np.uint8]) -> Vectors:
        if not len(codes):
            return np.empty((0, self.dimensions), np.float32)
        vectors: Vectors = self.codec.sa_decode(np.ascontiguousarray(codes))
        if self.coding != "float32":
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors


def write_token_index(
    folder: Path,
    ids: Sequence[str],
    vectors: Sequence[Vectors],
    coding: TokenCoding,
    *,
    encoder_digest: str = "",
) -> None:
    """Write an index of n documents into ``folder``; an existing one is replaced.

    Args:
        ids: of the n documents.
        vectors: unit vectors of each document's tokens, ``[tokens, d]``; they are gone through
            three times, and never all copied.
        encoder_digest: of the weights that the vectors come from.

    Raises:
        ValueError: not as many ids as documents, or an id twice.
        UserError: too few tokens to learn such codes from, or a vector that holds NaN.
    """
    if len(vectors) != len(ids) or len(set(ids)) != len(ids):
        raise ValueError(f"{len(set(ids))} ids for {len(vectors)} documents")
    if not len(vectors):
        raise UserError("no documents to keep token vectors of")
    lengths = [len(document) for document in vectors]
    codec = _codec(vectors, sum(lengths), coding)
    with atomic_folder(folder) as temporary:
        codes = np.lib.format.open_memmap(
            temporary / CODES, "w+", np.uint8, (sum(lengths), int(codec.sa_code_size()))
        )
        at = 0
        for tokens in _chunks(vectors):
            check_finite("document", tokens)
            codes[at : at + len(tokens)] = codec.sa_encode(tokens)
            at += len(tokens)
        codes.flush()
        np.save(temporary / STARTS, np.cumsum([0, *lengths], dtype=np.int64))
        faiss.write_index(codec, str(temporary / CODEC))
        write_json(temporary / IDS, list(ids))
        record = {"schema": 1, "coding": coding, "encoder_digest": encoder_digest}
        write_json(temporary / RECORD, record)


def why_not(coding: TokenCoding, tokens: int, dimensions: int) -> str:
    """Why so many tokens of so many dimensions cannot be kept so; empty where they can."""
    if tokens < _FEWEST.get(coding, 1):
        return f"{coding} is learnt from {_FEWEST.get(coding, 1):,} tokens or more, not {tokens:,}"
    if coding == "pq" and dimensions % 4:
        return f"pq divides vectors into parts of 4 dimensions, and {dimensions} are no such"
    return ""


def _codec(vectors: Sequence[Vectors], tokens: int, coding: TokenCoding) -> Any:
    """A FAISS index that encodes and decodes, and has learnt how."""
    dimensions = int(vectors[0].shape[1])
    if reason := why_not(coding, tokens, dimensions):
        raise UserError(reason, mend="choose another coding")
    codec = _empty(coding, tokens, dimensions)
    if not codec.is_trained:
        codec.train(_some(vectors, tokens))
    return codec


def _empty(coding: TokenCoding, tokens: int, dimensions: int) -> Any:
    """The codec before it has learnt."""
    if coding == "binary":  # signs, without the rotation and the thresholds it could learn
        return faiss.IndexLSH(dimensions, dimensions, False, False)
    cells = 1 << int(np.log2(min(16 * tokens**0.5, tokens / _PER_CENTROID, _MOST_CELLS)))
    codes: dict[TokenCoding, str] = {
        "float32": "Flat",
        "float16": "SQfp16",
        "int8": "SQ8",
        "residual": f"IVF{cells},PQ{dimensions}x2",
        "pq": f"PQ{dimensions // 4}x8",
    }
    codec = faiss.index_factory(dimensions, codes[coding])
    if coding == "residual":
        codec.cp.niter = 4  # as ColBERTv2's
    return codec


def _some(vectors: Sequence[Vectors], tokens: int) -> Vectors:
    """Tokens of documents that are evenly spread, at most some :data:`_LEARNT_FROM`."""
    step = -(-tokens // _LEARNT_FROM)
    return np.ascontiguousarray(np.concatenate(list(vectors[::step])), np.float32)


def _chunks(vectors: Sequence[Vectors]) -> Iterator[Vectors]:
    """All tokens in order, whole documents at a time."""
    held: list[Vectors] = []
    size = 0
    for document in vectors:
        held.append(document)
        size += len(document)
        if size >= _CHUNK:
            yield np.ascontiguousarray(np.concatenate(held), np.float32)
            held, size = [], 0
    if size:
        yield np.ascontiguousarray(np.concatenate(held), np.float32)


def _bytes(codec: Any) -> int:
    """Of its file."""
    return len(faiss.serialize_index(codec))
