"""How much of an answer its contexts say, without a judge: by the words alone.

A content token is a word (:func:`ragdistill.data.leakage.words`: one case, one Unicode form, no
punctuation) that is no function word of English, in its Porter stem. Negations (no, not, never) count as
content. A token is supported if a context has it; a sentence if all its tokens stand within
:data:`WINDOW` consecutive content tokens of one context, about a paragraph.

On CLAP NQ (Rosenthal et al., arXiv:2404.02103), where people wrote 300 answers from a passage, 98 % of
an answer's tokens and 87 % of its sentences are supported by that passage, 3 % and none by another's. With
a word of each sentence exchanged for one of another answer none is; for a word of the same passage, 84 %
still are: that is not seen. The share of its tokens that the answer has tells the sentences that people
marked as its source from the rest of the passage with an area under the curve of 0.90
(benchmarks/groundedness.py).

What it cannot see. A paraphrase in words of its own reads as unsupported. What is said of the wrong
person, the wrong way round, or denied by a "not" that the paragraph has elsewhere, reads as supported:
words are compared, not claims. Stems and function words are those of English; in other languages
function words count, so that figures are higher. Nothing is known of whether it answers the question.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from bm25s.stopwords import STOPWORDS_EN_PLUS
from nltk.stem.porter import PorterStemmer
from numpy.typing import NDArray

from ragdistill.data.leakage import words
from ragdistill.metrics.refusals import refuses
from ragdistill.metrics.sentences import sentences, without_marks

WINDOW = 80
"""Content tokens, about 150 words, within which a sentence's must stand."""

_CONTENT = {"no", "nor", "not"}  # what turns a claim round is no mere function word
_FUNCTION_WORDS = frozenset(STOPWORDS_EN_PLUS) - _CONTENT
_SHORTEST = 4  # shorter words are their own stems, as in rouge-score


def content(text: str) -> list[str]:
    """The content tokens of ``text``, in their order."""
    return [_stem(word) for word in words(text) if word not in _FUNCTION_WORDS]


@cache
def _stemmer() -> PorterStemmer:
    return PorterStemmer()


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    return str(_stemmer().stem(word)) if len(word) >= _SHORTEST else word


def groundedness(answers: Sequence[str], contexts: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Share of each answer's content tokens that one of its contexts has ``[q]``; NaN where the
    answer claims nothing (it refuses, or has no content token)."""
    shares = [
        _share(content(claims(answer)), {token for text in held for token in content(text)})
        for answer, held in zip(answers, contexts, strict=True)
    ]
    return np.array(shares, dtype=np.float64)


def _share(tokens: Sequence[str], held: set[str]) -> float:
    return sum(token in held for token in tokens) / len(tokens) if tokens else np.nan


def grounded_sentences(
    answers: Sequence[str], contexts: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """Share of each answer's sentences that one of its contexts supports ``[q]``; NaN where the
    answer claims nothing."""
    shares = []
    for answer, held in zip(answers, contexts, strict=True):
        said = [tokens for each in sentences(claims(answer)) if (tokens := content(each))]
        found = [any(supports(content(text), tokens) for text in held) for tokens in said]
        shares.append(float(np.mean(found)) if found else np.nan)
    return np.array(shares, dtype=np.float64)


def claims(answer: str) -> str:
    """What ``answer`` claims: itself without its citations; nothing where it refuses."""
    told = without_marks(answer)
    return "" if refuses(told) else told


def supports(context: Sequence[str], sentence: Sequence[str], window: int = WINDOW) -> bool:
    """Whether all of a sentence's content tokens stand within ``window`` consecutive ones of a
    context's. A sentence without any is not supported: there is nothing to support."""
    wanted = set(sentence)
    if not wanted or not wanted <= set(context):
        return False
    inside: Counter[str] = Counter()
    for place, token in enumerate(context):
        inside[token] += token in wanted
        if place >= window:
            inside[context[place - window]] -= context[place - window] in wanted
        if token in wanted and all(inside[each] for each in wanted):
            return True
    return False
