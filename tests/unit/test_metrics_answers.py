"""Measures of written answers: SQuAD's own script as reference, and what claims and refusals are."""

import collections
import json
import re
import string
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from ragdistill.metrics import answers, bootstrap
from ragdistill.metrics.citations import citation_accuracy
from ragdistill.metrics.grounding import content, grounded_sentences, groundedness, supports
from ragdistill.metrics.refusals import REFUSAL, refuses
from ragdistill.metrics.sentences import cited, sentences, without_marks
from ragdistill.report import schema

TOWER = (
    "The Eiffel Tower is a lattice tower in Paris. It was built in 1889 by Gustave Eiffel's company, "
    "and is 330 metres tall."
)
BRIDGE = "Tower Bridge crosses the Thames in London. It was opened in 1894."


@dataclass(frozen=True)
class Asked:
    references: tuple[str, ...] = ()
    answerable: bool | None = None
    contexts: tuple[str, ...] = (TOWER, BRIDGE)


# What follows is evaluate-v2.0.py of SQuAD, as it is published, but for its layout.
def official_normalize(s: str) -> str:
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", s).split())


def official_f1(a_gold: str, a_pred: str) -> float:
    gold_toks, pred_toks = (official_normalize(s).split() if s else [] for s in (a_gold, a_pred))
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision, recall = 1.0 * num_same / len(pred_toks), 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def official(a_pred: str, golds: list[str]) -> tuple[float, float]:
    gold_answers = [a for a in golds if official_normalize(a)] or [""]
    exact = max(int(official_normalize(a) == official_normalize(a_pred)) for a in gold_answers)
    return exact, max(official_f1(a, a_pred) for a in gold_answers)


_TEXT = st.text(alphabet="ab theAN.,' \u00e9", max_size=14)


@given(_TEXT, st.lists(_TEXT, max_size=3))
def test_exact_match_and_f1_are_those_of_squad(answer: str, references: list[str]) -> None:
    exact, f1 = official(answer, references)
    assert answers.exact_match([answer], [references]).tolist() == [exact]
    assert answers.token_f1([answer], [references]) == pytest.approx([f1])


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("the Denver Broncos!", ["Denver Broncos"], 1, 1),
        ("Santa Clara, California", ["Santa Clara"], 0, 0.8),
        ("Levi's Stadium in Santa Clara", ["Paris", "levis stadium"], 0, 4 / 7),
        ("b b a", ["b c"], 0, 0.5),  # a word counts as often as both have it
        ("", [], 1, 1),
        ("Paris", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("Paris", ["the", "Paris"], 1, 1),
    ],
)
def test_known_cases_of_squad(answer: str, references: list[str], exact: float, f1: float) -> None:
    assert answers.exact_match([answer], [references])[0] == exact
    assert answers.token_f1([answer], [references])[0] == pytest.approx(f1)


def test_rouge_l_is_the_library_s_best_over_references() -> None:
    references = ["police killed the gunman", "the gunman was shot"]
    answer = "the gunman police killed"
    known = RougeScorer(["rougeL"]).score_multi(references, answer)["rougeL"].fmeasure
    assert answers.rouge_l([answer, "", "x", ""], [references, [], [], ["x"]]).tolist() == [
        known, 1, 0, 0,
    ]  # fmt: skip
    assert known == 0.5  # two words in order (Lin 2004)


