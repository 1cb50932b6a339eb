"""The embedder's four stages: this file only hands things from one to the next."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from ragdistill import processes
from ragdistill.data.training_texts import Role
from ragdistill.distiller import Distiller, Plan, Section, Stage
from ragdistill.encoder import Encoder, cut_at, encoder_of, load_encoder
from ragdistill.errors import UserError
from ragdistill.metrics import retrieval, storage, suites
from ragdistill.metrics.by_query import quality_by
from ragdistill.metrics.retrieval import Vectors
from ragdistill.metrics.trec import Rankings
from ragdistill.metrics.worst import worst
from ragdistill.signals.store import Space
from ragdistill.training import preparing
from ragdistill_embedder import (
    asymmetric,
    exporting,
    indexing,
    narrowing,
    prefixes,
    starting,
    static,
    student,
    tasks,
    training,
)
from ragdistill_embedder.collecting import Wish
from ragdistill_embedder.config import EmbedderConfig, check_together
from ragdistill_embedder.contrastive import Objective, mine
from ragdistill_embedder.describe import (
    describe_data,
    describe_student,
    describe_teacher,
    rankings_of,
)
from ragdistill_embedder.lesson import (
    Recipe,
    in_order,
    make_lesson,
    make_recipe,
    token_lengths,
    tokenised,
)
from ragdistill_embedder.planning import make_plan
from ragdistill_embedder.setup import Setup
from ragdistill_embedder.teacher_index import TeacherIndex, digest, teacher_index
from ragdistill_embedder.weighing import KEPT

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

DEFAULT_GATE = 0.93
"""What the verdict asks for when no --gate is given: the usual go-ahead of the field."""


class EmbedderDistiller(Distiller[EmbedderConfig]):
    """A small sentence embedder that places texts as a big one does."""

    joint = ("collect", "train")
    similarity_weight = 0.0
    """Weight of the similarity loss beside the regression; each method has its own."""
    state_weight = 0.0
    """Weight of the regression onto the teacher's token states."""
    objective: Objective | None = None
    """What is learnt of texts that the teacher's vectors name, and its weight beside the
    regression."""
    objective_weight = 0.0

    @cached_property
    def setup(self) -> Setup:
        """Models, data and signals."""
        return Setup(self.config, self.folder)

    @property
    def student_folder(self) -> Path:
        """Where the student is."""
        return self.folder / "student"

    def inputs(self) -> Mapping[str, str]:
        """Digests of teacher, student's base and data."""
        setup = self.setup
        # Whatever is wrong with models, data or options is said before anything is written, and
        # what costs least to find first.
        check_together(self.config)
        _ = self._recipe, self._mteb_tasks
        _ = setup.base, setup.task, setup.texts
        if setup.static:
            static.check_teacher(setup.teacher.encoder)
        width = setup.teacher.dimensions if setup.static else self._new_student().dimensions
        setup.meet_teacher()
        _ = self._dims, setup.spaces, self._windows
        if self.config.asymmetric:
            width = setup.teacher.dimensions
        indexing.check(self.config, self._dims[0] if self._dims else width, setup.task)
        brought = {}
        if self.config.teacher_index is not None:
            _ = self._index
            brought = {"teacher_index": digest(self.config.teacher_index)}
        return brought | {
            "teacher": setup.teacher.digest,
            "student": setup.base.weights_digest,
            "data": setup.collection.digest,
            "eval_data": setup.eval_collection.digest,
        }

    def check_joint(self) -> None:
        """Refuse what one process does."""
        mend = "start without torchrun"
        if self.config.ray is not None:
            raise UserError("hands texts out from one process", where="--ray", mend=mend)
        if self.objective or self.setup.static:
            where = "--student" if self.setup.static else "--method"
            raise UserError("is trained by one process", where=where, mend=mend)

    def outputs(self, stage: Stage) -> tuple[str, ...]:
        """What a finished stage has left."""
        left: dict[Stage, tuple[str, ...]] = {
            "train": ("student/model.safetensors",),
            "evaluate": (
                "rankings/teacher.trec",
                "rankings/student.trec",
                *prefixes.rankings_of(self._dims),
                *(storage.rankings_of(self._dims) if self.config.teacher_index is None else ()),
                *rankings_of(self.setup),
                *(("rankings/qrels.trec",) if self.setup.task.qrels else ()),
                exporting.VECTORS,
            ),
            "export": exporting.outputs(self.folder, indexed=self.config.teacher_index is None),
        }
        return left.get(stage, ())

    @cached_property
    def _index(self) -> TeacherIndex | None:
        """The teacher's own index, if that is what is searched."""
        if not self.config.asymmetric:
            return None
        return teacher_index(self.setup, self.config.teacher_index)

    @cached_property
    def _dims(self) -> prefixes.Dims:
        return prefixes.parse_dims(self.config.dims, self.setup.teacher.dimensions)

    @property
    def _windows(self) -> Mapping[Role, Space] | None:
        return self.setup.windows if self.state_weight else None

    @cached_property
    def _mteb_tasks(self) -> "list[AbsTask]":
        return suites.find(self.config.mteb)

    @cached_property
    def _recipe(self) -> Recipe:
        return make_recipe(
            self.config,
            static=self.setup.static,
            similarity_weight=self.similarity_weight,
            state_weight=self.state_weight,
            objective=self.objective,
            objective_weight=self.objective_weight,
        )

    @cached_property
    def _wishes(self) -> tuple[Wish, ...]:
        """All that the teacher has to be asked for: token states only of what training meets."""
        setup, everything = self.setup, self.setup.wanted()
        if self._windows is None:
            return tuple(setup.wishes(everything))
        texts, count = in_order(setup.texts, self.config.seed)
        lengths = token_lengths(setup.teacher.reader, texts, setup.by_role)
        studied = make_lesson(texts, count, lengths, self._recipe).studied()
        return (
            setup.state_wish([item for item in everything if item in studied]),
            *setup.wishes([item for item in everything if item not in studied]),
        )

    def plan(self) -> Plan:
        """Texts still to be asked for, and what a sample of them takes on this machine."""
        check_together(self.config)
        if self.setup.teacher.dimensions:  # an endpoint's are not known before it is asked
            _ = self._dims
        learner = None if self.setup.static else self._new_student()
        return make_plan(self.setup, self._recipe, self._wishes, learner, self.folder)

    def collect(self) -> Section:
        """The teacher's vectors of training texts, evaluation documents and queries."""
        asked = self.setup.collect(self._wishes)
        return {"items": asked.texts, "tokens": asked.tokens}

    def train(self) -> Section:
        """The student, left in ``student/``."""
        setup, config, recipe = self.setup, self.config, self._recipe
        # Whatever was pruned or damaged since it was collected is asked for again, and only that.
        setup.collect(self._wishes)
        cut = self._cut
        learner = self._new_student(cut)
        axes = head = None
        if self.config.asymmetric:
            student.reach(learner.model, setup.teacher.dimensions, config.seed, self._start())
        elif self._dims:
            axes = prefixes.find_axes(setup, setup.texts, self._dims, config.seed)
            prefixes.turn(learner.model, axes, config.seed, self._start())
        else:
            widths = learner.dimensions, setup.teacher.dimensions
            head = narrowing.back(cut, *widths) or student.projection(
                *widths, config.seed, self._start()
            )
        texts, count = in_order(setup.texts, config.seed)
        rows = tokenised(learner, texts, setup.by_role)
        lesson = make_lesson(texts, count, [max(1, len(row)) for row in rows], recipe)
        mined = mine(texts, setup.stored_all(texts), recipe.negatives) if self.objective else None
        signals = training.StoredSignals(texts, rows, learner, setup.vectors, self._windows, mined)
        checkpoints = self.folder / "checkpoints"
        states = narrowing.state_head(cut, learner, setup.teacher) if self._windows else None
        result = training.fit(learner, head, lesson, signals, recipe, checkpoints, axes, states)
        if processes.rank() == 0:
            self._save(learner.model, head)
        return {
            "items": result.pop("items"),
            "tokens": result.pop("tokens"),
            "training": {
                **result,
                "token_states": self._windows is not None,
                **({KEPT: setup.weights} if len(setup.sources) > 1 else {}),
            },
        }

    @property
    def _cut(self) -> narrowing.Cut | None:
        """What is left of the student's width, chosen on the training text."""
        if not self.config.narrower:
            return None
        base = load_encoder(self.setup.base.path, self.config.device)
        return narrowing.best_cut(base, self.config, self.setup.texts, self.setup.by_role)

    def _start(self) -> Tensor | None:
        """The map with which the student's vectors begin in the teacher's space, if it can be told."""
        return starting.map_to_teacher(self.setup, lambda: self._new_student(whole=True))

    def _new_student(self, cut: narrowing.Cut | None = None, *, whole: bool = False) -> Encoder:
        """The student as it begins; where no ``cut`` of its width was chosen, one of that size. The
        ``whole`` of it has all layers still."""
        teacher = self.setup.teacher
        if self.setup.static:
            reader = static.check_teacher(teacher.encoder)
            return static.make_static(
                reader,
                teacher.prompts,
                [self.setup.by_role[item.role] + item.text for item in self.setup.texts],
            )
        base = load_encoder(self.setup.base.path, self.config.device)
        if cut := cut or narrowing.some_cut(base, self.config):
            narrowing.make_narrow(base.model, cut)
        layers = None if whole else self.config.student_layers
        model = student.make_student(base, layers, teacher.prompts)
        cut_at(model, min(base.max_length, teacher.max_length or base.max_length))
        # In half precision the small steps of training would be lost.
        return encoder_of(model.float())

    def _save(self, model: SentenceTransformer, head: nn.Linear | None) -> None:
        model.save_pretrained(str(self.student_folder), create_model_card=False)
        if head is not None:
            training.save_projection(head, self.student_folder)

    def _name(self, learner: Encoder) -> str:
        if self.setup.static:
            return f"{self.setup.base.name}-static"
        name = self.setup.base.name
        if self.config.student_layers is not None:
            name += f"-L{len(preparing.layers_of(learner.model))}"
        return name + narrowing.suffix(self.config)

    def evaluate(self) -> Section:
        """Quality of teacher and student, the leakage audit, and the rankings."""
        setup, task = self.setup, self.setup.task
        setup.collect(setup.wishes(setup.wanted()))
        teacher = self._rank(
            setup.stored(task.query_texts, "query"),
            lambda: setup.stored(task.document_texts, "passage"),
        )
        learner = load_encoder(self.student_folder, self.config.device)
        vectors, seconds = exporting.encode_task(learner, task, setup.by_role)
        exporting.keep_vectors(self.folder, vectors)
        ranked = self._rank(vectors.queries, lambda: vectors.documents)
        retrieval.write_rankings(self.folder, task, {"teacher": teacher, "student": ranked})
        pair = (vectors.queries, vectors.documents)
        seed = self.config.seed
        found = {
            "items": len(task.queries),
            "teacher": describe_teacher(self.folder, setup, teacher),
            "student": describe_student(
                self._name(learner), self.student_folder, learner, setup.base
            ),
            "data": describe_data(setup),
            "quality": retrieval.quality(task.qrels, teacher, ranked, seed),
            "prefixes": prefixes.measure(self.folder, task, teacher, pair, self._dims, seed),
            "quality_by": quality_by(task, teacher, ranked, setup.near_duplicates, seed),
            "worst": worst(task, teacher, ranked),
            "mteb": tasks.measure(self.folder, self._mteb_tasks, setup, learner),
        }
        searched = exporting.searched_documents(vectors, self._index)
        if searched is not None:
            ground = storage.Ground(self.folder, task, teacher, vectors.queries, searched, seed)
            found["storage"] = storage.measure(ground, setup.rank, self._dims)
        if self._index is not None:
            found["asymmetric"] = asymmetric.section(
                self.folder, setup, self._index, teacher, vectors, seconds, learner
            )
        return found

    def _rank(self, queries: Vectors, documents: Callable[[], Vectors]) -> Rankings:
        """What ``queries`` find: in the teacher's index, if that is searched, else in ``documents``."""
        if self._index is not None:
            return self._index.rank(self.setup.task, queries)
        return retrieval.rank(self.setup.task, queries, documents())

    def export(self) -> Section:
        """ONNX in fp32 and int8, each held against the student, and the speed of all."""
        learner = load_encoder(self.student_folder, self.config.device)
        return exporting.export_all(
            self.folder,
            learner,
            self.setup.teacher,
            self.setup.task,
            self.setup.by_role,
            self.config.seed,
            (self.config.index, self.config.index_vectors),
            self._index,
        )

    def judge(self) -> Section:
        """The verdict on nDCG@10, from the rankings."""
        gate = self.config.gate or DEFAULT_GATE
        return {"verdict": retrieval.verdict(self.folder, gate, self.config.seed)}

    def judge_system(self, system: str, compared: int) -> Section:
        """The same of an export, too, as one of several."""
        gate, seed = self.config.gate or DEFAULT_GATE, self.config.seed
        return retrieval.verdict_of(self.folder, system, gate, seed, compared=compared)
