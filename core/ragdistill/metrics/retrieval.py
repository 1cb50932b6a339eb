"""Search as a task: teacher and student on the same judged queries, and the files that let anyone
recompute every figure. For whatever ranks documents: embedders, rerankers, rewriters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.data.collection import Collection, Document, Qrels, Query
from ragdistill.data.sampling import sample
from ragdistill.data.splits import choose
from ragdistill.errors import UserError
from ragdistill.metrics import trec
from ragdistill.metrics.bootstrap import compare, retention_interval
from ragdistill.metrics.ranking import MEASURES, overlaps, per_query, search
from ragdistill.metrics.trec import Rankings
from ragdistill.metrics.verdict import ALPHA, decide

DEPTH = 100
"""Documents kept of each ranking: as deep as the deepest measure looks."""
HEADLINE = "nDCG@10"
"""What the gate and the verdict are about."""
AGREEMENT = "overlap@10"
"""Measured against the teacher's own top ten where there are no judgments."""
OPENINGS = 200
"""How many documents' openings are searched with where there are no queries."""

Vectors = NDArray[np.float32]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """What is searched for in what, and what is right."""

    documents: tuple[Document, ...]
    queries: tuple[Query, ...]
    qrels: Qrels
    split: str | None
    """None where there are no judgments: then the teacher's own results are what is right."""

    @property
    def document_texts(self) -> list[str]:
        """What is embedded of each document."""
        return [document.content for document in self.documents]

    @property
    def query_texts(self) -> list[str]:
        """What is embedded of each query."""
        return [query.text for query in self.queries]


def make_task(collection: Collection, *, limit: int | None, seed: int) -> Task:
    """The judged queries of the evaluation split, at most ``limit`` of them. A collection without
    any query is searched with the openings of documents, and measured against the teacher.

    Raises:
        UserError: queries but no judgments, judgments for training only, or several splits.
    """
    if not collection.queries and not collection.qrels:
        documents = sample(
            list(collection.documents), limit or OPENINGS, seed, key=lambda item: item.id
        )
        opened = tuple(Query(item.id, opening(item)) for item in documents)
        return Task(collection.documents, opened, {}, None)
    split, qrels = choose(collection)
    queries = sample(list(collection.judged(split)), limit, seed, key=lambda query: query.id)
    if not queries:
        raise UserError(
            f"no query of split {split!r} has a relevant document",
            where=collection.source or collection.name,
            mend="add judgments with a grade above 0",
        )
    chosen = {query.id: qrels[query.id] for query in queries}
    return Task(collection.documents, tuple(queries), chosen, split)


def opening(document: Document) -> str:
    """What stands for a query where there is none: the first eight words of a document, of a short
    one the first half."""
    words = (document.text or document.title).split()
    return " ".join(words[: max(1, min(8, len(words) // 2))])


def rank(task: Task, queries: Vectors, documents: Vectors) -> Rankings:
    """The first :data:`DEPTH` documents for each query, by cosine of unit vectors."""
    ids = [document.id for document in task.documents]
    found = search(queries, documents, ids, DEPTH)
    return {query.id: ranking for query, ranking in zip(task.queries, found, strict=True)}


def write_rankings(folder: Path, task: Task, rankings: Mapping[str, Rankings]) -> None:
    """``rankings/NAME.trec`` for each system, and the judgments they are measured with."""
    for name, found in rankings.items():
        trec.write(folder / "rankings" / f"{name}.trec", found, name)
    if task.qrels:
        trec.write_qrels(folder / "rankings" / "qrels.trec", task.qrels)


def quality(
    qrels: Qrels,
    teacher: Rankings,
    other: Rankings,
    seed: int,
    measures: Sequence[str] = MEASURES,
) -> dict[str, Any]:
    """Each measure of ``other`` beside the teacher's, with the interval of its retention.

    Without judgments it is the share of the teacher's top ten that ``other`` finds, too.
    """
    if not qrels:
        shared = overlaps(teacher, other)
        return {AGREEMENT: compare(np.ones_like(shared), shared, seed).as_json()}
    ours, theirs = per_query(qrels, teacher, measures), per_query(qrels, other, measures)
    return {
        measure: compare(_values(ours[measure]), _values(theirs[measure]), seed).as_json()
        for measure in measures
    }


def verdict(folder: Path, gate: float, seed: int) -> dict[str, Any]:
    """Whether the student keeps ``gate`` of the teacher's headline measure, from the run's files."""
    return verdict_of(folder, "student", gate, seed)


def verdict_of(
    folder: Path, system: str, gate: float, seed: int, *, compared: int = 1
) -> dict[str, Any]:
    """The verdict on ``system`` (the student or an export), as one of so many ``compared``, from
    the run's files; ``retention_interval`` holds for all of them at once, at 95 %."""
    measure, teacher, found = _headline(folder, system)
    interval = retention_interval(teacher, found, seed, alpha=ALPHA / compared)
    decided = decide(teacher, found, gate, seed, compared=compared, within=(0.0, 1.0)).as_json()
    extra = {"retention_interval": list(interval) if interval else None} if compared > 1 else {}
    return decided | {"measure": measure} | extra


def _headline(folder: Path, system: str) -> tuple[str, Values, Values]:
    """What the verdict is about, and its value for each query ``[q]``, of teacher and ``system``."""
    teacher, found = (
        trec.read(folder / "rankings" / f"{name}.trec") for name in ("teacher", system)
    )
    judged = folder / "rankings" / "qrels.trec"
    if not judged.exists():
        shared = overlaps(teacher, found)
        return AGREEMENT, np.ones_like(shared), shared
    qrels = trec.read_qrels(judged)
    ours, theirs = (per_query(qrels, each, [HEADLINE])[HEADLINE] for each in (teacher, found))
    return HEADLINE, _values(ours), _values(theirs)


def _values(by_query: Mapping[str, float]) -> Values:
    return np.fromiter(by_query.values(), dtype=np.float64)