def test_similarity_is_the_cosine_to_the_nearest_reference_each_text_embedded_once() -> None:
    asked: list[str] = []
    vectors = {"a": [2.0, 0.0], "b": [0.0, 1.0], "c": [3.0, 3.0], "": [0.0, 1.0]}

    def embed(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([vectors[text] for text in texts], np.float32)

    found = answers.answer_similarity(["c", "a", "", "b"], [["a", "b"], ["b"], ["b"], []], embed)
    np.testing.assert_allclose(found, [0.5**0.5, 0, 0, np.nan], atol=1e-7)
    assert sorted(asked) == sorted(vectors)


@pytest.mark.parametrize(
    "answer",
    [
        "", " . ", REFUSAL, REFUSAL.upper(), REFUSAL + " It is about towers only.",
        "The provided context does not mention who built it.", "I don't know.", "I don\u2019t know",
        "The documents do not explicitly state the year.", "Unanswerable", "unknown.",
        "The year is not mentioned in the given context.", "I cannot answer this from the context.",
        "There is not enough information to answer.",
    ],
)  # fmt: skip
def test_refusals_are_known(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Paris", "1889", "The tomb of the Unknown Soldier", "It does not contain iron.",
        "The context does not say so, but it is Paris.", "No", "An information desk",
        "I don't know for certain. However, 1889 is likely.",
        "Paris. The context does not say more.",
    ],
)  # fmt: skip
def test_answers_are_no_refusals(answer: str) -> None:
    assert not refuses(answer)


def test_marks_are_found_and_taken_off() -> None:
    text = 'It is "Paris." [1] Built in 1889 [2, 3][1].\nTall[12]! See f(x)[1] and 3.5 m.'
    assert sentences(text) == [
        'It is "Paris." [1]', "Built in 1889 [2, 3][1].", "Tall[12]!", "See f(x)[1] and 3.5 m.",
    ]  # fmt: skip
    assert cited(text) == [1, 2, 3, 1, 12]
    assert without_marks("Paris [1]. Built[2], then.") == "Paris. Built, then."


