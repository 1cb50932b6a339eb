"""What a run stands on whose student reasons before it answers."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

from ragdistill import causal, writing
from ragdistill.errors import UserError
from ragdistill.metrics.refusals import REFUSAL
from ragdistill.signals.store import Space
from ragdistill.writing import Writer, Written
from ragdistill_generator import reasoning
from ragdistill_generator.cases import Case
from ragdistill_generator.prompts import Prompter, ReasoningPrompter
from ragdistill_generator.reasoning import Fault, Reasoned
from ragdistill_generator.setup import Setup

DRAWN = 4
"""Times that a question is reasoned about where what is written is drawn, unless that is said."""


class ReasoningSetup(Setup):
    """Replies are reasoning and answer; of the teacher's those are learnt that can be believed."""

    prompts: ClassVar[type[Prompter]] = ReasoningPrompter
    unknown: ClassVar[tuple[str, str]] = (
        "no question that is learnt from has a rationale beside its answer",
        "add `rationale` to queries.jsonl, or have the teacher reason: --answers teacher",
    )

    @property
    def new_tokens(self) -> int:
        """Tokens after which a reply is cut."""
        return self.config.rationale_tokens + self.config.answer_tokens

    def final(self, reply: str) -> str:
        """The answer in what was written."""
        return reasoning.final(reply)

    def known(self, case: Case) -> str | None:
        """The data's own reasoning with its answer."""
        if not (case.rationale and (case.references or case.answerable is False)):
            return None
        answer = case.references[0] if case.references else REFUSAL
        return Reasoned(case.rationale.strip(), answer.strip()).text

    @cached_property
    def samples(self) -> int:
        """Times that a question is reasoned about that is learnt from.

        Raises:
            UserError: several, and nothing is drawn, or the data's own reasoning is learnt.
        """
        asked, drawn = self.config.rationales, self.config.sampling > 0
        if asked is not None and self.gold:
            raise UserError(
                "the data's own reasoning is learnt",
                where="--rationales",
                mend="leave it out, or give --answers teacher",
            )
        if asked is not None and asked > 1 and not drawn:
            raise UserError(
                "the likeliest words are the same each time",
                where="--rationales",
                mend="give --sampling 0.7, too",
            )
        return 1 if self.gold else asked or (DRAWN if drawn else 1)

    @cached_property
    def others(self) -> list[Writer]:
        """What draws the further samples; the first is drawn by the writer."""
        seed = self.config.seed
        return [self.writer.drawing(seed + sample) for sample in range(1, self.samples)]

    def left(self, writer: Writer) -> tuple[list[writing.Messages], Space]:
        """What one of the others has still to reason about, and where it is stored."""
        space = self.space(writer.fingerprint())
        return writing.unwritten(self.requests(self.train_cases), space), space

    def _lacks(self, writer: Writer) -> bool:
        return bool(self.left(writer)[0])

    def meet(self) -> None:
        """Let the teacher show who it is, before anything is asked that is to be stored."""
        super().meet()
        for writer in self.others:
            writer.meet(partial(self._lacks, writer))

    def write(self) -> dict[str, Any]:
        """Have written what is not stored yet, and say what of it is learnt."""
        found = super().write()
        for writer in self.others:
            space = self.space(writer.fingerprint())
            wrote = writing.collect(writer, self.requests(self.train_cases), space)
            found = {
                "items": found["items"] + wrote.replies,
                "tokens": found["tokens"] + wrote.tokens,
            }
        told = {
            "written": len(self._sifted),
            "learnt": len(self._sifted) - sum(self.left_out.values()),
            "left_out": self.left_out,
        }
        return {**found, "stages": {"collect": {"rationales": told}}}

    def replies(self) -> list[tuple[Case, Written]]:
        """All that was written of what is learnt from, sample by sample."""
        requests = self.requests(self.train_cases)
        spaces = [self.texts, *(self.space(writer.fingerprint()) for writer in self.others)]
        return [
            pair
            for space in spaces
            for pair in zip(self.train_cases, writing.stored(space, requests), strict=True)
        ]

    @cached_property
    def _sifted(self) -> list[tuple[Case, Reasoned | Fault]]:
        """What can be learnt of each reply, or of the data's own reasoning, or why it cannot."""
        if self.gold:
            known = [(case, self.known(case)) for case in self.train_cases]
            told = [(case, Written(text)) for case, text in known if text is not None]
            found = [reasoning.parse(reply) for _, reply in told]
        else:
            told, config = self.replies(), self.config
            found = reasoning.sift(
                told, support=config.rationale_support, least_f1=config.rationale_f1
            )
        return [(case, self._short(said)) for (case, _), said in zip(told, found, strict=True)]

    def _short(self, said: Reasoned | Fault) -> Reasoned | Fault:
        """What is longer than a reply may be would be learnt without its end."""
        if not isinstance(said, Reasoned):
            return said
        fits = len(causal.token_ids(self.tokenizer, said.text)) < self.new_tokens
        return said if fits else "truncated"

    @property
    def left_out(self) -> dict[str, int]:
        """How many replies are not learnt, by what is wrong with them."""
        return dict(Counter(said for _, said in self._sifted if not isinstance(said, Reasoned)))

    @cached_property
    def train_pairs(self) -> list[tuple[Case, str]]:
        """What is learnt from, each with the reply that is learnt.

        Raises:
            UserError: none is left.
        """
        found = [(case, said.text) for case, said in self._sifted if isinstance(said, Reasoned)]
        if not found:
            why = ", ".join(f"{count} {fault}" for fault, count in self.left_out.items())
            other = "learn the teacher's" if self.gold else "choose another teacher"
            raise UserError(
                f"no reasoning is left to learn from: {why}",
                where=self.config.data if self.gold else "--teacher",
                mend=f"raise --rationale-tokens, or {other}",
            )
        return found


def readings(replies: Sequence[str]) -> dict[str, int]:
    """How many of some replies are whole, and how many not, by why."""
    found = [reasoning.parse(Written(reply)) for reply in replies]
    return dict(Counter("whole" if isinstance(each, Reasoned) else each for each in found))
