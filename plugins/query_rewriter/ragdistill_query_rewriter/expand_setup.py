"""What the stages of ``--task expand`` stand on."""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

from ragdistill import causal, writing
from ragdistill.data.collection import Collection, Query
from ragdistill.encoder import load_encoder
from ragdistill.endpoint.chat import CHAT
from ragdistill.errors import UserError
from ragdistill.first_stage import FirstStage, Nearest, Words
from ragdistill.models.entry import architecture
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.signals.store import Space
from ragdistill_query_rewriter import conversations, expansions, feedback, made, scratch
from ragdistill_query_rewriter.checks import SCRATCH
from ragdistill_query_rewriter.expansion_options import RM3
from ragdistill_query_rewriter.expansions import Expansion
from ragdistill_query_rewriter.feedback import Feedback, FeedbackSettings
from ragdistill_query_rewriter.filtering import Filtered, Trial, unfiltered
from ragdistill_query_rewriter.settings import Combine
from ragdistill_query_rewriter.setup import Setup
from ragdistill_query_rewriter.ways import Way

USUAL_MADE = 5000
"""Queries made of documents for a student that begins from nothing, where they cost nothing."""
USUAL_SEQ2SEQ, USUAL_CAUSAL = "flan-t5-small", "SmolLM2-135M-Instruct"
"""What a student is made of unless that is said."""


