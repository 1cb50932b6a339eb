"""Written answers: measured against references, per question, so that teacher and student pair up.

EM and F1 are those of SQuAD (Rajpurkar et al., arXiv:1606.05250 and, with questions that have no answer,
arXiv:1806.03822): the official script's normalisation, the best over the references. ROUGE-L is
rouge-score's F-measure (Lin 2004), which knows a to z and digits alone.

Every measure is an array over the questions, NaN where it does not apply to one. Of the text measures
that is a question whose answer is not known; of those that look at claims, an answer that refuses.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer

from ragdistill.metrics.bootstrap import compare
from ragdistill.metrics.citations import citation_accuracy
from ragdistill.metrics.grounding import grounded_sentences, groundedness
from ragdistill.metrics.refusals import refuses
from ragdistill.metrics.sentences import without_marks

HEADLINE = "F1"
"""What the gate and the verdict are about."""
AGREEMENT = "F1 with teacher"
"""Measured against the teacher's own answers where no question's answer is known."""

Values = NDArray[np.float64]
Embed = Callable[[list[str]], NDArray[np.floating[Any]]]
"""Vectors of texts ``[n, d]``, of any length above 0."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Question(Protocol):
    """What is known of a question."""

    @property
    def contexts(self) -> Sequence[str]:
        """What the answer is to be found in; ``[1]`` cites the first."""

    @property
    def references(self) -> Sequence[str]:
        """Right answers, each for itself."""

    @property
    def answerable(self) -> bool | None:
        """Whether the contexts hold the answer; None where that is not known."""


