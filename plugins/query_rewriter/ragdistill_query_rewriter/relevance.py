"""Relevance models: the words of the documents that a query finds first, as the query's own.

RM1 is Lavrenko and Croft's estimate of how likely a word is in a relevant document (Relevance-Based
Language Models, SIGIR 2001), RM3 its interpolation with the query (Abdul-Jaleel et al., UMass at TREC 2004:
Novelty and HARD). Two things are as Anserini has them: a document's share is that of its score, in place of
the likelihood of the query, so that any retriever serves; and a word that many documents have is none.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

COMMON = 0.1
"""Share of the documents; a word that more of them have tells nothing apart."""
_SHORTEST, _LONGEST = 2, 20
"""Characters of a word."""


def rm1(
    documents: Sequence[Sequence[str]],
    scores: Sequence[float],
    terms: int,
    useful: Callable[[str], bool] = bool,
) -> dict[str, float]:
    """P(w|R) of the likeliest ``terms`` words of some documents, adding up to 1; likeliest first, equal ones in
    the order of the alphabet.

    Args:
        documents: the words of each ``[d]``.
        scores: how well each fits ``[d]``; what is below 0 counts as 0, and if all do as much as another.
        useful: whether a word may be one.
    """
    fits = [max(0.0, score) for score in scores]
    total = sum(fits)
    shares = [fit / total for fit in fits] if total > 0 else [1 / max(len(fits), 1)] * len(fits)
    found: dict[str, float] = {}
    for words, share in zip(documents, shares, strict=True):
        counts = Counter(word for word in words if _fitting(word) and useful(word))
        for word, count in counts.items():
            found[word] = found.get(word, 0.0) + share * count / counts.total()
    best = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:terms]
    whole = sum(weight for _, weight in best)
    return {word: weight / whole for word, weight in best}


def rm3(
    query: Sequence[str], feedback: Mapping[str, float], original_weight: float
) -> dict[str, float]:
    """The weights of a query's words and of ``feedback``'s, adding up to 1, the greatest first:
    ``original_weight`` of P(w|Q), the rest of P(w|R)."""
    counts = Counter(query)
    weights = {
        word: original_weight * counts[word] / max(len(query), 1)
        + (1 - original_weight) * feedback.get(word, 0.0)
        for word in (*counts, *feedback)
    }
    return dict(sorted(weights.items(), key=lambda item: (-item[1], item[0])))


def _fitting(word: str) -> bool:
    return _SHORTEST <= len(word) <= _LONGEST and not word.isdecimal()
