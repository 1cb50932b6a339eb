"""The four stages of a student that writes expansions."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from ragdistill.data.collection import Query
from ragdistill.distiller import Plan, Section, Stage
from ragdistill.errors import UserError
from ragdistill.first_stage import FirstStage
from ragdistill.metrics.latency import profile_requests
from ragdistill.metrics.trec import Rankings
from ragdistill.training import trackers
from ragdistill_query_rewriter import evaluation, scratch, sequence_training, sequences
from ragdistill_query_rewriter import sequence_exporting as exporting
from ragdistill_query_rewriter.checks import check_together
from ragdistill_query_rewriter.describe import describe_writer
from ragdistill_query_rewriter.distiller import RANKINGS, RewriterDistiller
from ragdistill_query_rewriter.expand_planning import make_plan
from ragdistill_query_rewriter.expand_setup import ExpandSetup
from ragdistill_query_rewriter.expander import WINDOW, Expander
from ragdistill_query_rewriter.filtering import Filtered
from ragdistill_query_rewriter.sequence_training import SequenceRecipe
from ragdistill_query_rewriter.sequences import Pair, Seq2SeqStudent, SequenceStudent
from ragdistill_query_rewriter.settings import SequenceSettings

_TIMED = 200
"""Queries that speed is measured with."""


class SequenceDistiller(RewriterDistiller):
    """A small network that writes what a teacher would, where that helps the search."""

    gate: ClassVar[float] = 0.9
    headline: ClassVar[str] = "R@100"
    left: ClassVar[dict[Stage, tuple[str, ...]]] = {
        "train": ("student/config.json", "student/rewriter.json"),
        "evaluate": RANKINGS,
    }

    @cached_property
    def setup(self) -> ExpandSetup:
        """Models, data and expansions."""
        return ExpandSetup(self.config, self.folder)

    def check(self) -> None:
        """See :class:`RewriterDistiller`."""
        if self.config.task != "expand":
            raise UserError(
                "sequence learns what was written for queries that stand by themselves",
                where="--method",
                mend="give --task expand, or leave it out",
            )
        check_together(self.config)
        setup = self.setup
        _ = self._recipe, setup.dense_model, setup.writer, setup.learnt, setup.task
        setup.check_judged()
        if setup.base is not None:
            sequences.make(setup.base, "cpu", self._settings, self.config.student_layers)

    @property
    def _settings(self) -> SequenceSettings:
        config, way = self.config, self.setup.way
        return SequenceSettings(
            window=config.window or WINDOW,
            new_tokens=config.expansion_tokens,
            student="causal" if config.student == "causal" else "seq2seq",
            combine=way.combine,
            original_weight=way.original_weight,
        )

    def new_student(self) -> SequenceStudent:
        """A student that has learnt nothing yet."""
        setup, config = self.setup, self.config
        if setup.base is not None:
            return sequences.make(setup.base, config.device, self._settings, config.student_layers)
        texts = [document.content for document in setup.collection.documents]
        made = scratch.make([*texts, *(query.text for query in setup.learnt)], config.seed)
        return Seq2SeqStudent(*made, self._settings).on(config.device)

    @cached_property
    def _recipe(self) -> SequenceRecipe:
        config = self.config
        return SequenceRecipe(
            epochs=config.epochs,
            lr=config.lr,
            seed=config.seed,
            batch_tokens=config.batch_tokens,
            words=config.student != "causal",
            trackers=trackers.parse(config.report_to),
        )

    def plan(self) -> Plan:
        """Expansions still to be written, and what a few of them take on this machine."""
        self.check()
        return make_plan(self.setup, self._recipe, self.folder)

    def train(self) -> Section:
        """The student, left in ``student/``."""
        # Whatever was pruned or damaged since it was collected is asked for again, and only that.
        self.setup.collect()
        lesson, apart = (
            self.setup.filtered(queries) for queries in (self.setup.learnt, self.setup.chosen)
        )
        made = self.setup.filtered_made()
        _check_lesson(lesson, made)
        student = self.new_student()
        learnt, chosen, besides = (_pairs(student, each) for each in (lesson, apart, made))
        learnt += besides
        student.capped(max(len(pair.target) for pair in learnt))
        checkpoints = self.folder / "checkpoints"
        found = sequence_training.fit(student, learnt, chosen, self._recipe, checkpoints)
        student.save(self.student_folder)
        return {
            "items": found.pop("items"),
            "tokens": found.pop("tokens"),
            "training": {**found, "objective": "sequence"},
            "filter": lesson.as_json()
            | {
                "filtered": self.config.effect_filter,
                "made": made.as_json() if made.queries else None,
            },
        }

    def student(self, device: str) -> SequenceStudent:
        """See :class:`RewriterDistiller`."""
        return sequences.load(self.student_folder, device)

    def described(self, student: SequenceStudent) -> dict[str, Any]:
        """See :class:`RewriterDistiller`."""
        return describe_writer(self.student_folder, student, self.setup)

    def systems(self, student: SequenceStudent, queries: Sequence[Query]) -> dict[str, list[str]]:
        """See :class:`RewriterDistiller`. What is no whole expansion leaves its query alone."""
        way, told = self.setup.way, self.setup.expanded(queries, measured=True)
        pairs = zip(queries, told, strict=True)
        return {
            "raw": [query.text for query in queries],
            "teacher": [way.text(query.text, each.variants) for query, each in pairs],
            "student": student.rewrite(queries),
        }

    def searched(
        self, stage: FirstStage, texts: Mapping[str, list[str]]
    ) -> dict[str, dict[str, Any]]:
        """See :class:`RewriterDistiller`: variants are searched with as the run says."""
        setup, task = self.setup, self.setup.task
        ids = [document.id for document in task.documents]
        return {
            name: dict(
                evaluation.search(stage, ids, task.queries, each)
                if name == "raw"
                else setup.way.find(stage, ids, task.queries, each)
            )
            for name, each in texts.items()
        }

    def export(self) -> Section:
        """For ctranslate2, where it is installed, held against the student, and the speed of all."""
        setup = self.setup
        queries = list(setup.task.queries)[:_TIMED]
        student = self.student("cpu")
        bench = exporting.Bench(self.folder, student, setup.task, self._found)
        entries, exports = bench.export(self.config.seed)
        systems: dict[str, Callable[[int], object]] = {}
        if not setup.served:
            requests = [[setup.request(query)] for query in queries]
            systems["teacher"] = lambda number: list(setup.eval_writer.write(requests[number]))
        for name, system in {"student": student, **exports}.items():
            systems[name] = _expanding(system, queries)
        return {"exports": entries, "speed": profile_requests(systems, len(queries), items=1)}

    def _found(self, texts: list[str]) -> Rankings:
        """What the task's queries find as they are rewritten."""
        return self.searched(self.setup.eval_stage, {"student": texts})["student"]


def _expanding(system: Expander, queries: Sequence[Query]) -> Callable[[int], object]:
    return lambda number: system.rewrite([queries[number]])


def _pairs(student: SequenceStudent, lesson: Filtered) -> list[Pair]:
    """What is learnt and is no longer than may be written."""
    pairs = [student.pair(query.text, target) for query, target in lesson.taught]
    return [pair for pair in pairs if len(pair.target) <= student.settings.new_tokens]


def _check_lesson(lesson: Filtered, made: Filtered) -> None:
    """Refuse a lesson that teaches nothing.

    Raises:
        UserError: no expansion is taught.
    """
    if any(target for _, target in (*lesson.taught, *made.taught)):
        return
    told = lesson.as_json()
    counts = {name: told[name] for name in ("good", "no_better", "worse", "unjudged", "fault")}
    said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
    faults = ", ".join(f"{count} {name}" for name, count in told["faults"].items())
    raise UserError(
        f"none of the expansions of {told['queries']} queries is taught ({said}{'; ' * bool(faults)}{faults})",
        where="--teacher",
        mend="bring more judged queries, name another teacher, or teach everything with --no-effect-filter",
    )
