"""Do the marks of an answer cite what there is, and what says so?

After the citation precision of ALCE (Gao et al., arXiv:2305.14627), with words in the place of its
entailment model: :mod:`ragdistill.metrics.grounding` says what words cannot see.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragdistill.metrics.grounding import claims, content, supports
from ragdistill.metrics.sentences import cited, sentences


def citation_accuracy(
    answers: Sequence[str], contexts: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """Share of each answer's citations that are right ``[q]``.

    One is right if its number is that of a context, the first being 1, and that context supports the
    sentence it stands in. An answer that claims something and cites nothing has 0; NaN where it
    claims nothing.
    """
    found = [_accuracy(*pair) for pair in zip(answers, contexts, strict=True)]
    return np.array(found, dtype=np.float64)


def _accuracy(answer: str, contexts: Sequence[str]) -> float:
    if not content(claims(answer)):
        return np.nan
    held = [content(text) for text in contexts]
    right = []
    for sentence in sentences(answer):
        tokens = content(claims(sentence))
        right += [
            1 <= number <= len(held) and supports(held[number - 1], tokens)
            for number in cited(sentence)
        ]
    return float(np.mean(right)) if right else 0.0
