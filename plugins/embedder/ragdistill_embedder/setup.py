"""What the embedder's stages stand on: each thing is read once, and only when it is needed."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ragdistill.data import leakage
from ragdistill.data.collection import Collection
from ragdistill.data.loading import load
from ragdistill.data.splits import choose
from ragdistill.errors import UserError
from ragdistill.metrics import retrieval, suites
from ragdistill.metrics.retrieval import Task, Vectors
from ragdistill.metrics.trec import Rankings
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.signals import default_address
from ragdistill.signals.fingerprint import text_key
from ragdistill.signals.store import SignalStore, Space
from ragdistill_embedder import collecting, objective, together
from ragdistill_embedder.config import STATIC, EmbedderConfig
from ragdistill_embedder.encoder import load_encoder
from ragdistill_embedder.endpoint.address import PREFIX
from ragdistill_embedder.endpoint.teacher import EndpointTeacher
from ragdistill_embedder.student import same_transformer
from ragdistill_embedder.teacher import LocalTeacher, Teacher
from ragdistill_embedder.texts import Role, TrainText, training_texts


class Setup:
    """Models, data and stored signals of one run."""

    def __init__(self, config: EmbedderConfig) -> None:
        self.config = config

    @cached_property
    def teacher(self) -> Teacher:
        """Who is asked."""
        config = self.config
        if config.teacher.startswith(PREFIX):
            return EndpointTeacher(config, lambda: self.base)
        if config.teacher_url is not None:
            raise UserError(
                f"the teacher {config.teacher!r} is not behind an endpoint",
                where="--teacher-url",
                mend=f"leave it out, or give --teacher {PREFIX}NAME",
            )
        model = resolve(config.teacher, kind="embedder")
        return LocalTeacher(model, config.device, max_length=config.max_length)

    @property
    def static(self) -> bool:
        """Whether the student is to be one without a transformer."""
        return self.config.student == STATIC

    @cached_property
    def base(self) -> ResolvedModel:
        """The files of the model that the student is made of."""
        config = self.config
        named = None if self.static else config.student
        base = resolve(named, kind="embedder") if named else self.teacher.model
        if base is None:
            raise UserError(
                "the teacher has no layers here that a student could be made of",
                where="--student",
                mend="name a model, as --student MiniLM",
            )
        if self.static and config.student_layers is not None:
            raise UserError(
                "a static student has no layers", where="--student-layers", mend="leave it out"
            )
        if self.static and config.lora is not None:
            raise UserError(
                "a static student has no linear layers", where="--lora", mend="leave it out"
            )
        if self.static and config.narrower:
            raise UserError(
                "a static student has no transformer to make narrower",
                where="--student-hidden",
                mend="leave it and --student-intermediate out; --dims shortens vectors",
            )
        same = base.weights_digest == self.teacher.digest
        whole = config.student_layers is None and not config.narrower
        if same and whole and not self.static:
            raise UserError(
                "the student would be the teacher itself",
                where="--student",
                mend="name another model, or keep fewer layers with --student-layers 3",
            )
        return base

    @cached_property
    def collection(self) -> Collection:
        """The text to learn from."""
        return load(self.config.data)

    @cached_property
    def eval_collection(self) -> Collection:
        """What is measured on."""
        return load(self.config.eval_data) if self.config.eval_data else self.collection

    @cached_property
    def task(self) -> Task:
        """The judged queries."""
        if self.config.eval_data is not None:
            choose(self.eval_collection)  # what is named for evaluation must have judgments
        return retrieval.make_task(
            self.eval_collection, limit=self.config.eval_queries, seed=self.config.seed
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
        avoid += suites.judged_queries(self.config.mteb)
        texts = training_texts(
            self.collection,
            limit=self.config.train_items,
            seed=self.config.seed,
            avoid=avoid,
            queries_only=self.config.asymmetric,
        )
        if len(texts) < 2:
            raise UserError(
                "holds too little text to learn from",
                where=self.config.data,
                mend="give at least two texts",
            )
        return texts

    @cached_property
    def near_duplicates(self) -> list[leakage.Match] | None:
        """Judged queries that resemble a text learnt from; None where nothing is judged, for then
        the queries are openings of documents."""
        if not self.task.qrels:
            return None
        return leakage.near_duplicates([item.text for item in self.texts], self.task.query_texts)

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
        if self.static or teacher is None or base.tokenizer_digest != teacher.tokenizer_digest:
            return None
        if base.weights_digest != teacher.weights_digest and not self._same_transformer():
            return None
        return self._spaces(objective.WINDOW_TOKENS)

    def _same_transformer(self) -> bool:
        """Whether another model began with the teacher's layers: what follows them may differ."""
        teacher = self.teacher.encoder
        base = load_encoder(self.base.path, self.config.device)
        return teacher is not None and same_transformer(base.model, teacher.model)

    def _spaces(self, window: int | None) -> dict[Role, Space]:
        teacher, dtype = self.teacher, self.config.store_dtype
        return collecting.open_spaces(
            SignalStore(self.config.store or default_address()),
            {
                role: teacher.fingerprint(prompt, dtype, window=window)
                for role, prompt in self.by_role.items()
            },
            teacher.known_as,
            accept_change=self.config.accept_teacher_change,
        )

    def evaluation_texts(self) -> list[TrainText]:
        """Queries and documents of the task, as the teacher is asked about them."""
        return [
            *(TrainText(text, "query") for text in self.task.query_texts),
            *(TrainText(text, "passage") for text in self.task.document_texts),
        ]

    def wanted(self) -> list[TrainText]:
        """All that the teacher has to be asked about, each text once: not the documents of an index
        that it has made already."""
        known = self.config.teacher_index is not None
        judged = [
            item for item in self.evaluation_texts() if not (known and item.role == "passage")
        ]
        return list(dict.fromkeys([*self.texts, *judged]))

    def wish(self, texts: Sequence[TrainText], *, states: bool = False) -> collecting.Wish:
        """Vectors of ``texts``, and token ``states`` too."""
        if states:
            return collecting.Wish(texts, self.spaces, self.windows, objective.WINDOW_TOKENS)
        return collecting.Wish(texts, self.spaces)

    def collect(self, *wishes: collecting.Wish) -> collecting.Collected:
        """Ask the teacher for what is not stored yet."""
        return together.collect(self.teacher, wishes, self.by_role)

    def stored(self, texts: list[str], role: Role) -> Vectors:
        """The teacher's unit vectors ``[n, d]`` from the store."""
        found: Vectors = self.spaces[role].get([text_key(text) for text in texts])
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        found /= np.maximum(norms, np.finfo(np.float32).tiny)  # a text may say nothing at all
        return found

    def stored_all(self, texts: Sequence[TrainText]) -> Vectors:
        """The teacher's unit vectors ``[n, d]`` of texts of any role, in their order."""
        found = np.empty((len(texts), self.teacher.dimensions), dtype=np.float32)
        for role in self.by_role:
            places = [place for place, item in enumerate(texts) if item.role == role]
            found[places] = self.stored([texts[place].text for place in places], role)
        return found

    def rank(self, task: Task) -> Rankings:
        """What the teacher finds, by its stored vectors."""
        return retrieval.rank(
            task,
            self.stored(task.query_texts, "query"),
            self.stored(task.document_texts, "passage"),
        )
