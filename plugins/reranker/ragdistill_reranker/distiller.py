"""The reranker's four stages: this file only hands things from one to the next."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ragdistill.data.sampling import sample
from ragdistill.distiller import Distiller, Plan, Section, Stage
from ragdistill.errors import UserError
from ragdistill.metrics import retrieval
from ragdistill.metrics.by_query import quality_by
from ragdistill.metrics.worst import worst
from ragdistill.training import trackers
from ragdistill.training.preparing import layers_of
from ragdistill_reranker import evaluation, exporting, latency, students, training
from ragdistill_reranker.config import RerankerConfig, check_together
from ragdistill_reranker.describe import describe_data, describe_student, describe_teacher
from ragdistill_reranker.finding import check_source
from ragdistill_reranker.lists import examine
from ragdistill_reranker.planning import make_plan
from ragdistill_reranker.scoring import Pair
from ragdistill_reranker.setup import Setup
from ragdistill_reranker.training import Lesson, Objective, Recipe

DEFAULT_GATE = 0.95
"""What the verdict asks for when no --gate is given: the usual go-ahead for rerankers."""
_PACE = {"colbert": (2.0, 5e-5), "bi-encoder": (3.0, 5e-5), "cross-encoder": (3.0, 5e-5)}
"""Passes and learning rate by student (benchmarks/LOG.md)."""
_PACE_OF_LAYERS = (1.5, 2e-4)
"""Those of a cross-encoder that lost layers: what is left has to find a new way through them."""
_MEASURED = 256
"""Documents and pairs on which it is measured what a student needs."""


class RerankerDistiller(Distiller[RerankerConfig]):
    """A small model that orders candidates as a big one does."""

    objective: Objective = "listwise"

    @cached_property
    def setup(self) -> Setup:
        """Models, data and scores."""
        return Setup(self.config, self.folder)

    @property
    def student_folder(self) -> Path:
        """Where the student is."""
        return self.folder / "student"

    def inputs(self) -> Mapping[str, str]:
        """Digests of teachers, student's base, first stage and data."""
        setup = self.setup
        # Whatever is wrong with models, data or options is said before anything is written, and
        # what costs least to find first.
        self._check_options()
        _ = self._recipe, setup.scorers, setup.base
        if self.config.teacher_weights is not None and not setup.served:
            _ = setup.blend
        # Questions that the teacher is to write are asked for when signals are collected.
        _ = setup.task, setup.writer or setup.questions
        made, coding = self._new_student(()), self.config.token_coding
        exporting.check_coding(made, setup.task.document_texts, coding)
        setup.finder.check(setup.task)
        setup.meet_teachers()
        _ = setup.spaces
        return setup.inputs

    def _check_options(self) -> None:
        """What can be seen without a model."""
        check_together(self.config)
        check_source(self.config.candidates_from)

    def outputs(self, stage: Stage) -> tuple[str, ...]:
        """What a finished stage has left."""
        judged = ("rankings/qrels.trec",) if self.setup.task.qrels else ()
        left: dict[Stage, tuple[str, ...]] = {
            "train": ("student/config.json",),
            "evaluate": (
                "rankings/first_stage.trec",
                "rankings/teacher.trec",
                "rankings/student.trec",
                *judged,
            ),
            "export": exporting.outputs(self.config.student),
        }
        return left.get(stage, ())

    @cached_property
    def _recipe(self) -> Recipe:
        config = self.config
        pruned = config.student == "cross-encoder" and config.smaller
        epochs, lr = _PACE_OF_LAYERS if pruned else _PACE[config.student]
        return Recipe(
            objective=self.objective,
            epochs=config.epochs or epochs,
            lr=config.lr or lr,
            seed=config.seed,
            batch_lists=config.batch_lists,
            chunk_tokens=config.chunk_tokens,
            temperature=config.temperature,
            margin=config.margin,
            in_batch=config.in_batch,
            trackers=trackers.parse(config.report_to),
        )

    def plan(self) -> Plan:
        """Pairs still to be scored, and what a sample of them takes on this machine."""
        self._check_options()
        return make_plan(self.setup, self._recipe, self.folder)

    def collect(self) -> Section:
        """The teachers' scores of training and evaluation lists."""
        done = self.setup.collect()
        return {"items": done.pairs, "tokens": done.tokens}

    def _new_student(self, pairs: Sequence[Pair]) -> students.Student:
        # Of a corpus in the order of its files the first documents are often of one kind.
        documents = self.setup.collection.documents
        chosen = sample(documents, _MEASURED, self.config.seed, key=lambda document: document.id)
        texts = [document.content for document in chosen]
        return students.make(self.config, self.setup.base.path, texts, pairs)

    @cached_property
    def _lesson(self) -> Lesson:
        lists, setup = self.setup.train_lists, self.setup
        target = setup.target(lists)
        relevant = [question.relevant for question in setup.questions]
        known = np.array([bool(places) for places in relevant])
        findings = examine(target, lists.there, known)
        if findings.confident.sum() < 2:
            raise UserError(
                f"the teacher tells documents apart in {int(findings.confident.sum())} of "
                f"{len(relevant)} lists, which is too little to learn from",
                where="--teacher",
                mend="choose another teacher, or bring more text",
            )
        return Lesson(lists, target, findings, setup.train_places, relevant)

    def train(self) -> Section:
        """The student, left in ``student/``."""
        # Whatever was pruned or damaged since it was collected is asked for again, and only that.
        self.setup.collect()
        pairs = sample(self.setup.train_lists.pairs, _MEASURED, self.config.seed, key="\n".join)
        student = self._new_student(pairs)
        found = training.fit(student, self._lesson, self._recipe, self.folder / "checkpoints")
        student.save(self.student_folder)
        return {
            "items": found.pop("items"),
            "tokens": found.pop("tokens"),
            "training": {**found, "objective": self.objective},
        }

    def _name(self, student: students.Student) -> str:
        config = self.config
        layers = f"-L{len(layers_of(student.model))}" if config.student_layers else ""
        neurons = f"-F{config.student_intermediate}" if config.student_intermediate else ""
        return f"{self.setup.base.name}{layers}{neurons}-{student.kind}"

    def evaluate(self) -> Section:
        """Quality of first stage, teacher and student on the same candidates, and the rankings."""
        setup, task = self.setup, self.setup.task
        setup.collect()
        lists, candidates, seed = setup.eval_lists, setup.eval_candidates, self.config.seed
        student = students.KINDS[self.config.student].load(self.student_folder, self.config.device)
        target, scores = setup.target(lists), student.score(lists)
        first = evaluation.reranked(task, candidates, candidates.scores)
        teacher = evaluation.reranked(task, candidates, target)
        ranked = evaluation.reranked(task, candidates, scores)
        systems = {"first_stage": first, "teacher": teacher, "student": ranked}
        retrieval.write_rankings(self.folder, task, systems)
        return {
            "items": len(task.queries),
            "teacher": describe_teacher(setup),
            "student": describe_student(
                self._name(student), self.student_folder, student, setup.base
            ),
            "data": describe_data(setup, self._lesson.findings),
            "quality": evaluation.quality(task, first, teacher, ranked, seed),
            "agreement": evaluation.agreement(target, scores, lists.there),
            "quality_by": quality_by(task, teacher, ranked, setup.near_duplicates, seed),
            "worst": worst(task, teacher, ranked),
        }

    def export(self) -> Section:
        """ONNX in fp32 and int8, each held against the student, what keeps tokens, and the speed of all."""
        setup, kind = self.setup, self.config.student
        student = students.KINDS[kind].load(self.student_folder, self.config.device)
        bench = exporting.Bench(
            self.folder,
            setup.task,
            setup.eval_candidates,
            setup.eval_lists,
            student,
            self.config.seed,
        )
        entries, serving = bench.export_all(self.config.token_coding)
        with TemporaryDirectory(dir=self.folder, prefix=".tokens-") as scratch:
            stored = bench.storage(Path(scratch))
        speed: dict[str, Any] = latency.measure(
            setup.eval_stage,
            setup.task.query_texts,
            setup.task.document_texts,
            setup.scorers,
            {"student": student, **serving},
            self.config.seed,
        )
        return {"exports": entries, "storage": stored, "speed": speed}

    def judge(self) -> Section:
        """The verdict on nDCG@10, from the rankings."""
        gate = self.config.gate or DEFAULT_GATE
        return {"verdict": retrieval.verdict(self.folder, gate, self.config.seed)}
