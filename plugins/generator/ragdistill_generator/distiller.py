"""The generator's four stages: this file only hands things from one to the next."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from ragdistill import causal
from ragdistill.distiller import Distiller, Plan, Section, Stage
from ragdistill.errors import UserError
from ragdistill.losses import LogitObjective
from ragdistill.metrics import answers, verdict
from ragdistill.metrics.by_query import Paired, by_asking, grouped
from ragdistill.training import trackers
from ragdistill_generator import cascade, diagnosing, evaluation, exporting, training, variants
from ragdistill_generator.cases import Case
from ragdistill_generator.config import GeneratorConfig, check_together
from ragdistill_generator.describe import describe_data, describe_student
from ragdistill_generator.planning import make_plan
from ragdistill_generator.policy_options import ASKED, TutorName, check_policy
from ragdistill_generator.setup import Setup
from ragdistill_generator.student import Student, make
from ragdistill_generator.training import Recipe
from ragdistill_generator.tutoring import check_tutor, tutor_of

DEFAULT_GATE = 0.93
"""What the verdict asks for when no --gate is given."""
_LR_OF_LAYERS, _LR, _LR_OF_LORA = 1e-3, 5e-5, 2e-4
"""Where layers were left out, what is left has to find a new way through them (benchmarks/LOG.md)."""


class GeneratorDistiller(Distiller[GeneratorConfig]):
    """A small language model that answers from contexts as a large one does."""

    told: ClassVar[bool] = False
    own: ClassVar[Literal["gold", "teacher"] | None] = None
    reasons: ClassVar[bool] = False
    made_of: ClassVar[type[Setup]] = Setup
    samples: ClassVar[bool] = False
    """Whether the student samples answers to learn from."""

    @cached_property
    def setup(self) -> Setup:
        """Models, data and signals."""
        return self.made_of(
            self.config, self.folder, told=self.told, own=self.own, tutor=self.tutor
        )

    @property
    def tutor(self) -> TutorName:
        """Who says how likely tokens are."""
        return self.config.tutor or ("live" if self.samples else "stored")

    @property
    def student_folder(self) -> Path:
        """Where the student is."""
        return self.folder / "student"

    def inputs(self) -> Mapping[str, str]:
        """Digests of teacher, student's base, data and template."""
        self._check()
        setup = self.setup
        _ = self._recipe, setup.prompter, setup.eval_cases, setup.gold, setup.ends
        setup.meet()
        setup.check_drawn()
        _ = setup.texts
        if setup.gold:
            _ = setup.learnt_pairs
        if setup.told:
            setup.check_tokens()
            cascade.check(self.config, self.folder)
            _ = setup.gold and setup.foreseen
            _ = setup.stores and not self.config.via and setup.distributions
        return setup.inputs

    def _check(self) -> None:
        """Refuse what cannot be, before anything is written."""
        config, setup, told = self.config, self.setup, self.told
        check_together(config, told=told, own=self.own, stored=told and self.tutor not in ASKED)
        if not self.reasons:
            config.refuse_reasoning_options()
        ours = (self.tutor, config.divergence, config.alpha)
        check_policy(config, *ours, told=told, samples=self.samples)
        check_tutor(setup)
        variants.check(setup)
        if setup.told and setup.served:
            raise UserError(
                "an endpoint's distributions over its tokens are not to be had",
                where="--method",
                mend="give --method sequence",
            )
        if setup.itself and setup.layers is None and config.lora is None:
            raise UserError(
                "the student would be the teacher itself",
                where="--student-layers",
                mend="keep fewer layers, as 15, or name another --student",
            )
        variants.check_architectures(setup)

    def outputs(self, stage: Stage) -> tuple[str, ...]:
        """What a finished stage has left."""
        left: dict[Stage, tuple[str, ...]] = {
            "train": ("student/config.json",),
            "evaluate": ("answers/teacher.jsonl", "answers/student.jsonl"),
        }
        return left.get(stage, ())

    @cached_property
    def _recipe(self) -> Recipe:
        config, setup = self.config, self.setup
        usual = _LR_OF_LAYERS if setup.layers is not None else _LR
        return Recipe(
            objective=LogitObjective(
                alpha=config.alpha if self.told else 0.0,
                temperature=config.temperature,
                divergence=config.divergence if config.beta is None else "jsd",
                beta=0.5 if config.beta is None else config.beta,
            ),
            epochs=config.epochs,
            lr=config.lr or (usual if config.lora is None else _LR_OF_LORA),
            seed=config.seed,
            lora=config.lora,
            int8=config.qat,
            context_weight=setup.context_weight,
            vocabulary=causal.words(setup.tokenizer),
            trackers=trackers.parse(config.report_to),
        )

    def plan(self) -> Plan:
        """Answers still to be written, and what a few of them take on this machine."""
        self._check()
        if self.told:
            self.setup.check_tokens()
        return make_plan(self.setup, self._recipe, self.folder)

    def collect(self) -> Section:
        """The teacher's answers, and its distributions over what is learnt; before, those in between are
        taught."""
        return self._collected()

    def _collected(self) -> Section:
        setup = self.setup
        wrote = setup.write()
        if setup.told and self.config.via:
            # What would be refused of the answers is, before anybody in between is taught.
            _ = setup.learnt_pairs, setup.foreseen
            cascade.teach(self.config, self.folder)
        told = setup.tell()
        return wrote | {name: wrote[name] + count for name, count in told.items()}

    def train(self) -> Section:
        """The student, left in ``student/``."""
        # Whatever was pruned or damaged since it was collected is asked for again, and only that.
        setup, config = self.setup, self.config
        self._collected()
        lesson = setup.full_lesson
        teacher = setup.mentor_network if config.follows else None
        vars(setup).pop("network", None)
        vars(setup).pop("mentor_network", None)
        vars(setup).pop("writer", None)
        vars(setup).pop("teller", None)
        student = make(
            setup.base, config.device, layers=setup.layers, prune=config.prune, lesson=lesson
        )
        recipe, folder = self._recipe, self.folder / "checkpoints"
        before = self._before(student)
        terms = variants.terms(
            config, student.network, teacher, recipe.objective, recipe.vocabulary
        )
        tutor = tutor_of(setup, student, lesson, samples=self.samples)
        found = training.fit(student, lesson, recipe, folder, tutor, terms)
        student.save(self.student_folder)
        return {
            "items": found.pop("items"),
            "tokens": found.pop("tokens"),
            "training": {
                **found,
                "objective": self.config.method or "logits",
                **self._besides(),
            },
            **before,
        }

    def _before(self, student: Student) -> Section:
        """How far the student can be believed that has learnt nothing yet, where right answers are known."""
        known = self.setup.as_lesson(self._right())
        if self.setup.served or not known.examples:
            return {}
        return {"calibration": {"before": evaluation.calibrated(student.network, known)}}

    def _right(self) -> list[tuple[Case, str]]:
        """What is measured on, with right answers where they are known."""
        cases = self.setup.eval_cases
        told = ((case, self.setup.known(case)) for case in cases)
        return [(case, answer) for case, answer in told if answer]

    def _besides(self) -> Section:
        """What became of distributions over other tokens, and what was mixed in."""
        setup = self.setup
        coverage = setup.coverage if setup.stores else None
        mixed = {} if setup.mix is None else {"mix": setup.mix.describe(setup.general)}
        return mixed | ({} if coverage is None else {"coverage": coverage.as_json()})

    def evaluate(self) -> Section:
        """Quality of teacher and student on the same questions, and their answers."""
        setup, config, seed = self.setup, self.config, self.config.seed
        setup.write()  # nothing else is measured by, so nobody in between is taught again
        student = Student.load(self.student_folder, config.device)
        cases = setup.eval_cases
        replies = {
            "teacher": [said.text.strip() for said in setup.measured_answers],
            "student": evaluation.answer(student, setup.prompter, cases, setup.new_tokens),
        }
        theirs, ours = ([setup.final(reply) for reply in each] for each in replies.values())
        for name, said in (("teacher", theirs), ("student", ours)):
            evaluation.keep(self.folder, name, cases, said, replies[name])
        measure, teacher, found = answers.headline(cases, theirs, ours)
        values, texts = Paired(measure, teacher, found), self._measured_texts(cases, measure)
        by = grouped(values, texts, None, seed) | {"asks": by_asking(values, texts, seed)}
        return {
            "items": len(cases),
            "teacher": setup.writer.describe(),
            "student": describe_student(self.student_folder, student, setup),
            "data": describe_data(setup),
            "quality": answers.quality(cases, theirs, ours, seed),
            "quality_by": by,
            **self._compared(student, theirs),
            **self.read(replies),
        }

    def read(self, replies: Mapping[str, list[str]]) -> dict[str, Any]:
        """What the report says of how replies could be read; nothing where a reply is its answer."""
        return {}

    @staticmethod
    def _measured_texts(cases: Any, measure: str) -> list[str]:
        """The questions that the headline applies to, in their order."""
        every = measure == answers.AGREEMENT
        return [
            case.question for case in cases if every or case.references or case.answerable is False
        ]

    def _compared(self, student: Student, theirs: list[str]) -> dict[str, Any]:
        """How alike both foretell the teacher's answers, and how far they can be believed where the right
        ones are known; of a teacher that is here."""
        setup, found = self.setup, dict[str, Any]()
        if setup.served:
            return found
        networks = {"teacher": setup.network, "student": student.network}
        cases = setup.eval_cases
        written = setup.as_lesson(zip(cases, theirs, strict=True))
        if self.told and written.examples and setup.theirs.like(setup.ours):
            words = causal.words(setup.tokenizer)
            found["agreement"] = evaluation.agreement(
                networks["teacher"], networks["student"], written, words
            )
        right = self._right()
        known = setup.as_lesson(right)
        if known.examples:
            lessons = {"teacher": setup.theirs.lesson(right), "student": known}
            found["calibration"] = {
                name: evaluation.calibrated(network, lessons[name])
                for name, network in networks.items()
            }
        return found

    def diagnose(self, show: int) -> Section:
        """Student and teacher on what was held out of training."""
        student = Student.load(self.student_folder, self.config.device)
        return diagnosing.diagnose(self.setup, student, show)

    def export(self) -> Section:
        """What the student is served as, each held against it, and the speed of all."""
        return exporting.export(self.setup, self.folder, self.config)

    def judge(self) -> Section:
        """The verdict, from the answers."""
        cases, theirs = evaluation.kept(self.folder, "teacher")
        _, ours = evaluation.kept(self.folder, "student")
        measure, teacher, found = answers.headline(cases, theirs, ours)
        gate, seed = self.config.gate or DEFAULT_GATE, self.config.seed
        decided = verdict.decide(teacher, found, gate, seed, within=(0.0, 1.0))
        return {"verdict": decided.as_json() | {"measure": measure}}
