"""The four stages of a term selector."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar

from ragdistill.data.collection import Query
from ragdistill.distiller import Plan, Section, Stage
from ragdistill.errors import UserError
from ragdistill.training import trackers
from ragdistill_query_rewriter import conversations, evaluation, exporting, training
from ragdistill_query_rewriter.checks import check_together
from ragdistill_query_rewriter.describe import describe_student
from ragdistill_query_rewriter.distiller import RANKINGS, RewriterDistiller
from ragdistill_query_rewriter.objective import Objective
from ragdistill_query_rewriter.planning import make_plan
from ragdistill_query_rewriter.settings import Settings
from ragdistill_query_rewriter.term_setup import TermSetup
from ragdistill_query_rewriter.terms import TermStudent
from ragdistill_query_rewriter.training import Recipe


class TermsDistiller(RewriterDistiller):
    """A token classifier that adds to a turn the words of its conversation that the search lacks."""

    gate: ClassVar[float] = 0.75
    left: ClassVar[dict[Stage, tuple[str, ...]]] = {
        "train": ("student/config.json", "student/rewriter.json"),
        "evaluate": RANKINGS,
        "export": exporting.OUTPUTS,
    }

    @cached_property
    def setup(self) -> TermSetup:
        """Models, data and rewrites."""
        return TermSetup(self.config, self.folder)

    def check(self) -> None:
        """See :class:`RewriterDistiller`."""
        if self.config.task != "rewrite":
            raise UserError(
                "terms picks words of conversations",
                where="--method",
                mend="give --task rewrite, or leave it out",
            )
        check_together(self.config)
        setup = self.setup
        _ = self._recipe, setup.writer, setup.learnt, setup.task, setup.dense_model
        student = setup.new_student()
        if setup.human:
            setup.check_lesson(student)

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
        self.check()
        return make_plan(self.setup, self._recipe, self.folder)

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

    def student(self, device: str) -> TermStudent:
        """See :class:`RewriterDistiller`."""
        return TermStudent.load(self.student_folder, device)

    def described(self, student: TermStudent) -> dict[str, Any]:
        """See :class:`RewriterDistiller`."""
        return describe_student(self.student_folder, student, self.setup)

    def systems(self, student: TermStudent, queries: Sequence[Query]) -> dict[str, list[str]]:
        """See :class:`RewriterDistiller`. Who wrote no rewrite is taken to have left the turn alone."""
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

    def export(self) -> Section:
        """ONNX in fp32 and int8, each held against the student, and the speed of all."""
        setup = self.setup
        student = self.student("cpu")
        bench = exporting.Bench(self.folder, setup.task, setup.eval_stage, student)
        entries, serving = bench.export_all(self.config.seed)
        speed = exporting.speed({"student": student, **serving}, setup.task.queries)
        return {"exports": entries, "speed": speed}
