"""What a document's vector costs to keep, and what keeping it smaller costs: ways of ``indexes``
on one task, each held against exact search in the whole float32 vectors (the student's own; of
an asymmetric student's documents the teacher's)."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ragdistill.data.sampling import sample
from ragdistill.metrics.indexes import PQ, Coding, Kind, VectorIndex, build, unit_prefix, why_not
from ragdistill.metrics.ranking import as_rankings, overlap, per_query, single_ms
from ragdistill.metrics.retrieval import HEADLINE, Task, Vectors, quality, write_rankings
from ragdistill.metrics.trec import Rankings

DEPTH = 10
"""Documents asked for: what an approximate search costs and finds depends on it."""
TENTH_FROM = 5_000
"""Documents from which on a tenth of them is searched, too."""
RESCORED = "binary-rescored"
"""What binary vectors are called whose candidates are rescored."""
RankTeacher = Callable[[Task], Rankings]


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """One way to keep and search vectors."""

    kind: Kind
    coding: Coding
    dimensions: int
    rescored: bool = False

    @property
    def vectors(self) -> str:
        """What each vector is kept as."""
        if self.kind == "ivfpq":
            return PQ
        return RESCORED if self.rescored else self.coding

    def name(self, whole: int) -> str:
        """What its ranking is called, of vectors that have ``whole`` dimensions."""
        length = f"-{self.dimensions}" if self.dimensions < whole else ""
        return f"student{length}-{self.vectors}" + f"-{self.kind}" * (self.kind != "flat")


def ways(lengths: Sequence[int]) -> list[Way]:
    """Every vector kind in each of ``lengths``, the whole one first, and every index of that."""
    flat = [
        way
        for length in lengths
        for way in (
            *(Way("flat", coding, length) for coding in ("float32", "float16", "int8", "binary")),
            Way("flat", "binary", length, rescored=True),
        )
    ]
    return [*flat, *_indexes(lengths[0])]


def _indexes(whole: int) -> list[Way]:
    return [Way("hnsw", "float32", whole), Way("ivfpq", "float32", whole)]


@dataclasses.dataclass(frozen=True)
class Ground:
    """What ways are measured on."""

    folder: Path
    """The run folder: rankings are left there."""
    task: Task
    teacher: Rankings
    """No deeper than :data:`DEPTH` is looked."""
    queries: Vectors
    """The student's, ``[q, d]``."""
    documents: Vectors
    """The student's, or, where it is for queries alone, the teacher's, ``[n, d]``."""
    seed: int
    suffix: str = ""
    """Of the names of rankings."""

    @cached_property
    def exact(self) -> Rankings:
        """What exact search in the student's whole float32 vectors finds."""
        return self.rank(build(self.documents, "flat", "float32", self.documents.shape[1]))

    @cached_property
    def _shallow(self) -> Rankings:
        return {query: ranking[:DEPTH] for query, ranking in self.teacher.items()}

    @cached_property
    def _exact_ndcg(self) -> float:
        values = per_query(self.task.qrels, self.exact, [HEADLINE])[HEADLINE]
        return float(np.mean(list(values.values())))

    def rank(self, index: VectorIndex, *, rescored: bool = True) -> Rankings:
        """The first :data:`DEPTH` documents for each query."""
        queries = unit_prefix(self.queries, index.dimensions)
        found = index.search(queries, min(DEPTH, len(self.documents)), rescored=rescored)
        ranked = as_rankings(*found, [document.id for document in self.task.documents])
        return {query.id: row for query, row in zip(self.task.queries, ranked, strict=True)}

    def measure(self, way: Way) -> dict[str, Any]:
        """A way's entry in report.json; leaves its ranking."""
        entry = {
            "vectors": way.vectors,
            "index": way.kind,
            "dimensions": way.dimensions,
            "documents": len(self.documents),
        }
        if reason := why_not(way.kind, way.coding, len(self.documents), way.dimensions):
            return entry | {"reason": reason}
        index = build(self.documents, way.kind, way.coding, way.dimensions)
        name = way.name(self.documents.shape[1])
        return entry | self.figures(index, f"{name}{self.suffix}", rescored=way.rescored)

    def figures(self, index: VectorIndex, name: str, *, rescored: bool = True) -> dict[str, Any]:
        """Bytes, quality against the teacher, what is lost of exact search, and milliseconds for a
        query; leaves ``rankings/NAME.trec``."""
        ranked = self.rank(index, rescored=rescored)
        write_rankings(self.folder, self.task, {name: ranked})
        kept = quality(self.task.qrels, self._shallow, ranked, self.seed, (HEADLINE,))
        difference = kept[HEADLINE]["student"] - self._exact_ndcg if self.task.qrels else None
        search = partial(index.search, k=DEPTH, rescored=rescored)
        return {
            "bytes_per_document": index.bytes() / len(self.documents),
            "quality": kept,
            "ndcg_difference": difference,
            "recall_of_exact": overlap(self.exact, ranked, DEPTH),
            "search_ms": single_ms(search, unit_prefix(self.queries, index.dimensions)),
        }


def measure(
    ground: Ground, rank_teacher: RankTeacher, dims: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """The section ``storage`` of report.json: every way on the whole task, and the indexes on a
    tenth of a large one.

    Args:
        ground: the whole task.
        rank_teacher: a part of the task to what the teacher finds in it.
        dims: lengths that the vectors may be cut to, their own first; empty for none but that.
    """
    lengths = dims or (ground.documents.shape[1],)
    tenths = [
        part.measure(way)
        for part in _tenth(ground, rank_teacher)
        for way in (Way("flat", "float32", lengths[0]), *_indexes(lengths[0]))
    ]
    return [*tenths, *(ground.measure(way) for way in ways(lengths))]


def _tenth(ground: Ground, rank_teacher: RankTeacher) -> Iterator[Ground]:
    """A tenth of a large task with every judged document; nothing where that is not much smaller
    than the whole."""
    task, count = ground.task, len(ground.documents)
    judged = {document for row in task.qrels.values() for document in row}
    rows = [row for row, document in enumerate(task.documents) if document.id in judged]
    others = [row for row, document in enumerate(task.documents) if document.id not in judged]
    if count < TENTH_FROM or len(rows) > count // 2:
        return
    room = max(0, count // 10 - len(rows))
    rows += sample(others, room, ground.seed, key=lambda row: task.documents[row].id)
    rows.sort()
    part = dataclasses.replace(task, documents=tuple(task.documents[row] for row in rows))
    suffix = f"-of-{len(rows)}"
    teacher = rank_teacher(part)
    write_rankings(ground.folder, part, {f"teacher{suffix}": teacher})
    yield dataclasses.replace(
        ground, task=part, teacher=teacher, documents=ground.documents[rows], suffix=suffix
    )


def rankings_of(dims: Sequence[int]) -> tuple[str, ...]:
    """Names of files that :func:`measure` leaves, however many the documents; ``dims`` is empty for
    vectors that are not to be cut."""
    lengths = dims or (0,)
    named = (way.name(lengths[0]) for way in ways(lengths) if way.kind != "ivfpq")
    return tuple(f"rankings/{name}.trec" for name in named)
