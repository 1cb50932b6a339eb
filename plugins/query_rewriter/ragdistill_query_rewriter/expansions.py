"""Expansions of a query: how a language model is asked for them, what of its reply is kept, and how they
are written down and searched with.

In every text of this kind variants stand between ``|||``.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

from ragdistill.data.collection import Query
from ragdistill.files import sha256_json
from ragdistill.writing import Messages, Written
from ragdistill_query_rewriter.words import words

SEPARATOR = "|||"
MOST = 5
"""Variants of a query that are kept."""
_SYSTEM = (
    "Write three to five other ways to search for what a query asks for: in other words, and with names and "
    f"terms that a good document would have. Do not answer it. Reply with one line, {SEPARATOR} between them."
)
_SHOTS: Sequence[tuple[str, Sequence[str]]] = (
    (
        "how do plants make food",
        (
            "photosynthesis process",
            "how chlorophyll turns sunlight into sugar",
            "plants carbon dioxide glucose production",
        ),
    ),
    (
        "fix slow laptop",
        (
            "speed up computer performance",
            "laptop running slowly causes",
            "free memory and disk space notebook",
            "disable startup programs",
        ),
    ),
)
_ANSWERS = re.compile(
    r"(?i)(sure\b|certainly\b|of course\b|here (are|is)\b|the answer\b|answer:|as an ai\b|i am\b|i'm\b|i (can|can't|cannot|do)\b)"
)
_BEFORE = re.compile(r"^(?:\s*(?:[-*•]|\(?\d{1,2}[.):]|[qQ]\d{1,2}[.:)]))+\s+")
_SENTENCE = 8
"""Words from which on what ends as a sentence does is taken for an answer."""
_LONG, _LONGER = 16, 3
"""Words that a variant may have, or so many times those of its query."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """What a reply is worth."""

    variants: tuple[str, ...] = ()
    fault: str | None = None
    """Why there are none: ``length``, ``refused``, ``empty``, ``delimiter``, or why the most were dropped."""
    dropped: tuple[str, ...] = ()
    """Why each other was dropped: ``answer``, ``language``, ``long``, ``drift``, ``duplicate``."""

    @property
    def text(self) -> str:
        """As it is taught."""
        return joined(self.variants)


def messages(query: Query) -> Messages:
    """``query`` behind two examples."""
    told = [{"role": "system", "content": _SYSTEM}]
    for asked, variants in _SHOTS:
        told.append({"role": "user", "content": f"Query: {asked}"})
        told.append({"role": "assistant", "content": joined(variants)})
    return [*told, {"role": "user", "content": f"Query: {query.text}"}]


def template() -> str:
    """Digest of what is put around a query."""
    return sha256_json(messages(Query("", "\0query\0")))


def joined(variants: Sequence[str]) -> str:
    """Variants as one text."""
    return f" {SEPARATOR} ".join(variants)


def separated(text: str, most: int | None = MOST) -> list[str]:
    """The first ``most`` variants in ``text``; no blank one, and none twice."""
    parts = (" ".join(part.split()) for part in text.split(SEPARATOR))
    found: dict[str, str] = {}
    for part in parts:
        if part:
            found.setdefault(part.casefold(), part)
    return list(found.values())[:most]


def expansion_of(
    query: Query, reply: Written, known: Callable[[str], bool], floor: float
) -> Expansion:
    """The variants in a language model's reply: those of the line that has ``|||``.

    Args:
        known: whether a word, in lower case, stands in the corpus: a variant of whose words fewer than half do
            is in another language.
        floor: the least :func:`similarity` to the query.
    """
    if reply.fault is not None:
        return Expansion(fault=reply.fault)
    line = next((line for line in reply.text.splitlines() if SEPARATOR in line), None)
    if line is None:
        return Expansion(fault="delimiter")
    kept: list[str] = []
    dropped: list[str] = []
    have = {tuple(words(query.text))}
    for part in _cleaned(line):
        why = _why_not(query.text, part, known, floor)
        if why is None and tuple(words(part)) in have:
            why = "duplicate"
        if why is None:
            have.add(tuple(words(part)))
            kept.append(part)
        else:
            dropped.append(why)
    commonest = Counter(dropped).most_common(1)
    fault = None if kept else commonest[0][0] if commonest else "empty"
    return Expansion(tuple(kept[:MOST]), fault, tuple(dropped))


def _cleaned(line: str) -> Iterator[str]:
    """Its parts without numbers, bullets and quotes around them."""
    for part in line.split(SEPARATOR):
        told = _BEFORE.sub("", " ".join(part.split())).strip("\"'`“”„« »").strip()
        if told:
            yield told


def _why_not(query: str, part: str, known: Callable[[str], bool], floor: float) -> str | None:
    said = words(part)
    own = {*words(query)}
    if not said:
        return "empty"
    if _ANSWERS.match(part) or (part.endswith((".", "!")) and len(said) >= _SENTENCE):
        return "answer"
    if len(said) > max(_LONG, _LONGER * len(own)):
        return "long"
    if 2 * sum(word in own or known(word) for word in said) < len(said):
        return "language"
    return "drift" if similarity(query, part) < floor else None


def similarity(one: str, other: str) -> float:
    """Cosine of the counts of their groups of three characters, words in lower case: 1 of one text with
    itself, 0 where nothing is shared."""
    first, second = _trigrams(one), _trigrams(other)
    shared = sum(first[each] * second[each] for each in first.keys() & second.keys())
    sizes = (sum(count * count for count in counts.values()) for counts in (first, second))
    length = sqrt(next(sizes) * next(sizes))
    return shared / length if length else 0.0


def _trigrams(text: str) -> Counter[str]:
    padded = (f" {word} " for word in words(text))
    return Counter(word[at : at + 3] for word in padded for at in range(len(word) - 2))


def appended(query: str, variants: Sequence[str], original_weight: float) -> str:
    """``query`` with the words of ``variants`` that it has not, each once, behind it; it stands there as
    often as its words need to be about ``original_weight`` of all, and as it is where there are none to add.

    BM25 counts a word as often as a query has it, so this is what weights are (query2doc, arXiv:2303.07678,
    repeats the query for the same reason).
    """
    own = words(query)
    new = dict.fromkeys(word for part in variants for word in words(part) if word not in own)
    if not new:
        return query
    wanted = original_weight / (1 - original_weight) * len(new) / max(len(own), 1)
    return " ".join([query] * max(1, round(wanted)) + list(new))