def normalized(text: str) -> str:
    """``text`` as SQuAD compares it: lower case, without punctuation (ASCII), without a, an and the,
    one blank between words."""
    plain = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact_match(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Values:
    """Whether each answer is one of its references, normalised ``[q]``. A question without any has no
    answer, and only an empty one is right."""
    return _best(
        answers, references, lambda one, other: float(normalized(one) == normalized(other))
    )


def token_f1(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Values:
    """Harmonic mean of precision and recall of each answer's words, the best over its references
    ``[q]``; without references as :func:`exact_match`."""
    return _best(answers, references, _f1)


def rouge_l(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Values:
    """ROUGE-L's F-measure of each answer, the best over its references ``[q]``; without references as
    :func:`exact_match`."""
    scorer = RougeScorer(["rougeL"])

    def measure(answer: str, reference: str) -> float:
        if not normalized(reference):
            return float(not normalized(answer))
        return float(scorer.score(reference, answer)["rougeL"].fmeasure)

    return _best(answers, references, measure)


def _best(
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    measure: Callable[[str, str], float],
) -> Values:
    """The greatest value over the references that normalisation leaves something of ``[q]``; where
    there is none the right answer is the empty one, as SQuAD 2.0 has it."""
    found = [
        max(measure(answer, one) for one in [r for r in right if normalized(r)] or [""])
        for answer, right in zip(answers, references, strict=True)
    ]
    return np.array(found, dtype=np.float64)


def _f1(answer: str, reference: str) -> float:
    ours, theirs = normalized(answer).split(), normalized(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))


def answer_similarity(
    answers: Sequence[str], references: Sequence[Sequence[str]], embed: Embed
) -> Values:
    """Cosine of each answer and the nearest of its references ``[q]``, in [-1, 1]; NaN without
    references, 0 for an empty answer. Each text is embedded once."""
    texts = sorted({text for row in references for text in row} | set(answers))
    vectors = np.asarray(embed(texts), np.float64) if texts else np.zeros((0, 1))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    place = {text: row for row, text in enumerate(texts)}

    def nearest(answer: str, right: Sequence[str]) -> float:
        if not right:
            return np.nan
        rows = [place[text] for text in right]
        return float((unit[rows] @ unit[place[answer]]).max()) if answer.strip() else 0.0

    found = [nearest(*pair) for pair in zip(answers, references, strict=True)]
    return np.array(found, dtype=np.float64)


def values(
    questions: Sequence[Question], answers: Sequence[str], embed: Embed | None = None
) -> dict[str, Values]:
    """Every measure of ``answers`` for each question ``[q]``, NaN where it does not apply.

    ``F1``, ``EM`` and ``ROUGE-L`` are of questions with references and of those known to have no
    answer; there a refusal in words is the empty answer that SQuAD asks for. ``similarity``, if there
    is an ``embed``, is of those with references; ``refusal`` (it says so) of those without an answer,
    ``answered`` (it does not) of those with one. ``groundedness``, ``grounded sentences`` and
    ``citations`` are of answers that claim something, if there are contexts. Marks that cite are no
    part of the text that is compared.
    """
    right = [_truth(question) for question in questions]
    known = np.array([truth is not None for truth in right], dtype=bool)
    empty = np.array([question.answerable is False for question in questions], dtype=bool)
    full = np.array(
        [bool(truth) or q.answerable is True for q, truth in zip(questions, right, strict=True)]
    )
    references = [truth or () for truth in right]
    told = _told(questions, answers)
    found = {
        "F1": _where(known, token_f1(told, references)),
        "EM": _where(known, exact_match(told, references)),
        "ROUGE-L": _where(known, rouge_l(told, references)),
    }
    if embed is not None:
        found["similarity"] = answer_similarity(told, references, embed)
    refused = np.array([refuses(without_marks(answer)) for answer in answers], dtype=np.float64)
    found |= {"refusal": _where(empty, refused), "answered": _where(full, 1 - refused)}
    held = [question.contexts for question in questions]
    given = np.array([bool(texts) for texts in held], dtype=bool)
    for name, measure in _OF_CLAIMS.items():
        found[name] = _where(given, measure(answers, held))
    return found


_OF_CLAIMS = {
    "groundedness": groundedness,
    "grounded sentences": grounded_sentences,
    "citations": citation_accuracy,
}


def _truth(question: Question) -> tuple[str, ...] | None:
    """The references; empty where there is no answer, None where it is not known."""
    if question.answerable is False:
        return ()
    return tuple(question.references) or None


def _told(questions: Sequence[Question], answers: Sequence[str]) -> list[str]:
    """What is compared with references: without citations; of a question without an answer, a
    refusal as the empty answer."""
    plain = [without_marks(answer) for answer in answers]
    return [
        "" if question.answerable is False and refuses(answer) else answer
        for question, answer in zip(questions, plain, strict=True)
    ]


def _where(chosen: NDArray[np.bool_], found: Values) -> Values:
    return np.where(chosen, found, np.nan)


def quality(
    questions: Sequence[Question],
    teacher: Sequence[str],
    other: Sequence[str],
    seed: int,
    *,
    embed: Embed | None = None,
) -> dict[str, Any]:
    """``quality`` of report.json: each measure of ``other`` (the student, an export) beside the
    teacher's, over the ``queries`` that it applies to for both, with the interval of its retention.

    A measure that applies to none is left out. Where no answer is known, :data:`AGREEMENT` comes first.

    Args:
        teacher: an answer per question, in their order.
        other: as ``teacher``.
        seed: of the intervals.

    Raises:
        ValueError: not as many answers as questions.
    """
    if not len(questions) == len(teacher) == len(other):
        counts = f"{len(teacher)} and {len(other)} answers"
        raise ValueError(f"{counts} to {len(questions)} questions")
    ours, theirs = (values(questions, answers, embed) for answers in (teacher, other))
    if all(_truth(question) is None for question in questions):
        ours = _agreement(teacher, teacher) | ours
        theirs = _agreement(teacher, other) | theirs
    rows = {name: _row(ours[name], theirs[name], seed) for name in ours}
    return {name: row for name, row in rows.items() if row}


def _agreement(teacher: Sequence[str], other: Sequence[str]) -> dict[str, Values]:
    plain = [[without_marks(answer) for answer in answers] for answers in (teacher, other)]
    return {AGREEMENT: token_f1(plain[1], [[answer] for answer in plain[0]])}


def _row(teacher: Values, other: Values, seed: int) -> Mapping[str, Any]:
    both = np.isfinite(teacher) & np.isfinite(other)
    if not both.any():
        return {}
    return compare(teacher[both], other[both], seed).as_json() | {"queries": int(both.sum())}


def headline(
    questions: Sequence[Question], teacher: Sequence[str], other: Sequence[str]
) -> tuple[str, Values, Values]:
    """What the verdict is about, and its value of both for each question that it applies to, for
    :func:`ragdistill.metrics.verdict.decide`: F1, or the agreement where no answer is known."""
    if all(_truth(question) is None for question in questions):
        found = _agreement(teacher, other)[AGREEMENT]
        return AGREEMENT, np.ones_like(found), found
    right = [_truth(question) for question in questions]
    known = np.array([truth is not None for truth in right], dtype=bool)
    ours, theirs = (
        token_f1(_told(questions, answers), [truth or () for truth in right])[known]
        for answers in (teacher, other)
    )
    return HEADLINE, ours, theirs
