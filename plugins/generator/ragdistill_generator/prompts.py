"""How a question is put with its contexts: the grounded prompt of a RAG stack, as messages and as tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from ragdistill.causal import as_chat, quoted, text_ids, token_ids
from ragdistill.errors import UserError
from ragdistill.metrics.refusals import REFUSAL
from ragdistill_generator.cases import Case

Style = Literal["short", "cited"]
_SYSTEM: Mapping[Style, str] = {
    "short": "Answer the question from the context only, in as few words as possible. If the context does "
    f"not hold the answer, say: {REFUSAL}",
    "cited": "Answer the question from the context only, and cite the context that you used by its number, "
    f"as [1]. If the context does not hold the answer, say: {REFUSAL}",
}
_ENDS: Mapping[Style, str] = {"short": "\nShort answer:", "cited": "\nAnswer:"}
_REASONING: Mapping[Style, str] = {
    "short": "Then answer in as few words as possible",
    "cited": "Then answer, and cite the context that you used by its number, as [1]",
}
_QUESTION, _CONTEXTS, _PROBE = "\x00question\x00", "\x00contexts\x00", "\x00system\x00"
LEAST_CONTEXT = 16
"""Tokens of context that must be left for a question to be worth asking."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as token ids."""

    beginning: list[int]
    """Up to the end of the contexts: shared by all questions about them."""
    question: list[int]
    """The rest, up to where the answer begins."""

    @property
    def ids(self) -> list[int]:
        """All of it."""
        return [*self.beginning, *self.question]


class Prompter:
    """Puts questions as a model was taught to read them."""

    def __init__(self, tokenizer: Any, window: int, answer_tokens: int, style: Style) -> None:
        """``window``: tokens that the model reads, ``answer_tokens`` of which are left for its answer."""
        self.tokenizer, self._style = tokenizer, style
        self.window, self._room = window, window - answer_tokens

    @cached_property
    def template(self) -> str:
        """What is put around contexts and question, chat template included: replies to another one are
        other replies.

        Raises:
            UserError: the chat template does not say both as they are given to it.
        """
        told = self._render(_CONTEXTS, _QUESTION)
        if told.count(f" {_QUESTION}") != 1 or told.count(_CONTEXTS) != 1:
            raise self._unusable("does not say once, and as it stands, what the user says")
        return told

    @property
    def words(self) -> tuple[str, str]:
        """What is said of how to answer, and what stands behind the question."""
        return _SYSTEM[self._style], _ENDS[self._style]

    @cached_property
    def with_system(self) -> bool:
        """Whether the chat template takes a system message, and says it."""
        probe = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "u"}]
        try:
            told = as_chat(self.tokenizer, probe)
        except Exception as error:
            # Templates refuse by raise_exception, which is a TemplateError of jinja2.
            if not _of_template(error):
                raise
            return False
        return _PROBE in told

    def room(self, case: Case) -> int:
        """Tokens that its question leaves for contexts; negative where it is itself too long."""
        return self._room - len(token_ids(self.tokenizer, self._render("", case.question)))

    def fitted(self, case: Case) -> tuple[Case, int]:
        """The case with no more context than the model can read, and how many tokens were left out: the
        last contexts are cut first.

        Raises:
            UserError: the question alone is too long.
        """
        room = self.room(case)
        sizes = [
            len(text_ids(self.tokenizer, _listed(place, text)))
            for place, text in enumerate(case.contexts)
        ]
        if sum(sizes) <= room:
            return case, 0
        if room < LEAST_CONTEXT:
            raise UserError(
                f"the question {case.id!r} takes {self._room - room} tokens, which leaves no room for its context in "
                f"{self._room}",
                where="--data",
                mend="shorten it, or choose a teacher and a student that read more",
            )
        kept, left = [], room
        for place, text in enumerate(case.contexts):
            if sizes[place] <= left:
                kept.append(text)
            elif said := self._cut(place, text, left):
                kept.append(said)
            left -= sizes[place]
            if left <= 0:
                break
        return replace(case, contexts=tuple(kept)), sum(sizes) - room

    def _cut(self, place: int, text: str, room: int) -> str:
        """What of a context has room, listed, in so many tokens; nothing where its number takes them all."""
        most = room - len(token_ids(self.tokenizer, _listed(place, ""))) - 1
        return first_tokens(self.tokenizer, quoted(self.tokenizer, text), most)

    def messages(self, case: Case) -> list[dict[str, str]]:
        """The case as a conversation that the answer ends."""
        return self._messages(_all_listed(case.contexts), case.question)

    def encode(self, case: Case) -> Prompt:
        """The case as tokens. What separates the question from what is before it is a blank, at which
        tokenizers part texts anyway."""
        before, behind = self._render(_all_listed(case.contexts), _QUESTION).split(f" {_QUESTION}")
        return Prompt(
            token_ids(self.tokenizer, before),
            token_ids(self.tokenizer, f" {quoted(self.tokenizer, case.question)}{behind}"),
        )

    def _messages(self, contexts: str, question: str) -> list[dict[str, str]]:
        system, ends = self.words
        asked = f"Context:{contexts}\n\nQuestion: {question}{ends}"
        if not self.with_system:
            return [{"role": "user", "content": f"{system}\n\n{asked}"}]
        return [{"role": "system", "content": system}, {"role": "user", "content": asked}]

    def _render(self, contexts: str, question: str) -> str:
        try:
            return as_chat(self.tokenizer, self._messages(contexts, question))
        except Exception as error:
            if not _of_template(error):
                raise
            raise self._unusable(f"cannot be used ({error})") from error

    def _unusable(self, why: str) -> UserError:
        return UserError(
            f"its chat template {why}",
            where=self.tokenizer.name_or_path or "tokenizer",
            mend="mend chat_template.jinja, or take it away",
        )


class ReasoningPrompter(Prompter):
    """Asks for the reasoning before the answer, each in a block of its own."""

    @property
    def words(self) -> tuple[str, str]:
        """See ``Prompter``."""
        system = (
            "Answer the question from the context only. First reason step by step: "
            f"<thinking>your reasoning</thinking>. {_REASONING[self._style]}: "
            "<answer>your answer</answer>. If the context does not hold the answer, say: "
            f"<answer>{REFUSAL}</answer>"
        )
        return system, "\nReasoning and answer:"


def first_tokens(tokenizer: Any, text: str, most: int) -> str:
    """The beginning of ``text`` that takes at most so many tokens: none of its characters is broken."""
    if not tokenizer.is_fast:
        said: str = tokenizer.decode(token_ids(tokenizer, text)[: max(0, most)])
        return said
    told = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    places = told["offset_mapping"]
    if most >= len(places):
        return text
    # A token may be a part of the character that the next one goes on with.
    return text[: min(places[most - 1][1], places[most][0])] if most > 0 else ""


def _of_template(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] == "jinja2"


def _listed(place: int, text: str) -> str:
    return f"\n[{place + 1}] {text}"


def _all_listed(contexts: Sequence[str]) -> str:
    return "".join(_listed(place, text) for place, text in enumerate(contexts))
