"""What a reranker or a generator is given: the documents that a first stage finds for each query, and how
well each fits by its lights."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import bm25s
import numpy as np
from numpy.typing import NDArray

from ragdistill.encoder import Encoder
from ragdistill.errors import UserError
from ragdistill.files import atomic_path, sha256_json
from ragdistill.metrics.ranking import search
from ragdistill.metrics.trec import Rankings
from ragdistill.progress import track

# It lets everything through, whatever the command's own level is.
logging.getLogger("bm25s").setLevel(logging.NOTSET)

NONE = -1
Places = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Of each query the first documents."""

    places: Places
    """Among the documents, ``[q, n]``, best first; :data:`NONE` where there are fewer."""
    scores: Scores
    """The first stage's, ``[q, n]``; 0 where there is no document."""


class FirstStage(Protocol):
    """Finds documents of one corpus."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def digest(self) -> str:
        """What a run folder is held to."""

    def find(self, queries: Sequence[str], depth: int) -> Candidates:
        """The first ``depth`` documents of each query."""

    def scores(self, queries: Sequence[str], texts: Sequence[Sequence[str]]) -> Scores:
        """How well any ``texts`` fit their query, by the same measure: ``[q, n]`` for n texts each."""


class Words:
    """Documents whose words fit: BM25 as Lucene counts it, through bm25s (Lù, arXiv:2407.03618); no
    stemming and no stop words, for the language is not known. A document without any of a query's
    words is no candidate."""

    name = digest = "bm25"
    _OPTIONS: Mapping[str, Any] = {"stopwords": [], "show_progress": False, "return_ids": False}

    def __init__(self, documents: Sequence[str]) -> None:
        self._documents = list(documents)
        self._index = self._indexed(self._documents)

    def _indexed(self, documents: Sequence[str]) -> bm25s.BM25:
        index = bm25s.BM25(method="lucene")
        index.index(bm25s.tokenize(list(documents), **self._OPTIONS), show_progress=False)
        return index

    def find(self, queries: Sequence[str], depth: int) -> Candidates:
        """See :class:`FirstStage`."""
        depth = min(depth, len(self._documents))
        asked = bm25s.tokenize(list(queries), **self._OPTIONS)
        places, scores = self._index.retrieve(asked, k=depth, show_progress=False, sorted=True)
        found = scores > 0
        return Candidates(
            np.where(found, places, NONE).astype(np.int64), np.where(found, scores, 0).astype("f4")
        )

    def scores(self, queries: Sequence[str], texts: Sequence[Sequence[str]]) -> Scores:
        """See :class:`FirstStage`. Texts that are not of the corpus are counted as one more document
        each, which leaves the weights of words as good as they were."""
        known = {text: place for place, text in enumerate(self._documents)}
        others = dict.fromkeys(text for row in texts for text in row if text not in known)
        index = self._indexed([*self._documents, *others]) if others else self._index
        known |= {text: len(self._documents) + number for number, text in enumerate(others)}
        scored = np.zeros((len(texts), max(map(len, texts), default=0)), dtype=np.float32)
        asked = bm25s.tokenize(list(queries), **self._OPTIONS)
        for number, (words, row) in enumerate(zip(asked, texts, strict=True)):
            if words:
                every = index.get_scores(words)
                scored[number, : len(row)] = every[[known[text] for text in row]]
        return scored

    def held_by(self, word: str) -> int:
        """In how many documents ``word``, as BM25 reads it, stands."""
        column = self._index.vocab_dict.get(word)
        if column is None:
            return 0
        ends = self._index.scores["indptr"]
        return int(ends[column + 1] - ends[column])

    def scores_of(self, query: str, places: Places) -> Scores:
        """What ``query`` gives the documents at ``places`` ``[c]``."""
        (words,) = bm25s.tokenize([query], **self._OPTIONS)
        # A word that a query has twice counts twice.
        every: Scores = self.added(words, places).sum(axis=0, dtype=np.float32)
        return every

    def added(self, words: Sequence[str], places: Places) -> Scores:
        """What each of ``words``, as BM25 reads them, adds to the documents at ``places`` ``[c]`` when a
        query has it: ``[w, c]``. Of a query's words it is added up."""
        found = np.zeros((len(words), len(places)), dtype=np.float32)
        scores = self._index.scores
        for row, word in enumerate(words):
            column = self._index.vocab_dict.get(word)
            if column is None:
                continue
            part = slice(scores["indptr"][column], scores["indptr"][column + 1])
            if part.start < part.stop:
                holders, values = scores["indices"][part], scores["data"][part]
                order = np.argsort(holders, kind="stable")
                near = np.searchsorted(holders, places, sorter=order).clip(max=len(order) - 1)
                at = order[near]
                found[row] = np.where(holders[at] == places, values[at], 0)
        return found


