"""The rewriter's four stages: this file only hands things from one to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from ragdistill.data.collection import Query
from ragdistill.distiller import Distiller, Plan, Section, Stage
from ragdistill.first_stage import FirstStage
from ragdistill.metrics import retrieval, verdict
from ragdistill.metrics.by_query import quality_by
from ragdistill.metrics.worst import worst
from ragdistill.training import trackers
from ragdistill_query_rewriter import conversations, evaluation, exporting, training
from ragdistill_query_rewriter.config import RewriterConfig, check_together
from ragdistill_query_rewriter.describe import describe_data, describe_student, describe_teacher
from ragdistill_query_rewriter.objective import Objective
from ragdistill_query_rewriter.planning import make_plan
from ragdistill_query_rewriter.settings import Settings
from ragdistill_query_rewriter.setup import Setup
from ragdistill_query_rewriter.terms import TermStudent
from ragdistill_query_rewriter.training import Recipe

DEFAULT_GATE = 0.75
"""Share of the teacher's lift that the verdict asks for when no --gate is given."""


class TermsDistiller(Distiller[RewriterConfig]):
    """A token classifier that adds to a turn the words of its conversation that the search lacks."""

    @cached_property
    def setup(self) -> Setup:
        """Models, data and rewrites."""
        return Setup(self.config, self.folder)

    @property
    def student_folder(self) -> Path:
        """Where the student is."""
        return self.folder / "student"

    def inputs(self) -> Mapping[str, str]:
        """Digests of teacher, student's base and data."""
        self._check()
        self.setup.meet()
        _ = self.setup.texts
        return self.setup.inputs

    def _check(self) -> None:
        """Refuse what cannot be, before anything is written."""
        check_together(self.config)
        setup = self.setup
        _ = self._recipe, setup.writer, setup.learnt, setup.task, setup.dense_model
        student = setup.new_student()
        if setup.human:
            setup.check_lesson(student)

    def outputs(self, stage: Stage) -> tuple[str, ...]:
        """What a finished stage has left."""
        left: dict[Stage, tuple[str, ...]] = {
            "train": ("student/config.json", "student/rewriter.json"),
            "evaluate": (
                "rankings/raw.trec",
                "rankings/teacher.trec",
                "rankings/student.trec",
                "rankings/qrels.trec",
            ),
            "export": exporting.OUTPUTS,
        }
        return left.get(stage, ())

    @cached_property
    def _recipe(self) -> Recipe:
        config = self.config
        return Recipe(
            objective=Objective(
                labels=config.label_weight, effect=config.effect_weight, skip=config.skip_weight
            ),
            epochs=config.epochs,
            lr=config.lr,
            seed=config.seed,
            batch_tokens=config.batch_tokens,
            trackers=trackers.parse(config.report_to),
        )

    def plan(self) -> Plan:
        """Rewrites still to be written, and what a few of them take on this machine."""
        self._check()
        return make_plan(self.setup, self._recipe, self.folder)

    def collect(self) -> Section:
        """The teacher's rewrites."""
        return self.setup.collect()

    def train(self) -> Section:
        """The student, left in ``student/``."""
        # Whatever was pruned or damaged since it was collected is asked for again, and only that.
        setup = self.setup
        setup.collect()
        student = setup.new_student()
        setup.check_lesson(student)
        lesson = setup.examples(student, setup.learnt)
        apart = setup.examples(student, setup.chosen)
        checkpoints = self.folder / "checkpoints"
        found = training.fit(student, lesson, apart, self._recipe, checkpoints)
        student.settings, tried = self._settings(student)
        student.save(self.student_folder)
        return {
            "items": found.pop("items"),
            "tokens": found.pop("tokens"),
            "training": {**found, "objective": asdict(self._recipe.objective)},
            **tried,
        }

    def _settings(self, student: TermStudent) -> tuple[Settings, dict[str, Any]]:
        """The settings with the chances that are asked for, or else the best on held-out turns; and what
        was tried."""
        setup, config, told = self.setup, self.config, student.settings
        if config.threshold is not None:
            told = told.with_threshold(config.threshold)
        if config.skip is not None:
            told = told.with_skip(config.skip)
        tried: dict[str, Any] = {"thresholds": [], "skips": []}
        data = setup.collection
        judged = conversations.judgments(data, setup.chosen)
        ids = [document.id for document in data.documents]
        judge = evaluation.Judge(setup.stage, ids, setup.chosen, judged)
        if not judge.queries:
            return told, tried
        opinions = student.opinions(student.read(judge.queries))
        texts = [query.text for query in judge.queries]
        if config.threshold is None:
            told, found = training.choose_threshold(texts, opinions, told, judge)
            tried["thresholds"] = [asdict(each) for each in found]
        if config.skip is None and config.skip_weight:
            told, found = training.choose_skip(texts, opinions, told, judge)
            tried["skips"] = [asdict(each) for each in found]
        return told, tried

    def evaluate(self) -> Section:
        """What raw turns, the teacher's, the student's and humans' rewrites find, and the rewrites."""
        setup, task, seed = self.setup, self.setup.task, self.config.seed
        setup.collect()
        student = TermStudent.load(self.student_folder, self.config.device)
        texts = self._systems(student, task.queries)
        for name, rewrites in texts.items():
            evaluation.keep(self.folder, name, task.queries, rewrites)
        found = self._searched(setup.eval_stage, texts)
        retrieval.write_rankings(self.folder, task, found)
        near = setup.near_duplicates
        return {
            "items": len(task.queries),
            "teacher": describe_teacher(setup),
            "student": describe_student(self.student_folder, student, setup),
            "data": describe_data(setup),
            "quality": evaluation.quality(task, found, seed),
            "harm": self._harm(found),
            "changed": _changed(texts),
            "quality_by": quality_by(task, found["teacher"], found["student"], near, seed),
            "worst": worst(task, found["teacher"], found["student"]),
            **self._by_embedder(texts),
        }

    def _systems(self, student: TermStudent, queries: Sequence[Query]) -> dict[str, list[str]]:
        """The queries of each system. Who wrote no rewrite is taken to have left the turn alone."""
        raw = [query.text for query in queries]
        told = self.setup.rewrites(queries)
        systems = {
            "raw": raw,
            "teacher": [new or old for new, old in zip(told, raw, strict=True)],
            "student": student.rewrite(queries),
        }
        if student.settings.skip:
            eager = TermStudent(student.network, student.tokenizer, student.settings.with_skip(0))
            systems[evaluation.UNSKIPPED] = eager.rewrite(queries)
        if not self.setup.human and any(query.rewrite is not None for query in queries):
            systems["human"] = [query.rewrite or query.text for query in queries]
        return systems

    def _searched(
        self, stage: FirstStage, texts: Mapping[str, list[str]]
    ) -> dict[str, dict[str, Any]]:
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
        found = self._searched(setup.dense, texts)
        named = {f"{name}-dense": each for name, each in found.items()}
        retrieval.write_rankings(self.folder, setup.task, named)
        return {
            "dense": {
                "embedder": setup.dense.name,
                "quality": evaluation.quality(setup.task, found, self.config.seed),
                "harm": self._harm(found),
            }
        }

    def export(self) -> Section:
        """ONNX in fp32 and int8, each held against the student, and the speed of all."""
        setup = self.setup
        student = TermStudent.load(self.student_folder, "cpu")
        bench = exporting.Bench(self.folder, setup.task, setup.eval_stage, student)
        entries, serving = bench.export_all(self.config.seed)
        speed = exporting.speed({"student": student, **serving}, setup.task.queries)
        return {"exports": entries, "speed": speed}

    def judge(self) -> Section:
        """The verdict on the share of the teacher's lift in nDCG@10, from the rankings."""
        teacher, student = evaluation.retention(self.folder)
        gate = self.config.gate or DEFAULT_GATE
        seed, measure = self.config.seed, f"lift in {retrieval.HEADLINE}"
        found = verdict.decide(teacher, student, gate, seed, of=measure, within=(-1.0, 1.0))
        return {"verdict": found.as_json() | {"measure": retrieval.HEADLINE}}


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
