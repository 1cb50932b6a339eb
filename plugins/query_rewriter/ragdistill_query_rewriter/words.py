"""The words of a text as BM25 reads them, so that what is taught and picked is what is searched with."""

import re
from collections.abc import Iterator, Mapping, Sequence

from ragdistill.data.collection import Query

WORD = re.compile(r"(?u)\b\w\w+\b")
"""The token pattern of bm25s (and of scikit-learn): two letters or more."""


def words(text: str) -> list[str]:
    """Its words in lower case, in their order."""
    return [word.lower() for word in WORD.findall(text)]


def spans(text: str) -> Iterator[tuple[int, str]]:
    """Where each word begins, and the word as it stands."""
    return ((found.start(), found[0]) for found in WORD.finditer(text))


def wanted(query: Query, rewrite: str) -> set[str]:
    """The words that ``rewrite`` has and the turn has not: what is to be picked, as far as the
    conversation has it (QuReTeC, arXiv:2005.11723)."""
    return set(words(rewrite)) - set(words(query.text))


def joined(query: str, picked: Sequence[str]) -> str:
    """The turn with words added behind it; as it is where there are none."""
    return " ".join([query, *picked])


def pick(
    query: str, chances: Mapping[str, float], threshold: float, most: int | None = None
) -> str:
    """The turn with those words whose chance is above ``threshold``, in their order; of too many the
    likeliest ``most``."""
    above = [word for word, chance in chances.items() if chance > threshold]
    if most is not None and len(above) > most:
        best = set(sorted(above, key=lambda word: -chances[word])[:most])
        above = [word for word in above if word in best]
    return joined(query, above)
