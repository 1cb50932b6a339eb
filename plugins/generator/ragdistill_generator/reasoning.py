"""Replies that reason before they answer: how they are written, read and believed.

A reply is ``<thinking>...</thinking><answer>...</answer>`` and nothing else. What a teacher reasons is
learnt only if it can be checked: its words are those of contexts and question, its sums are right, its
answer is in it, and the answer is the known one where there is one (rejection sampling, as in STaR,
arXiv:2203.14465, but without hints). Words are compared, not claims: reasoning that is wrong in words of
the context passes where no answer is known (:mod:`ragdistill.metrics.grounding`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

from ragdistill.metrics.answers import normalized, token_f1
from ragdistill.metrics.grounding import groundedness
from ragdistill.metrics.refusals import refuses
from ragdistill.metrics.sentences import without_marks
from ragdistill.writing import Written
from ragdistill_generator.arithmetic import numbers, sums, unfounded, without_results
from ragdistill_generator.cases import Case

Fault = Literal[
    "refused",
    "empty",
    "truncated",
    "malformed",
    "unsupported",
    "miscalculated",
    "inconsistent",
    "wrong",
    "repeated",
]
"""Why a reply is not learnt: it was not to be given; it, its reasoning or its answer says nothing; it was
cut off or leaves a block open; it is not one block of reasoning and one answer; contexts and question do
not have its words or its numbers; it has a wrong sum; its answer is not what it reasons; not what is known; or the same
was written before."""
UNREADABLE = "(unreadable)"
"""The answer of a reply that has none: an empty one would pass for a refusal, which may be right."""
IN_LINE = 0.5
"""Share of an answer's content words that its reasoning must have."""

_TAGS = ("<thinking>", "</thinking>", "<answer>", "</answer>")
_TAG = re.compile("|".join(map(re.escape, _TAGS)))
_WHOLE = re.compile("{}(.*){}\\s*{}(.*){}".format(*map(re.escape, _TAGS)), re.DOTALL)
_POLAR = frozenset(["yes", "no", "true", "false"])


@dataclass(frozen=True, slots=True)
class Reasoned:
    """A reply with its reasoning."""

    thinking: str
    answer: str

    @property
    def text(self) -> str:
        """It as it is written; what :func:`parse` reads."""
        opening, closing, answer, end = _TAGS
        return f"{opening} {self.thinking} {closing}\n{answer} {self.answer} {end}"


def parse(reply: Written) -> Reasoned | Fault:
    """The reasoning and the answer of a reply, or why it has none."""
    text = reply.text.strip()
    if reply.ended == "refused":
        return "refused"
    if not text:
        return "empty"
    tags = tuple(_TAG.findall(text))
    whole = _WHOLE.fullmatch(text) if tags == _TAGS else None
    if whole is None:
        opened = len(tags) % 2 == 1 and tags == _TAGS[: len(tags)]
        return "truncated" if opened or reply.ended == "length" else "malformed"
    thinking, answer = (part.strip() for part in whole.groups())
    return Reasoned(thinking, answer) if thinking and answer else "empty"


def final(text: str) -> str:
    """The answer of a reply; :data:`UNREADABLE` where none can be read."""
    found = parse(Written(text))
    return found.answer if isinstance(found, Reasoned) else UNREADABLE


def unfaithful(said: Reasoned, case: Case, support: float) -> Fault | None:
    """Why a reasoning is not to be believed, from itself and what it was to stand on.

    Args:
        support: share of its content words that contexts and question must have. Numbers must be there
            all; results of its sums are its own.
    """
    if not all(right for right in sums(said.thinking)):
        return "miscalculated"
    refused = refuses(without_marks(said.answer))
    held = [*case.contexts, case.question]
    (share,) = groundedness([without_results(said.thinking)], [held])
    if isnan(share):  # it claims nothing, so nothing but a refusal follows from it
        return None if refused else "inconsistent"
    if share < support or unfounded(without_marks(said.thinking), held):
        return "unsupported"
    return None if refused or _in_line(said) else "inconsistent"


def _in_line(said: Reasoned) -> bool:
    """Whether the answer can be what the reasoning comes to: its numbers and most of its words are there."""
    answer = without_marks(said.answer)
    if not set(numbers(answer)) <= set(numbers(said.thinking)):
        return False
    (share,) = groundedness([answer], [[said.thinking]])
    return normalized(answer) in _POLAR or not share < IN_LINE


def right(answer: str, case: Case, least_f1: float) -> bool | None:
    """Whether an answer is one that is known: F1 with it is at least ``least_f1``, and its numbers are the
    same. Where the contexts are known to hold no answer a refusal is right. None where nothing is known."""
    told = without_marks(answer)
    if case.answerable is False:
        return refuses(told)
    if not case.references:
        return None
    return any(_matches(told, one, least_f1) for one in case.references)


def _matches(answer: str, reference: str, least_f1: float) -> bool:
    (found,) = token_f1([answer], [[reference]])
    asked = sorted(numbers(reference))
    return bool(found >= least_f1) and (not asked or asked == sorted(numbers(answer)))


def sift(
    replies: Sequence[tuple[Case, Written]], *, support: float, least_f1: float
) -> list[Reasoned | Fault]:
    """What can be learnt of each reply, or why it cannot."""
    seen: set[tuple[str, str]] = set()
    found: list[Reasoned | Fault] = []
    for case, reply in replies:
        said = _believed(reply, case, support, least_f1)
        if isinstance(said, Reasoned):
            before = len(seen)
            seen.add((case.id, said.text))
            said = said if len(seen) > before else "repeated"
        found.append(said)
    return found


def _believed(reply: Written, case: Case, support: float, least_f1: float) -> Reasoned | Fault:
    said = parse(reply)
    if not isinstance(said, Reasoned):
        return said
    if fault := unfaithful(said, case, support):
        return fault
    return "wrong" if right(said.answer, case, least_f1) is False else said
