"""What the stages of a term selector stand on."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ragdistill import writing
from ragdistill.data.collection import Query
from ragdistill.errors import UserError
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill_query_rewriter import conversations, effects, prompts, terms
from ragdistill_query_rewriter.lesson import Example
from ragdistill_query_rewriter.setup import Setup
from ragdistill_query_rewriter.terms import TermStudent
from ragdistill_query_rewriter.words import wanted

DEFAULT_MODEL = "MiniLM"
"""What a student is made of unless that is said."""


class TermSetup(Setup):
    """Models, data and rewrites of a run whose student picks words."""

    @cached_property
    def base(self) -> ResolvedModel:
        """The files of the model that the student is made of."""
        return resolve(self.config.student_model or DEFAULT_MODEL)

    def new_student(self) -> TermStudent:
        """A student that has learnt nothing yet."""
        config = self.config
        return terms.make(
            self.base,
            config.device,
            layers=config.student_layers,
            window=config.window,
            most=config.most_words,
            seed=config.seed,
        )

    def rewrites(self, queries: Sequence[Query]) -> list[str | None]:
        """The teacher's rewrite of each turn; None where it has none. A turn that opens its conversation
        is what a language model is not asked to rewrite."""
        if self.texts is None:
            return [query.rewrite for query in queries]
        asked = [query for query in queries if query.context_turns]
        replies = writing.stored(self.texts, [self.request(query) for query in asked])
        told = {
            query.id: prompts.rewrite_of(query, reply)
            for query, reply in zip(asked, replies, strict=True)
        }
        return [told.get(query.id) for query in queries]

    def examples(self, student: TermStudent, queries: Sequence[Query]) -> list[Example]:
        """Turns as they are learnt."""
        pages, rewrites = student.read(queries), self.rewrites(queries)
        judged = conversations.judgments(self.collection, queries)
        measured = effects.measure(
            self.stage, self.collection.documents, queries, pages, rewrites, judged
        )
        return [
            Example(page, None if told is None else frozenset(wanted(query, told)), effect)
            for query, page, told, effect in zip(queries, pages, rewrites, measured, strict=True)
        ]

    def check_lesson(self, student: TermStudent) -> None:
        """Refuse a lesson that teaches nothing.

        Raises:
            UserError: no turn has a rewrite or a judgment, or no rewrite adds a word that could be picked.
        """
        config, where = self.config, self.config.data if self.human else "--teacher"
        told = zip(self.learnt, self.rewrites(self.learnt), strict=True)
        written = [(query, rewrite) for query, rewrite in told if rewrite is not None]
        judged = conversations.judgments(self.collection, self.learnt)
        if not (config.label_weight and written) and not (config.effect_weight and judged):
            raise UserError(
                "no turn that is learnt from has a rewrite, nor a judgment that --effect-weight lets teach",
                where=where,
                mend="add `rewrite` to queries.jsonl, or name a language model that writes whole ones with "
                "--teacher",
            )
        if not (config.label_weight and written):
            return
        pages = student.read([query for query, _ in written])
        if not any(
            wanted(*pair) & page.words.keys() for pair, page in zip(written, pages, strict=True)
        ):
            raise UserError(
                "no rewrite has a word of its conversation that its turn lacks, so nothing would be added",
                where=where,
                mend="bring rewrites that stand by themselves, or learn from judgments alone with "
                "--label-weight 0",
            )

    def describe_learnt(self) -> dict[str, Any]:
        """See :class:`Setup`."""
        rewritten = sum(told is not None for told in self.rewrites(self.learnt))
        return super().describe_learnt() | {"rewritten": rewritten}

    @property
    def inputs(self) -> dict[str, str]:
        """See :class:`Setup`."""
        return super().inputs | {"student": self.base.weights_digest}
