"""Finding documents as a stack says: by vectors, by words, or by both, fused."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragdistill.data.collection import Document
from ragdistill.errors import UserError
from ragdistill.export import faiss_index
from ragdistill.export.faiss_index import DocumentIndex
from ragdistill.files import sha256_json
from ragdistill.first_stage import NONE
from ragdistill.first_stage import Words as WordIndex
from ragdistill.metrics.indexes import Kind, build, why_not
from ragdistill.metrics.ranking import as_rankings, check_finite
from ragdistill.models.digest import folder_digest
from ragdistill.progress import track
from ragdistill.rag.cache import Cache
from ragdistill.rag.parts import Parts, told_of
from ragdistill.rag.serving import Embedder
from ragdistill.rag.stack import Embedding
from ragdistill.signals.fingerprint import text_key

KINDS: tuple[Kind, ...] = ("flat", "hnsw", "ivfpq")
Ranking = Sequence[tuple[str, float]]
_WINDOW = 1024
"""Documents that are embedded between two records of the cache."""
_SHOWN = 12
ANCHORS = 3
"""Documents of a query as it stands that may keep their place; see :func:`anchored`."""


@dataclass(frozen=True)
class Corpus:
    """Documents by what is searched of them."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, documents: Sequence[Document]) -> "Corpus":
        """The corpus of a collection's documents."""
        return cls(tuple(d.id for d in documents), tuple(d.content for d in documents))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ids and texts, in their order; taken piece by piece, for a corpus as one string would
        take as much memory again."""
        total = hashlib.sha256()
        for pair in zip(self.ids, self.texts, strict=True):
            total.update((json.dumps(pair) + "\n").encode())
        return total.hexdigest()

    @cached_property
    def by_id(self) -> dict[str, str]:
        """Text of each document."""
        return dict(zip(self.ids, self.texts, strict=True))


def fused(rankings: Sequence[Ranking], constant: float, k: int) -> list[tuple[str, float]]:
    """The first ``k`` documents by the sum of ``1 / (constant + rank)`` over ``rankings``, ranks counted
    from 1; equal sums in the order of the ids (Cormack, Clarke, Buettcher: Reciprocal Rank Fusion
    Outperforms Condorcet and Individual Rank Learning Methods, SIGIR 2009)."""
    sums: dict[str, float] = {}
    for ranking in rankings:
        for rank, (document, _) in enumerate(ranking, start=1):
            sums[document] = sums.get(document, 0.0) + 1 / (constant + rank)
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:k]


def anchored(raw: Ranking, rewritten: Ranking, within: int) -> list[tuple[str, float]]:
    """``rewritten``, what a rewritten query finds, but that what the query finds first by itself keeps its
    place: the first three of ``raw`` come before all others, in their order, as far as they are among
    the first ``within`` of ``rewritten``. So each of the three that its rewrite has there comes no later than in
    ``raw``; any other document can fall. Scores are those of ``rewritten`` in their order, whichever documents
    they were of."""
    near = {document for document, _ in rewritten[:within]}
    kept = [document for document, _ in raw[:ANCHORS] if document in near]
    order = dict.fromkeys([*kept, *(document for document, _ in rewritten)])
    return [(document, score) for document, (_, score) in zip(order, rewritten, strict=True)]


class StackRetriever:
    """What a stack finds in a corpus; see :class:`~ragdistill.rag.serving.Retriever`."""

    def __init__(self, parts: Parts, corpus: Corpus, cache: Cache) -> None:
        """Nothing is loaded or indexed yet.

        Raises:
            UserError: the index that is named is of another embedder or of other documents, or no such
                index can be built of so few.
        """
        self._stack, self._embedder = parts.stack, parts.embedder
        self._corpus, self._cache = corpus, cache
        self._named: tuple[Path, DocumentIndex] | None = None
        settings, where = self._stack.embedding, f"{self._stack.file}: embedder: index"
        if self._embedder is not None and settings is not None:
            with told_of(where):
                path = _index_path(settings, self._embedder, self._stack.file.parent)
            if path is not None:
                self._named = path, _checked(path, self._embedder, corpus, where)
            # How many dimensions there are is not known before it is loaded.
            elif why := why_not(
                _kind(settings.index) or "flat", settings.vectors, len(corpus.ids), 4
            ):
                raise UserError(why, where=where, mend="choose flat or hnsw")

    @property
    def name(self) -> str:
        """What reports call it."""
        names = [self._embedder.name] if self._embedder is not None else []
        return " + ".join([*names, *(["bm25"] if self._stack.bm25 is not None else [])])

    @property
    def documents(self) -> int:
        """How many documents have to be embedded."""
        if self._embedder is None or self._named is not None:
            return 0
        return len(dict.fromkeys(self._corpus.texts))

    @cached_property
    def fingerprint(self) -> str:
        """See :class:`~ragdistill.rag.serving.Retriever`."""
        stack, named = self._stack, self._named
        settings = stack.embedding
        return sha256_json(
            {
                "corpus": self._corpus.digest,
                "embedder": self._embedder.fingerprint if self._embedder is not None else None,
                "index": folder_digest(named[0])
                if named is not None
                else settings and settings.index,
                "vectors": settings and settings.vectors,
                "k": settings and settings.k,
                "bm25": stack.bm25 and asdict(stack.bm25),
                "fusion": asdict(stack.fusion) if settings and stack.bm25 else None,
            }
        )

    def load(self) -> None:
        """Have indexes ready."""
        if self._embedder is not None:
            self._embedder.load()
            _ = self._index
        if self._stack.bm25 is not None:
            _ = self._words

    def close(self) -> None:
        """Give the memory back."""
        for name in ("_index", "_words"):
            vars(self).pop(name, None)
        if self._embedder is not None:
            self._embedder.close()

    def search(self, query: str) -> Ranking:
        """See :class:`~ragdistill.rag.serving.Retriever`."""
        found = []
        if self._embedder is not None and self._stack.embedding is not None:
            vectors = self._embedder.encode([query], "query")
            check_finite("query", vectors)
            found.append(self._nearest(vectors, self._stack.embedding.k))
        if self._stack.bm25 is not None:
            found.append(self._by_words(query, self._stack.bm25.k))
        if len(found) == 1:
            return found[0]
        return fused(found, self._stack.fusion.constant, self._stack.fusion.k)

    def _nearest(self, vectors: NDArray[np.float32], k: int) -> Ranking:
        scores, rows = self._index.vectors.search(vectors, min(k, len(self._index.ids)))
        return as_rankings(np.asarray(scores), np.asarray(rows), self._index.ids)[0]

    def _by_words(self, query: str, k: int) -> Ranking:
        found = self._words.find([query], k)
        ids = self._corpus.ids
        pairs = zip(found.places[0].tolist(), found.scores[0].tolist(), strict=True)
        return [(ids[place], score) for place, score in pairs if place != NONE]

    @cached_property
    def _words(self) -> WordIndex:
        return WordIndex(self._corpus.texts)

    @cached_property
    def _index(self) -> DocumentIndex:
        embedder, settings = self._embedder, self._stack.embedding
        if embedder is None or settings is None:
            raise ValueError("words alone have no vectors")
        where = f"{self._stack.file}: embedder: index"
        if self._named is not None:
            path, index = self._named
            if index.vectors.dimensions != embedder.dimensions:
                raise UserError(
                    f"{path} holds vectors of {index.vectors.dimensions} dimensions, and"
                    f" {embedder.name} makes such of {embedder.dimensions}",
                    where=where,
                    mend="have one built: index: flat",
                )
            return index
        vectors = embedded(embedder, self._corpus.texts, self._cache)
        with told_of(where):
            kind = _kind(settings.index) or "flat"
            built = build(vectors, kind, settings.vectors, vectors.shape[1])
        return DocumentIndex(built, self._corpus.ids, embedder.spaces[0])


def embedded(embedder: Embedder, texts: Sequence[str], cache: Cache) -> NDArray[np.float32]:
    """Unit vectors ``[n, d]`` of documents: from the cache, or made now and kept there."""
    space = cache.vectors(embedder.fingerprint, embedder.dimensions)
    keys = [text_key(text) for text in texts]
    missing = space.missing(keys)
    with track(f"documents ({embedder.name})", len(missing)) as advance, space.writer() as writer:
        for start in range(0, len(missing), _WINDOW):
            places = missing[start : start + _WINDOW]
            made = embedder.encode([texts[place] for place in places], "passage", advance)
            check_finite("document", made)
            writer.append([keys[place] for place in places], made)
    found: NDArray[np.float32] = space.get(keys)
    return found


def _kind(index: str) -> Kind | None:
    return next((kind for kind in KINDS if kind == index), None)


def _index_path(settings: Embedding, embedder: Embedder, beside: Path) -> Path | None:
    """The folder of an index that there is; None where one is to be built."""
    if _kind(settings.index) is not None:
        if embedder.index is None:
            return None
        if settings.index == "flat":
            return embedder.index
        raise UserError(
            f"{embedder.name} embeds queries alone, for an index that there is",
            mend=f"leave it out, or name that index: {embedder.index}",
        )
    for path in (beside / Path(settings.index).expanduser(), Path(settings.index).expanduser()):
        if path.is_dir():
            return path
    raise UserError(
        f"no kind of index, and no folder, {settings.index!r}",
        mend=f"choose from {', '.join(KINDS)}, or name RUN/export/faiss",
    )


def _checked(path: Path, embedder: Embedder, corpus: Corpus, where: str) -> DocumentIndex:
    """The index in ``path``, if it is of this embedder and of these documents."""
    with told_of(where):
        index = faiss_index.load(path)
    if index.encoder_digest not in embedder.spaces:
        asked = " or ".join(digest[:_SHOWN] for digest in embedder.spaces)
        raise UserError(
            f"{path} holds vectors of the embedder {index.encoder_digest[:_SHOWN]}, and"
            f" {embedder.name} is {asked}",
            where=where,
            mend="name the index of this embedder, or have one built: index: flat",
        )
    strangers = sorted(set(index.ids) - set(corpus.ids))
    lost = sorted(set(corpus.ids) - set(index.ids))
    if strangers or lost:
        told = f"{strangers[0]!r}, which --data has not" if strangers else f"no {lost[0]!r}"
        raise UserError(
            f"{path} holds {told}",
            where=where,
            mend="name the data that it was made of, or index: flat",
        )
    return index
