"""Queries apart: groups that add up to the whole, and the worst losses with what stands behind."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdistill.data.collection import Document, Query
from ragdistill.metrics import retrieval
from ragdistill.metrics.by_query import Paired, by_asking, paired, quality_by, terciles
from ragdistill.metrics.retrieval import Task
from ragdistill.metrics.trec import Rankings
from ragdistill.metrics.worst import shortened, worst

LETTERS = "abcdefghijklmnop"


def ranked(order: str) -> list[tuple[str, float]]:
    return [(letter, 1 - place / 100) for place, letter in enumerate(order)]


def make(qrels: dict[str, dict[str, int]] | None = None, queries: int = 3) -> Task:
    """Query ``q2`` has three words, and so on; documents are letters."""
    asked = tuple(Query(f"q{n}", " ".join(["word"] * (n + 1))) for n in range(queries))
    documents = tuple(Document(letter, f"about {letter}") for letter in LETTERS)
    return Task(documents, asked, qrels or {}, "test" if qrels else None)


JUDGED = {"q0": {"a": 1}, "q1": {"a": 2, "b": 1, "z": 1, "c": 0}, "q2": {"a": 1}}
TEACHER: Rankings = {q: ranked(LETTERS) for q in JUDGED}
STUDENT: Rankings = {
    "q0": ranked("ab" + LETTERS[2:]),
    "q1": ranked("cdefghijklmba"),
    "q2": ranked("ba" + LETTERS[2:]),
}


def test_the_greatest_loss_comes_first_with_what_was_missed_and_what_came_instead() -> None:
    told = worst(make(JUDGED), TEACHER, STUDENT)
    json.dumps(told, allow_nan=False)
    assert (told["measure"], told["worse"], told["better"]) == ("nDCG@10", 2, 0)
    assert [query["id"] for query in told["queries"]] == ["q1", "q2"]
    first = told["queries"][0]
    assert first["text"] == "word word"
    assert (first["student"], first["relevant"]) == (0.0, 3)
    assert first["teacher"] > 0.8
    # b was worth less than a, and z is in no corpus: it was found by neither.
    assert [document["id"] for document in first["wanted"]] == ["a", "b", "z"]
    assert first["wanted"][0] == {
        "id": "a",
        "text": "about a",
        "grade": 2,
        "teacher_rank": 1,
        "student_rank": 13,
    }
    assert first["wanted"][2] == {
        "id": "z",
        "text": None,
        "grade": 1,
        "teacher_rank": None,
        "student_rank": None,
    }
    assert [(d["id"], d["grade"], d["student_rank"]) for d in first["instead"]] == [
        ("c", 0, 1),
        ("d", None, 2),
        ("e", None, 3),
    ]
    assert worst(make(JUDGED), TEACHER, STUDENT, count=1)["queries"] == [first]


def test_a_student_that_is_its_teacher_has_lost_nothing() -> None:
    told = worst(make(JUDGED), TEACHER, TEACHER)
    assert (told["worse"], told["better"], told["queries"]) == (0, 0, [])


def test_without_judgments_the_teachers_first_ten_are_what_is_missed() -> None:
    told = worst(make(), TEACHER, STUDENT | {"q0": ranked("bcdefghijkla")})
    assert told["measure"] == "overlap@10"
    first = told["queries"][0]
    assert first["id"] == "q1"  # its ten lack a and b
    assert (first["teacher"], first["student"], first["relevant"]) == (1.0, 0.8, 10)
    assert [document["id"] for document in first["wanted"]][:2] == ["a", "b"]
    assert [(d["id"], d["teacher_rank"], d["grade"]) for d in first["instead"]] == [
        ("k", 11, None),
        ("l", 12, None),
        ("m", 13, None),
    ]


def test_values_are_those_whose_mean_the_report_has() -> None:
    task = make(JUDGED)
    values = paired(task, TEACHER, STUDENT)
    row = retrieval.quality(task.qrels, TEACHER, STUDENT, seed=0)["nDCG@10"]
    assert values.teacher.mean() == pytest.approx(row["teacher"])
    assert values.student.mean() == pytest.approx(row["student"])


def test_groups_are_parts_of_all_queries() -> None:
    task = make(JUDGED)
    found = quality_by(task, TEACHER, STUDENT, [(7, 1, 0.9)], seed=0)
    json.dumps(found, allow_nan=False)
    assert [group["words"] for group in found["length"]] == [[1, 1], [2, 2], [3, 3]]
    assert [g["near_duplicate"] for g in found["near_duplicate"]] == [False, True]
    for groups in (found["length"], found["near_duplicate"]):
        weights = [group["queries"] for group in groups]
        assert sum(weights) == 3
        mean = np.average([group["student"] for group in groups], weights=weights)
        assert mean == pytest.approx(paired(task, TEACHER, STUDENT).student.mean())
    alike = found["near_duplicate"][1]
    assert (alike["queries"], alike["student"], alike["retention"]) == (1, 0.0, 0.0)
    assert quality_by(task, TEACHER, STUDENT, None, seed=0)["near_duplicate"] is None
    assert len(quality_by(task, TEACHER, STUDENT, [], seed=0)["near_duplicate"]) == 1


def test_questions_are_told_apart_by_what_they_ask_for() -> None:
    texts = ["How many are there?", "In which year?", "name it", "Who, and when?", "how is it WHO"]
    values = Paired("F1", np.ones(5), np.array([1, 0, 1, 0.5, 0.25]))
    found = by_asking(values, texts, seed=0)
    assert {row["asks"]: row["student"] for row in found} == {
        "how many": 1, "which": 0, "other": 1, "who": 0.5, "how": 0.25,
    }  # fmt: skip
    twice = by_asking(Paired("F1", np.ones(3), np.zeros(3)), ["why", "who", "who"], seed=0)
    assert [(row["asks"], row["queries"]) for row in twice] == [("who", 2), ("why", 1)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=200))
def test_terciles_part_the_queries_by_length(lengths: list[int]) -> None:
    groups = terciles(np.array(lengths))
    assert 1 <= len(groups) <= 3
    assert np.sum([mask for _, mask in groups], axis=0).tolist() == [1] * len(lengths)
    bounds = [bound for ends, _ in groups for bound in ends]
    assert bounds == sorted(bounds)
    for (_, end), (start, _) in zip(
        [g[0] for g in groups], [g[0] for g in groups][1:], strict=False
    ):
        assert end < start
    if len(set(lengths)) == len(lengths) >= 3:
        sizes = [int(mask.sum()) for _, mask in groups]
        assert max(sizes) - min(sizes) <= 1


@given(st.text(max_size=80), st.integers(2, 60))
def test_a_cut_text_is_short_and_begins_like_the_whole(text: str, limit: int) -> None:
    cut, whole = shortened(text, limit), " ".join(text.split())
    assert len(cut) <= limit
    assert cut == whole or (cut.endswith("…") and whole.startswith(cut[:-1]))


def test_a_text_is_cut_after_a_word_where_one_ends() -> None:
    assert shortened("one two three four", 15) == "one two three…"
    assert shortened("x" * 50, 10) == "x" * 9 + "…"
