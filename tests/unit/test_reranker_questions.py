"""What is asked where there are no queries."""

import re
from dataclasses import replace

import pytest

from ragdistill.data.collection import Collection, Document, Query
from ragdistill_reranker.questions import cut_out, questions

DOCUMENTS = tuple(
    Document(
        f"d{n}", f"The river {n} flows past the old city. A bridge {n} was built there in spring."
    )
    for n in range(30)
)


def test_a_piece_is_not_left_in_its_document() -> None:
    found = questions(Collection("c", DOCUMENTS), limit=20, seed=0, avoid=())
    assert len(found) == 20
    for question in found:
        (place,) = question.relevant
        assert question.text in DOCUMENTS[place].content
        assert question.rest is not None
        assert question.text not in question.rest
        words = (question.text + " " + question.rest).split()
        assert sorted(words) == sorted(DOCUMENTS[place].content.split())
    assert len({question.text for question in found}) == 20


def test_what_is_asked_does_not_depend_on_the_order_of_the_file() -> None:
    found = questions(Collection("c", DOCUMENTS), limit=20, seed=0, avoid=())
    turned = questions(Collection("c", DOCUMENTS[::-1]), limit=20, seed=0, avoid=())
    last = len(DOCUMENTS) - 1
    moved = [replace(each, relevant=tuple(last - n for n in each.relevant)) for each in found]
    assert turned == moved
    others = questions(Collection("c", DOCUMENTS), limit=20, seed=1, avoid=())
    assert {each.relevant for each in others} != {each.relevant for each in found}


def test_judged_queries_come_first_and_evaluation_queries_never() -> None:
    queries = (Query("q1", "which river flows"), Query("q2", "which bridge was built"))
    splits = {"train": {"q1": {"d3": 1, "gone": 1}}, "test": {"q2": {"d1": 1}}}
    collection = Collection("c", DOCUMENTS, queries, splits)
    banned = "A  bridge 5 was built there in SPRING."
    found = questions(collection, limit=None, seed=0, avoid=["which bridge was built", banned])
    assert (found[0].text, found[0].relevant, found[0].rest) == ("which river flows", (3,), None)
    assert [question.judged for question in found[:3]] == [True, False, False]
    told = [re.sub(r"\s+", " ", question.text).casefold() for question in found]
    assert "which bridge was built" not in told
    assert "a bridge 5 was built there in spring." not in told


@pytest.mark.parametrize(
    "document", [Document("d", "One sentence alone."), Document("d", ""), Document("d", "word")]
)
def test_what_has_nothing_to_spare_is_not_cut(document: Document) -> None:
    assert cut_out(document, 0) is None
