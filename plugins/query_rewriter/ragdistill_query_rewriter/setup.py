"""What the rewriter's stages stand on: each thing is read once, and only when it is needed."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ragdistill import causal, writing
from ragdistill.data import leakage
from ragdistill.data.collection import Collection, Query
from ragdistill.data.sampling import sample
from ragdistill.encoder import load_encoder, pick_device
from ragdistill.endpoint.chat import CHAT, Settings
from ragdistill.endpoint.writer import EndpointWriter
from ragdistill.errors import UserError
from ragdistill.first_stage import Nearest, Words
from ragdistill.local_writer import LocalWriter
from ragdistill.metrics.retrieval import Task
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.run_data import RunData
from ragdistill.signals import default_address
from ragdistill.signals.store import SignalStore, Space
from ragdistill_query_rewriter import conversations, prompts
from ragdistill_query_rewriter.config import HUMAN, RewriterConfig
from ragdistill_query_rewriter.conversations import Parts


class Setup(RunData):
    """Models, data and rewrites of one run."""

    def __init__(self, config: RewriterConfig, folder: Path) -> None:
        """``folder``: of the run."""
        super().__init__(config)
        self.config, self.folder = config, folder

    @cached_property
    def parts(self) -> Parts:
        """Which turns are learnt from."""
        self.check_queries(self.collection.queries)
        elsewhere = self.config.eval_data is not None
        return conversations.divide(self.collection, self.config.seed, elsewhere=elsewhere)

    @cached_property
    def learnt(self) -> list[Query]:
        """What is learnt from.

        Raises:
            UserError: there is nothing, or none of it follows a turn.
        """
        config, turns = self.config, self.parts.learnt
        found = sample(turns, config.train_items, config.seed, key=lambda query: query.id)
        self.check_queries(found)
        return found

    def check_queries(self, queries: Sequence[Query]) -> None:
        """Refuse queries that nothing could be learnt from.

        Raises:
            UserError: none follows a turn.
        """
        if not any(query.context_turns for query in queries):
            raise UserError(
                "no turn that is learnt from has a conversation before it",
                where=self.config.data,
                mend="add `context_turns` to queries.jsonl: the turns before, the oldest first",
            )

    @property
    def chosen(self) -> list[Query]:
        """What the threshold is chosen on, and the held-out loss is of."""
        return list(self.parts.chosen)

    @cached_property
    def task(self) -> Task:
        """What is measured on: judged turns, as they were asked."""
        config, data = self.config, self.eval_collection
        judged = self.parts.measured if config.eval_data is None else _all_judged(data)
        split = self.parts.name if config.eval_data is None else "all that is judged"
        known = [
            query
            for query in data.queries
            if any(grade > 0 for grade in judged.get(query.id, {}).values())
        ]
        asked = sample(known, config.eval_queries, config.seed, key=lambda query: query.id)
        if not asked:
            raise UserError(
                "no turn that is measured on has a relevant document",
                where=data.source or data.name,
                mend="add judgments with a grade above 0",
            )
        told = {query.id: judged[query.id] for query in asked}
        return Task(data.documents, tuple(asked), told, split)

    @property
    def human(self) -> bool:
        """Whether the data's own rewrites teach."""
        return self.config.teacher == HUMAN

    @property
    def served(self) -> bool:
        """Whether the teacher is behind an endpoint."""
        return self.config.teacher.startswith(CHAT.prefix)

    @cached_property
    def writer(self) -> writing.Writer | None:
        """The language model that rewrites; None where humans have."""
        config = self.config
        if self.human or not self.served:
            config.refuse_endpoint_options(CHAT.prefix)
        return None if self.human else self.language_model()

    def language_model(self) -> EndpointWriter | LocalWriter:
        """The one that ``--teacher`` names, asked as the task asks.

        Raises:
            UserError: it is not there, writes no text, or its endpoint cannot be used.
        """
        config = self.config
        if self.served:
            return EndpointWriter(
                config.teacher,
                config.teacher_url,
                Settings(self.template, temperature=0.0, max_tokens=self.cut_after),
                key_env=config.teacher_key_env,
                price=config.teacher_price,
                budget=config.teacher_budget,
                concurrency=config.teacher_concurrency,
                timeout=config.teacher_timeout,
                store=config.store,
                accept_change=config.accept_teacher_change,
            )
        model = resolve(config.teacher, kind="causal-lm")
        causal.check(model, "--teacher")
        device = pick_device(config.device)
        return LocalWriter(
            model,
            device,
            config.precision or causal.usual_precision(device),
            template=self.template,
            new_tokens=self.cut_after,
        )

    @property
    def template(self) -> str:
        """Digest of what a language model is asked by."""
        return prompts.template()

    @property
    def cut_after(self) -> int:
        """Tokens after which what it writes is cut."""
        return self.config.rewrite_tokens

    def request(self, query: Query) -> writing.Messages:
        """What the teacher is asked of ``query``."""
        return prompts.messages(query)

    @cached_property
    def asked(self) -> list[Query]:
        """The turns that a language model rewrites: those with a conversation before them."""
        every = [*self.task.queries, *self.chosen, *self.learnt]
        return [query for query in every if query.context_turns]

    @cached_property
    def texts(self) -> Space | None:
        """Where its rewrites are stored."""
        return None if self.writer is None else self.space_of(self.writer)

    def space_of(self, writer: writing.Writer) -> Space:
        """Where what ``writer`` writes is stored."""
        store = SignalStore(self.config.store or default_address())
        return store.space(
            writer.fingerprint(),
            teacher=writer.known_as,
            accept_change=self.config.accept_teacher_change,
        )

    @property
    def unwritten(self) -> list[writing.Messages]:
        """Requests that no rewrite is stored of."""
        assert self.texts is not None
        return writing.unwritten([self.request(query) for query in self.asked], self.texts)

    def meet(self) -> None:
        """Let the teacher show who it is, before anything is asked that is to be stored."""
        if self.writer is not None:
            self.writer.meet(partial(lambda: bool(self.unwritten)))
            vars(self).pop("texts", None)

    def collect(self) -> dict[str, int]:
        """Have rewritten what is not stored yet."""
        if self.writer is None or self.texts is None:
            return {"items": 0, "tokens": 0}
        requests = [self.request(query) for query in self.asked]
        wrote = writing.collect(self.writer, requests, self.texts)
        return {"items": wrote.replies, "tokens": wrote.tokens}

    def describe_learnt(self) -> dict[str, Any]:
        """``data.train`` of the report: how much there was to learn from."""
        return {"turns": len(self.learnt)}

    @property
    def inputs(self) -> dict[str, str]:
        """Digests of what the run stands on."""
        return {
            "teacher": HUMAN if self.writer is None else self.writer.digest,
            "data": self.collection.digest,
            "eval_data": self.eval_collection.digest,
        }

    @cached_property
    def stage(self) -> Words:
        """BM25 over the text that is learnt from."""
        return Words([document.content for document in self.collection.documents])

    @cached_property
    def eval_stage(self) -> Words:
        """BM25 over what is measured on."""
        if self.eval_collection is self.collection:
            return self.stage
        return Words(self.task.document_texts)

    @cached_property
    def dense(self) -> Nearest | None:
        """The embedder that is also searched with, over what is measured on."""
        model = self.dense_model
        if model is None:
            return None
        encoder = load_encoder(model.path, self.config.device)
        texts, kept = self.task.document_texts, self.folder / "vectors"
        return Nearest(model.name, model.weights_digest, encoder, texts, kept)

    @cached_property
    def dense_model(self) -> ResolvedModel | None:
        """Its files.

        Raises:
            UserError: it cannot be had.
        """
        name = self.config.embedder
        if name is None:
            return None
        run = Path(name)
        if not (run / "run.json").exists():
            return resolve(name, kind="embedder")
        if not (run / "student" / "modules.json").exists():
            raise UserError(
                "has no student that embeds texts",
                where=run,
                mend="name the finished run of an embedder, or a model",
            )
        return resolve(str(run / "student"))

    @cached_property
    def near_duplicates(self) -> list[leakage.Match]:
        """Turns that are measured on and resemble one that is learnt from, conversations and all."""
        learnt, asked = (
            [" ".join([*query.context_turns, query.text]) for query in queries]
            for queries in (self.learnt, self.task.queries)
        )
        return leakage.near_duplicates(learnt, asked)


def _all_judged(data: Collection) -> Mapping[str, Mapping[str, int]]:
    return conversations.judgments(data, data.queries)