@given(st.text(alphabet="ab.!?\n [1]\u3002", max_size=40))
def test_sentences_lose_nothing_but_blanks(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


def test_a_planted_claim_is_told_from_what_the_context_says() -> None:
    said = "The tower in Paris was built in 1889. It is 330 metres tall."
    planted = "The tower in Paris was built in 1889. It weighs seven thousand tons."
    swapped = "The tower in Paris was built in 1894. It is 330 metres tall."
    held = [(TOWER,)] * 3
    tokens = groundedness([said, planted, swapped], held)
    assert tokens[0] == 1
    assert (tokens[1:] < 1).all()
    assert grounded_sentences([said, planted, swapped], held).tolist() == [1, 0.5, 0.5]


def test_a_sentence_is_not_put_together_of_two_contexts_or_two_ends_of_one() -> None:
    mixed = ["Eiffel opened the bridge in London."]
    assert groundedness(mixed, [(TOWER, BRIDGE)])[0] == pytest.approx(1)
    assert grounded_sentences(mixed, [(TOWER, BRIDGE)])[0] == 0
    far = content(TOWER) + ["between"] * 80 + content(BRIDGE)
    assert not supports(far, content(mixed[0]))
    assert supports(far, content(mixed[0]), window=len(far))
    assert supports(far, content("Gustave Eiffel's company built it"))


@given(
    st.lists(st.sampled_from("abcdef"), max_size=30),
    st.sets(st.sampled_from("abcdef")),
    st.integers(1, 9),
)
def test_a_window_supports_what_some_stretch_of_it_holds(
    context: list[str], wanted: set[str], window: int
) -> None:
    stretches = [set(context[i : i + window]) for i in range(len(context))]
    known = bool(wanted) and any(wanted <= stretch for stretch in stretches)
    assert supports(context, sorted(wanted), window) == known


def test_what_words_cannot_see_is_as_documented() -> None:
    """The limits that the module tells of: if one falls, its docstring is to be changed."""
    held = [(TOWER + " The Louvre is not a tower.",)]
    assert grounded_sentences(["The Eiffel Tower is not in Paris."], held)[0] == 1
    assert groundedness(["The landmark stands in France's capital."], held)[0] == 0


def test_nothing_claimed_is_neither_grounded_nor_not() -> None:
    silent = ["", REFUSAL, "It is."]
    for measure in (groundedness, grounded_sentences, citation_accuracy):
        assert np.isnan(measure(silent, [(TOWER,)] * 3)).all()
        assert measure(["Paris"], [()])[0] == 0


def test_citations_must_exist_and_support_their_own_sentence() -> None:
    held = (TOWER, BRIDGE)
    cases = {
        "It was built in 1889 [1].": 1,
        "It was built in 1889. [1]": 1,
        "It was built in 1889 [2].": 0,
        "It was built in 1889 [3].": 0,
        "It was built in 1889 [0].": 0,
        "It was built in 1889 [1, 2].": 0.5,
        "Built in 1889 [1]. London's bridge was opened in 1894 [2].": 1,
        "Built in 1889 [2]. London's bridge was opened in 1894 [1].": 0,
        "It was built in 1889.": 0,
    }
    found = citation_accuracy(list(cases), [held] * len(cases))
    assert dict(zip(cases, found.tolist(), strict=True)) == cases


QUESTIONS = [
    Asked(("1889",), answerable=True),
    Asked(("Paris", "in Paris")),
    Asked(answerable=False),
    Asked((), answerable=None),
]
TEACHER = ["1889 [1].", "It is in Paris [1].", REFUSAL, "330 metres"]
STUDENT = ["1894 [2].", REFUSAL, "London", "a hundred yards"]


def test_each_measure_is_of_the_questions_that_it_applies_to() -> None:
    found = answers.values(QUESTIONS, TEACHER, embed=lambda texts: np.eye(len(texts)))
    nan = np.nan
    expected = {
        "F1": [1, 2 / 3, 1, nan],
        "EM": [1, 0, 1, nan],
        "ROUGE-L": [1, 2 / 3, 1, nan],
        "similarity": [0, 0, nan, nan],
        "refusal": [nan, nan, 1, nan],
        "answered": [1, 1, nan, nan],
        "groundedness": [1, 1, nan, 1],
        "grounded sentences": [1, 1, nan, 1],
        "citations": [1, 1, nan, 0],
    }
    assert list(found) == list(expected)
    for name, row in expected.items():
        np.testing.assert_allclose(found[name], row, err_msg=name)


def test_quality_pairs_what_both_can_be_measured_on() -> None:
    found = answers.quality(QUESTIONS, TEACHER, STUDENT, seed=3)
    known = bootstrap.compare(np.array([1, 2 / 3, 1]), np.zeros(3), seed=3)
    assert found["F1"] == known.as_json() | {"queries": 3}
    assert next(iter(found)) == answers.HEADLINE
    assert "similarity" not in found
    assert {name: row["queries"] for name, row in found.items()} == {
        "F1": 3, "EM": 3, "ROUGE-L": 3, "refusal": 1, "answered": 2,
        "groundedness": 2, "grounded sentences": 2, "citations": 2,
    }  # fmt: skip
    assert (found["refusal"]["student"], found["answered"]["student"]) == (0, 0.5)
    nothing = answers.quality(QUESTIONS[:1], ["x"], ["1889"], seed=0)["EM"]
    assert (nothing["teacher"], nothing["retention"], nothing["ci95"]) == (0, None, None)
    named = {"name": "x"}
    models = {"teacher": named, "student": named, "data": named}
    report = schema._empty("generator") | models | {"quality": found}
    schema.validate(json.loads(json.dumps(report)))
    with pytest.raises(ValueError, match="3 and 4 answers to 4 questions"):
        answers.quality(QUESTIONS, TEACHER[:3], STUDENT, seed=0)


def test_the_headline_is_what_quality_has() -> None:
    for questions in (QUESTIONS, [Asked()] * 4):
        row = answers.quality(questions, TEACHER, STUDENT, seed=0)
        name, ours, theirs = answers.headline(questions, TEACHER, STUDENT)
        assert name == next(iter(row))
        assert (row[name]["teacher"], row[name]["student"]) == (ours.mean(), theirs.mean())


def test_without_known_answers_the_teacher_s_are_what_is_right() -> None:
    found = answers.quality([Asked()] * 2, ["in Paris [1]", "1889"], ["Paris", "1889 [1]"], seed=0)
    row = found[answers.AGREEMENT]
    assert (row["teacher"], row["student"], row["queries"]) == (1, pytest.approx(5 / 6), 2)
    assert "F1" not in found