class Nearest:
    """Documents of greatest cosine to the query, by exact search."""

    def __init__(
        self,
        name: str,
        digest: str,
        encoder: Encoder,
        documents: Sequence[str],
        folder: Path | None = None,
    ) -> None:
        """``folder`` keeps the documents' vectors from one start to the next."""
        self.name, self.digest = name, digest
        self._encoder, self._prompts = encoder, encoder.prompts
        self._documents, self._folder = list(documents), folder

    @cached_property
    def _vectors(self) -> Scores:
        """Of all documents, ``[n, d]``."""
        if self._folder is None:
            return self._encoded(self._documents)
        print_of = sha256_json([self.digest, asdict(self._prompts), *self._documents])
        path = self._folder / f"first-stage-{print_of[:16]}.npy"
        with suppress(OSError, ValueError):  # cut short, or gone
            kept: Scores = np.load(path, allow_pickle=False)
            if kept.shape == (len(self._documents), self._encoder.dimensions):
                return kept
        made = self._encoded(self._documents)
        if self._folder.parent.is_dir():  # a dry run leaves nothing behind
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, made)
        return made

    def _encoded(self, documents: Sequence[str]) -> Scores:
        with track("first stage", len(documents)) as advance:
            return self._encoder.encode(documents, self._prompts.passage, advance=advance)

    def find(self, queries: Sequence[str], depth: int) -> Candidates:
        """See :class:`FirstStage`."""
        names = [str(place) for place in range(len(self._documents))]
        asked = self._encoder.encode(list(queries), self._prompts.query)
        found = search(asked, self._vectors, names, depth)
        return _padded([[(int(place), score) for place, score in row] for row in found], depth)

    def scores(self, queries: Sequence[str], texts: Sequence[Sequence[str]]) -> Scores:
        """See :class:`FirstStage`."""
        known = {text: place for place, text in enumerate(self._documents)}
        others = list(dict.fromkeys(text for row in texts for text in row if text not in known))
        known |= {text: len(self._documents) + number for number, text in enumerate(others)}
        vectors = (
            np.concatenate([self._vectors, self._encoded(others)]) if others else self._vectors
        )
        asked = self._encoder.encode(list(queries), self._prompts.query)
        places = np.array([[known[text] for text in row] for row in texts], dtype=np.int64)
        cosines: Scores = np.stack(
            [vectors[row] @ query for row, query in zip(places, asked, strict=True)]
        )
        return cosines


def from_rankings(
    rankings: Rankings,
    queries: Sequence[str],
    documents: Sequence[str],
    depth: int,
    where: Path,
    *,
    least: int = 2,
) -> Candidates:
    """The candidates that somebody else found.

    Args:
        rankings: read from ``where``, a TREC run file.
        queries: ids, those that candidates are wanted of.
        documents: ids, in the order of the corpus.
        least: documents that a query must have.

    Raises:
        UserError: a query with fewer documents, or a document that is not in the corpus.
    """
    places: Mapping[str, int] = {name: place for place, name in enumerate(documents)}
    rows = []
    for query in queries:
        ranked = rankings.get(query, ())[:depth]
        if len(ranked) < least:
            raise UserError(
                f"ranks {len(ranked) or 'no'} document{'' if len(ranked) == 1 else 's'} for the query "
                f"{query!r}",
                where=where,
                mend=f"rank {'two' if least == 2 else least} or more for every query that is judged",
            )
        if len({document for document, _ in ranked}) < len(ranked):
            raise UserError(f"ranks a document twice for the query {query!r}", where=where)
        for document, _ in ranked:
            if document not in places:
                raise UserError(
                    f"names the document {document!r} for the query {query!r}, which is not in the "
                    "corpus",
                    where=where,
                    mend="give the corpus that was searched with --data",
                )
        rows.append([(places[document], score) for document, score in ranked])
    return _padded(rows, depth)


def _padded(rows: Sequence[Sequence[tuple[int, float]]], depth: int) -> Candidates:
    wide = min(depth, max(map(len, rows), default=0))
    places: Places = np.full((len(rows), wide), NONE, dtype=np.int64)
    scores: Scores = np.zeros((len(rows), wide), dtype=np.float32)
    for number, row in enumerate(rows):
        for rank, (place, score) in enumerate(row[:wide]):
            places[number, rank], scores[number, rank] = place, score
    return Candidates(places, scores)
