"""What the embedder's stages stand on: each thing is read once, and only when it is needed."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ragdistill.data.collection import Collection
from ragdistill.data.loading import load
from ragdistill.data.splits import choose
from ragdistill.errors import UserError
from ragdistill.metrics import retrieval
from ragdistill.metrics.retrieval import Task, Vectors
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.signals import default_address
from ragdistill.signals.fingerprint import text_key
from ragdistill.signals.store import SignalStore, Space
from ragdistill_embedder import collecting, training
from ragdistill_embedder.config import EmbedderConfig
from ragdistill_embedder.teacher import LocalTeacher, Teacher
from ragdistill_embedder.texts import Role, TrainText, training_texts


class Setup:
    """Models, data and stored signals of one run."""

    def __init__(self, config: EmbedderConfig) -> None:
        self._config = config

    @cached_property
    def teacher(self) -> Teacher:
        """Who is asked."""
        config = self._config
        model = resolve(config.teacher, kind="embedder")
        return LocalTeacher(model, config.device, max_length=config.max_length)

    @cached_property
    def base(self) -> ResolvedModel:
        """The files of the model that the student is made of."""
        config = self._config
        base = resolve(config.student, kind="embedder") if config.student else self.teacher.model
        if base is None:
            raise UserError(
                "the teacher has no layers here that a student could be made of",
                where="--student",
                mend="name a model, as --student MiniLM",
            )
        if config.student_layers is None and base.weights_digest == self.teacher.digest:
            raise UserError(
                "the student would be the teacher itself",
                where="--student",
                mend="name another model, or keep fewer layers with --student-layers 3",
            )
        return base

    @cached_property
    def collection(self) -> Collection:
        """The text to learn from."""
        return load(self._config.data)

    @cached_property
    def eval_collection(self) -> Collection:
        """What is measured on."""
        return load(self._config.eval_data) if self._config.eval_data else self.collection

    @cached_property
    def task(self) -> Task:
        """The judged queries."""
        if self._config.eval_data is not None:
            choose(self.eval_collection)  # what is named for evaluation must have judgments
        return retrieval.make_task(
            self.eval_collection, limit=self._config.eval_queries, seed=self._config.seed
        )

    @cached_property
    def texts(self) -> list[TrainText]:
        """What is learnt from: no evaluation query is among it."""
        splits = self.eval_collection.qrels
        # A query that two splits judge is an evaluation query, too.
        judged = {query for split, rows in splits.items() if split != "train" for query in rows}
        train = set(splits.get("train", {})) - judged
        avoid = [query.text for query in self.eval_collection.queries if query.id not in train]
        if not self.eval_collection.queries:
            avoid = [retrieval.opening(document) for document in self.eval_collection.documents]
        texts = training_texts(
            self.collection, limit=self._config.train_items, seed=self._config.seed, avoid=avoid
        )
        if len(texts) < 2:
            raise UserError(
                "holds too little text to learn from",
                where=self._config.data,
                mend="give at least two texts",
            )
        return texts

    @property
    def by_role(self) -> dict[Role, str]:
        """The teacher's prompt of each role."""
        prompts = self.teacher.prompts
        return {"query": prompts.query, "passage": prompts.passage}

    def meet_teacher(self) -> None:
        """Let the teacher show who it is, before anything is asked that is to be stored."""
        self.teacher.meet(lambda: bool(self.wish(self.wanted()).unasked()))
        vars(self).pop("spaces", None)

    @cached_property
    def spaces(self) -> dict[Role, Space]:
        """Where the teacher's vectors are stored."""
        return self._spaces(None)

    @cached_property
    def windows(self) -> dict[Role, Space] | None:
        """Where its token states are stored; None unless the student is made of its layers and
        reads the very same tokens, for only then are their states of the same kind."""
        base, teacher = self.base, self.teacher.model
        if teacher is None:
            return None
        mine, theirs = ((model.weights_digest, model.tokenizer_digest) for model in (base, teacher))
        return self._spaces(training.WINDOW_TOKENS) if mine == theirs else None

    def _spaces(self, window: int | None) -> dict[Role, Space]:
        teacher, dtype = self.teacher, self._config.store_dtype
        return collecting.open_spaces(
            SignalStore(self._config.store or default_address()),
            {
                role: teacher.fingerprint(prompt, dtype, window=window)
                for role, prompt in self.by_role.items()
            },
            teacher.known_as,
            accept_change=self._config.accept_teacher_change,
        )

    def evaluation_texts(self) -> list[TrainText]:
        """Queries and documents of the task, as the teacher is asked about them."""
        return [
            *(TrainText(text, "query") for text in self.task.query_texts),
            *(TrainText(text, "passage") for text in self.task.document_texts),
        ]

    def wanted(self) -> list[TrainText]:
        """All that the teacher has to be asked about, each text once."""
        return list(dict.fromkeys([*self.texts, *self.evaluation_texts()]))

    def wish(self, texts: Sequence[TrainText], *, states: bool = False) -> collecting.Wish:
        """Vectors of ``texts``, and token ``states`` too."""
        if states:
            return collecting.Wish(texts, self.spaces, self.windows, training.WINDOW_TOKENS)
        return collecting.Wish(texts, self.spaces)

    def collect(self, *wishes: collecting.Wish) -> collecting.Collected:
        """Ask the teacher for what is not stored yet."""
        return collecting.collect(self.teacher, wishes, self.by_role)

    def stored(self, texts: list[str], role: Role) -> Vectors:
        """The teacher's unit vectors ``[n, d]`` from the store."""
        found: Vectors = self.spaces[role].get([text_key(text) for text in texts])
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found
