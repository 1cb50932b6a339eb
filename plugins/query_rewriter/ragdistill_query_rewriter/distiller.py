"""What the stages of every query rewriter do alike: they hand things from one to the next, and measure what
queries find."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ragdistill.data.collection import Query
from ragdistill.distiller import Distiller, Section, Stage
from ragdistill.first_stage import FirstStage
from ragdistill.metrics import retrieval, verdict
from ragdistill.metrics.by_query import quality_by
from ragdistill.metrics.worst import worst
from ragdistill_query_rewriter import evaluation
from ragdistill_query_rewriter.config import RewriterConfig
from ragdistill_query_rewriter.describe import describe_data, describe_teacher
from ragdistill_query_rewriter.setup import Setup
from ragdistill_query_rewriter.students import Student

RANKINGS = tuple(f"rankings/{name}.trec" for name in ("raw", "teacher", "student", "qrels"))
"""What an evaluation leaves."""


class RewriterDistiller(Distiller[RewriterConfig]):
    """Queries as they are asked, as the teacher and as the student would have them, before the same index."""

    gate: ClassVar[float]
    """Share of the teacher's lift that the verdict asks for when no --gate is given."""
    headline: ClassVar[str] = retrieval.HEADLINE
    """The measure that it is of."""
    left: ClassVar[Mapping[Stage, tuple[str, ...]]]
    """What a finished stage has left."""

    @property
    @abstractmethod
    def setup(self) -> Setup:
        """Models, data and rewrites."""

    @property
    def student_folder(self) -> Path:
        """Where the student is."""
        return self.folder / "student"

    @abstractmethod
    def check(self) -> None:
        """Refuse what cannot be, before anything is written."""

    @abstractmethod
    def student(self, device: str) -> Student:
        """The student that was trained."""

    @abstractmethod
    def described(self, student: Any) -> dict[str, Any]:
        """The report's entry of it."""

    @abstractmethod
    def systems(self, student: Any, queries: Sequence[Query]) -> dict[str, list[str]]:
        """The queries of each system."""

    def inputs(self) -> Mapping[str, str]:
        """Digests of teacher, student's base and data."""
        self.check()
        self.setup.meet()
        _ = self.setup.texts
        return self.setup.inputs

    def outputs(self, stage: Stage) -> tuple[str, ...]:
        """What a finished stage has left."""
        return self.left.get(stage, ())

    def collect(self) -> Section:
        """The teacher's rewrites."""
        return self.setup.collect()

    def evaluate(self) -> Section:
        """What raw queries and those of teacher and student find, and the rewrites."""
        setup, task, seed = self.setup, self.setup.task, self.config.seed
        setup.collect()
        student = self.student(self.config.device)
        texts = self.systems(student, task.queries)
        for name, rewrites in texts.items():
            evaluation.keep(self.folder, name, task.queries, rewrites)
        found = evaluation.with_anchored(self.searched(setup.eval_stage, texts))
        retrieval.write_rankings(self.folder, task, found)
        near = setup.near_duplicates
        return {
            "items": len(task.queries),
            "teacher": describe_teacher(setup),
            "student": self.described(student),
            "data": describe_data(setup),
            "quality": evaluation.quality(task, found, seed),
            "harm": self._harm(found),
            "changed": _changed(texts),
            "quality_by": quality_by(task, found["teacher"], found["student"], near, seed),
            "worst": worst(task, found["teacher"], found["student"]),
            **self._by_embedder(texts),
        }

    def searched(
        self, stage: FirstStage, texts: Mapping[str, list[str]]
    ) -> dict[str, dict[str, Any]]:
        """What each system's queries find."""
        task = self.setup.task
        ids = [document.id for document in task.documents]
        return {
            name: dict(evaluation.search(stage, ids, task.queries, each))
            for name, each in texts.items()
        }

    def _harm(self, found: Mapping[str, Any]) -> dict[str, Any]:
        qrels = self.setup.task.qrels
        return {
            name: evaluation.harm(qrels, found["raw"], each)
            for name, each in found.items()
            if name != "raw"
        }

    def _by_embedder(self, texts: Mapping[str, list[str]]) -> dict[str, Any]:
        """The same with an embedder's search, where one is named."""
        setup = self.setup
        if setup.dense is None:
            return {}
        found = evaluation.with_anchored(self.searched(setup.dense, texts))
        named = {f"{name}-dense": each for name, each in found.items()}
        retrieval.write_rankings(self.folder, setup.task, named)
        return {
            "dense": {
                "embedder": setup.dense.name,
                "quality": evaluation.quality(setup.task, found, self.config.seed),
                "harm": self._harm(found),
            }
        }

    def judge(self) -> Section:
        """The verdict on the share of the teacher's lift, from the rankings."""
        teacher, student = evaluation.retention(self.folder, self.headline)
        gate = self.config.gate or self.gate
        seed, measure = self.config.seed, f"lift in {self.headline}"
        found = verdict.decide(teacher, student, gate, seed, of=measure, within=(-1.0, 1.0))
        return {"verdict": found.as_json() | {"measure": self.headline}}


def _changed(texts: Mapping[str, list[str]]) -> dict[str, Any]:
    """Of each system the share of turns that it changed, and the words that it added to those."""
    found = {}
    for name, rewrites in texts.items():
        pairs = [(old, new) for old, new in zip(texts["raw"], rewrites, strict=True) if old != new]
        added = [len(new.split()) - len(old.split()) for old, new in pairs]
        found[name] = {
            "share": len(pairs) / len(rewrites),
            "words": sum(added) / len(added) if added else None,
        }
    return {name: each for name, each in found.items() if name != "raw"}