class ExpandSetup(Setup):
    """Models, data and expansions of one run. The queries stand by themselves."""

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See :class:`Setup`.

        Raises:
            UserError: there are none.
        """
        if not queries:
            raise UserError(
                "has no query to learn from",
                where=self.config.data,
                mend="add queries.jsonl, and judgments of them in qrels/",
            )

    @property
    def feedback(self) -> bool:
        """Whether the teacher is no language model."""
        return self.config.teacher == RM3

    @cached_property
    def way(self) -> Way:
        """How expansions are searched with."""
        config = self.config
        usual: Combine = "append" if self.feedback else "rrf"
        return Way(config.combine or usual, config.original_weight)

    @cached_property
    def writer(self) -> writing.Writer:
        """Who expands the queries that are learnt from."""
        if not self.served:
            self.config.refuse_endpoint_options(CHAT.prefix)
        return self._feedback_on(self.collection) if self.feedback else self.language_model()

    @cached_property
    def eval_writer(self) -> writing.Writer:
        """Who expands those that are measured on: feedback comes from what is searched."""
        if not self.feedback or self.eval_collection is self.collection:
            return self.writer
        return self._feedback_on(self.eval_collection)

    def _feedback_on(self, data: Collection) -> Feedback:
        config, mine = self.config, data is self.collection
        retriever = ("bm25", Words.digest)
        if config.feedback_from == "embedder" and self.dense_model is not None:
            retriever = (self.dense_model.name, self.dense_model.weights_digest)

        def lexicon() -> Words:
            return self.stage if mine else self.eval_stage

        def stage() -> FirstStage:
            dense = self.own_dense if mine else self.dense
            return dense if config.feedback_from == "embedder" and dense else lexicon()

        return Feedback(
            [document.content for document in data.documents],
            data.digest,
            retriever,
            stage,
            lexicon,
            FeedbackSettings(
                config.feedback_documents, config.feedback_terms, config.original_weight
            ),
        )

    @cached_property
    def own_dense(self) -> Nearest | None:
        """The embedder's search of what is learnt from."""
        model = self.dense_model
        if model is None or self.eval_collection is self.collection:
            return self.dense
        encoder = load_encoder(model.path, self.config.device)
        texts = [document.content for document in self.collection.documents]
        kept = self.folder / "vectors"
        return Nearest(model.name, model.weights_digest, encoder, texts, kept)

    @cached_property
    def made(self) -> list[Query]:
        """Queries made of documents, which are learnt from besides."""
        config = self.config
        usual = USUAL_MADE if self.feedback and self.base is None else 0
        count = usual if config.made_queries is None else config.made_queries
        return made.queries_of(self.collection.documents, count, config.seed) if count else []

    @property
    def template(self) -> str:
        """See :class:`Setup`."""
        return expansions.template()

    @property
    def cut_after(self) -> int:
        """See :class:`Setup`."""
        return self.config.expansion_tokens

    def request(self, query: Query) -> writing.Messages:
        """See :class:`Setup`."""
        return feedback.messages(query) if self.feedback else expansions.messages(query)

    @cached_property
    def eval_texts(self) -> Space:
        """Where expansions of what is measured on are stored."""
        return self.space_of(self.eval_writer)

    def _asking(self) -> list[tuple[writing.Writer, Space, list[writing.Messages]]]:
        """Who is asked what, and where it is stored."""
        assert self.texts is not None
        learnt = [*self.teachable([*self.learnt, *self.chosen]), *self.made]
        sides = (
            (self.writer, self.texts, learnt),
            (self.eval_writer, self.eval_texts, self.task.queries),
        )
        return [(who, at, [self.request(query) for query in asked]) for who, at, asked in sides]

    @property
    def asked_in_all(self) -> int:
        """How many queries the teacher expands."""
        return sum(len(requests) for _, _, requests in self._asking())

    @property
    def unwritten(self) -> list[writing.Messages]:
        """See :class:`Setup`."""
        return [
            messages
            for _, at, requests in self._asking()
            for messages in writing.unwritten(requests, at)
        ]

    def meet(self) -> None:
        """See :class:`Setup`."""
        self.writer.meet(partial(lambda: bool(self.unwritten)))
        for name in ("texts", "eval_texts"):
            vars(self).pop(name, None)

    def collect(self) -> dict[str, int]:
        """See :class:`Setup`."""
        wrote = [writing.collect(who, requests, at) for who, at, requests in self._asking()]
        return {
            "items": sum(each.replies for each in wrote),
            "tokens": sum(each.tokens for each in wrote),
        }

    @cached_property
    def _judged_ids(self) -> set[str]:
        """The queries that are learnt from and judged."""
        return {*conversations.judgments(self.collection, [*self.learnt, *self.chosen])}

    def teachable(self, queries: Sequence[Query]) -> list[Query]:
        """Those that could be taught: without a judgment nobody knows what an expansion does."""
        every = not self.config.effect_filter
        return [query for query in queries if every or query.id in self._judged_ids]

    def expanded(self, queries: Sequence[Query], *, measured: bool = False) -> list[Expansion]:
        """What the teacher wrote of ``queries``, which are learnt from or ``measured`` on."""
        space = self.eval_texts if measured else self.texts
        assert space is not None
        replies = writing.stored(space, [self.request(query) for query in queries])
        known = self.eval_stage if measured else self.stage
        return [self._read(*pair, known) for pair in zip(queries, replies, strict=True)]

    def _read(self, query: Query, reply: writing.Written, known: Words) -> Expansion:
        if not self.feedback:
            floor = self.config.drift_floor
            return expansions.expansion_of(
                query, reply, lambda word: bool(known.held_by(word)), floor
            )
        return Expansion(fault="empty") if reply.fault else Expansion((reply.text,))

    def filtered(self, queries: Sequence[Query]) -> Filtered:
        """What is taught of ``queries``."""
        asked = self.teachable(queries)
        told = self.expanded(asked)
        if not self.config.effect_filter:
            return unfiltered(asked, told)
        stages: list[FirstStage] = [self.stage]
        if self.own_dense is not None:
            stages.append(self.own_dense)
        ids = [document.id for document in self.collection.documents]
        judged = conversations.judgments(self.collection, asked)
        return Trial(stages, ids, self.way, judged)(asked, told)

    def filtered_made(self) -> Filtered:
        """What is taught of the queries that are made."""
        if not self.made:
            return Filtered((), (), ())
        ids = [document.id for document in self.collection.documents]
        return made.kept(self.stage, ids, self.way, self.made, self.expanded(self.made))

    def check_judged(self) -> None:
        """Refuse to filter what nobody judged.

        Raises:
            UserError: no query that is learnt from has a relevant document.
        """
        if not self.made and not self.teachable(self.learnt):
            raise UserError(
                "no query that is learnt from has a judged document, so nobody knows which expansions help",
                where=self.config.data,
                mend="add qrels/train.tsv, or teach everything with --no-effect-filter",
            )

    @cached_property
    def base(self) -> ResolvedModel | None:
        """The files of the model that the student is made of; None where it is made from scratch.

        Raises:
            UserError: it cannot be had, or is of another kind.
        """
        named = self.config.student_model
        if named == SCRATCH:
            return None
        if self.config.student == "causal":
            model = resolve(named or USUAL_CAUSAL, kind="causal-lm")
            causal.check(model, "--student-model")
            return model
        if named is None:
            try:
                return resolve(USUAL_SEQ2SEQ)
            except UserError:  # offline, say: what can be made here
                return None
        model = resolve(named, kind="seq2seq")
        made_for = "" if model.path.is_file() else architecture(model.path)
        if not made_for.endswith("ForConditionalGeneration"):
            raise UserError(
                f"is made as {made_for or 'nothing in particular'}, which is no encoder-decoder",
                where=f"--student-model: {model.path}",
                mend="name a T5 or BART (ForConditionalGeneration), scratch, or --student causal",
            )
        return model

    @property
    def base_name(self) -> str:
        """What reports call it."""
        return SCRATCH if self.base is None else self.base.name

    def describe_learnt(self) -> dict[str, Any]:
        """See :class:`Setup`."""
        return super().describe_learnt() | {"judged": len(self.teachable(self.learnt))}

    @property
    def inputs(self) -> dict[str, str]:
        """See :class:`Setup`."""
        made_of = scratch.digest() if self.base is None else self.base.weights_digest
        # It filters what is taught, and so is more than what is also measured with.
        dense = self.dense_model
        return (
            super().inputs
            | {"student": made_of}
            | ({} if dense is None else {"embedder": dense.weights_digest})
        )
