"""What the embedder's stages stand on: each thing is read once, and only when it is needed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from ragdistill.data import leakage
from ragdistill.data.training_texts import Role, TrainText, training_texts
from ragdistill.encoder import load_encoder
from ragdistill.errors import UserError
from ragdistill.metrics import retrieval, suites
from ragdistill.metrics.retrieval import Task, Vectors
from ragdistill.metrics.trec import Rankings
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.models.several import named, parse_weights
from ragdistill.run_data import RunData
from ragdistill.signals import default_address
from ragdistill.signals.fingerprint import text_key
from ragdistill.signals.store import SignalStore, Space
from ragdistill_embedder import collecting, objective, together
from ragdistill_embedder.config import STATIC, EmbedderConfig
from ragdistill_embedder.endpoint.asking import EMBEDDINGS
from ragdistill_embedder.endpoint.teacher import EndpointTeacher
from ragdistill_embedder.panel import Joined, Panel, Readable, unit
from ragdistill_embedder.student import same_tokens, same_transformer
from ragdistill_embedder.teacher import LocalTeacher, Source, Teacher
from ragdistill_embedder.weighing import choose_weights, kept_weights


class Setup(RunData):
    """Models, data and stored signals of one run."""

    def __init__(self, config: EmbedderConfig, folder: Path) -> None:
        """``folder``: of the run."""
        super().__init__(config)
        self.config, self.folder = config, folder

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The teachers, each asked by itself."""
        config, names = self.config, named(self.config.teacher)
        served = [name for name in names if name.startswith(EMBEDDINGS.prefix)]
        if not served:
            config.refuse_endpoint_options(EMBEDDINGS.prefix)
        if len(served) > 1 and (config.teacher_price, config.teacher_budget) != (None, None):
            raise UserError(
                f"is of one endpoint, and there are {len(served)}",
                where="--teacher-budget" if config.teacher_budget else "--teacher-price",
                mend="leave it out, or collect from one after the other (--stages collect)",
            )
        if config.ray is not None and len(served) == len(names):
            raise UserError(
                f"the teacher {config.teacher!r} runs behind its endpoint",
                where="--ray",
                mend="leave it out; --teacher-concurrency has more requests sent at a time",
            )
        _ = parse_weights(config.teacher_weights, len(names))
        return tuple(self._source(name) for name in names)

    def _source(self, name: str) -> Source:
        config = self.config
        if name.startswith(EMBEDDINGS.prefix):
            return EndpointTeacher(replace(config, teacher=name), lambda: self.base)
        model = resolve(name, kind="embedder")
        if config.ray is None:
            return LocalTeacher(model, config.device, max_length=config.max_length)
        from ragdistill_embedder.scattered import ScatteredTeacher

        return ScatteredTeacher(
            model, config.device, max_length=config.max_length, workers=config.ray
        )

    @cached_property
    def teacher(self) -> Teacher:
        """Who teaches: one, or several together."""
        return self.sources[0] if len(self.sources) == 1 else Panel(self.sources)

    @cached_property
    def weights(self) -> tuple[float, ...]:
        """How much each teacher counts, as given, or as chosen once for this run."""
        if len(self.sources) == 1:
            return (1.0,)
        given = parse_weights(self.config.teacher_weights, len(self.sources))
        return given or kept_weights(self.folder, len(self.sources)) or choose_weights(self)

    @property
    def static(self) -> bool:
        """Whether the student is to be one without a transformer."""
        return self.config.student == STATIC

    @cached_property
    def base(self) -> ResolvedModel:
        """The files of the model that the student is made of."""
        config = self.config
        other = None if self.static else config.student
        base = resolve(other, kind="embedder") if other else self.teacher.model
        if base is None:
            raise UserError(
                "the teacher has no layers here that a student could be made of"
                if len(self.sources) == 1
                else "is made of one teacher's layers or words, and there are several",
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
    def texts(self) -> list[TrainText]:
        """What is learnt from: no evaluation query is among it."""
        texts = training_texts(
            self.collection,
            limit=self.config.train_items,
            seed=self.config.seed,
            avoid=[*self.judged, *suites.judged_queries(self.config.mteb)],
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
        """The prompt of each role, as the student is taught it."""
        return collecting.by_role(self.teacher.prompts)

    def meet_teacher(self) -> None:
        """Let the teachers show who they are, before anything is asked that is to be stored."""
        for place, source in enumerate(self.sources):
            source.meet(partial(self._needs, place))
        vars(self).pop("spaces", None)

    def _needs(self, place: int) -> bool:
        """Whether something is still to be asked of the teacher in that ``place``."""
        return bool(self.wishes(self.wanted())[place].unasked())

    @cached_property
    def spaces(self) -> tuple[dict[Role, Space], ...]:
        """Where the vectors of each teacher are stored."""
        return tuple(self._spaces(source, None) for source in self.sources)

    @cached_property
    def vectors(self) -> Mapping[Role, Readable]:
        """What the teacher's vectors are read from."""
        if len(self.spaces) == 1:
            return self.spaces[0]
        return {
            role: Joined([each[role] for each in self.spaces], self.weights)
            for role in self.by_role
        }

    @cached_property
    def windows(self) -> dict[Role, Space] | None:
        """Where its token states are stored; None unless the student :attr:`shares_layers`, for only
        then are their states of the same kind."""
        if not self.shares_layers:
            return None
        return self._spaces(self.sources[0], objective.WINDOW_TOKENS)

    @cached_property
    def shares_layers(self) -> bool:
        """Whether the student is made of the teacher's layers and reads the very same tokens;
        what follows the layers may differ."""
        base, teacher = self.base, self.teacher.model
        if self.static or teacher is None:
            return False
        digests = base.weights_digest, base.tokenizer_digest
        return digests == (teacher.weights_digest, teacher.tokenizer_digest) or self._same_layers()

    def _same_layers(self) -> bool:
        """Whether another model began with the teacher's layers. Its files may tell the same in other
        words: whoever loads and saves a tokenizer may write what was left out before."""
        teacher = self.teacher.encoder
        base = load_encoder(self.base.path, self.config.device)
        return (
            teacher is not None
            and same_transformer(base.model, teacher.model)
            and same_tokens(base, teacher)
        )

    def _spaces(self, source: Source, window: int | None) -> dict[Role, Space]:
        dtype = self.config.store_dtype
        return collecting.open_spaces(
            SignalStore(self.config.store or default_address()),
            {
                role: source.fingerprint(prompt, dtype, window=window)
                for role, prompt in collecting.by_role(source.prompts).items()
            },
            source.known_as,
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

    def wishes(self, texts: Sequence[TrainText]) -> list[collecting.Wish]:
        """Every teacher's vectors of ``texts``."""
        return [
            collecting.Wish(source, texts, spaces)
            for source, spaces in zip(self.sources, self.spaces, strict=True)
        ]

    def state_wish(self, texts: Sequence[TrainText]) -> collecting.Wish:
        """Vectors of ``texts`` and their token states, of the one teacher that has such."""
        window = objective.WINDOW_TOKENS
        return collecting.Wish(self.sources[0], texts, self.spaces[0], self.windows, window)

    def collect(self, wishes: Sequence[collecting.Wish]) -> collecting.Collected:
        """Ask the teachers for what is not stored yet."""
        return together.collect(wishes)

    def stored(self, texts: Sequence[str], role: Role) -> Vectors:
        """The teacher's unit vectors ``[n, d]`` from the store."""
        return unit(self.vectors[role].get([text_key(text) for text in texts]))

    def said(self, place: int, texts: Sequence[str], role: Role) -> Vectors:
        """Unit vectors ``[n, d]`` of the teacher in that ``place`` alone."""
        return unit(self.spaces[place][role].get([text_key(text) for text in texts]))

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
