"""The small part of pydocs with conversations: whose they are, and that nothing leaks."""

import pytest

from ragdistill.data import pydocs_turns
from ragdistill.data.collection import Collection
from ragdistill.data.loading import load
from ragdistill.data.splits import choose, opening


@pytest.fixture(scope="module")
def collection() -> Collection:
    return load("pydocs-turns")


def test_it_is_small_and_whole(collection: Collection) -> None:
    assert len(collection.documents) == pydocs_turns.DOCUMENTS
    ids = {document.id for document in collection.documents}
    assert all(row.keys() <= ids for rows in collection.qrels.values() for row in rows.values())
    assert choose(collection)[0] == "test"
    judged = [set(collection.qrels[name]) for name in ("train", "test")]
    assert not judged[0] & judged[1]
    assert judged[0] | judged[1] == {query.id for query in collection.queries}
    assert len(judged[0]) == pydocs_turns.TRAIN_TURNS


def test_no_conversation_is_on_two_sides(collection: Collection) -> None:
    sides = [
        {opening(query) for query in collection.queries if query.id in collection.qrels[name]}
        for name in ("train", "test")
    ]
    assert not sides[0] & sides[1]


def test_turns_need_what_was_said_before(collection: Collection) -> None:
    turns = [query for query in collection.queries if query.context_turns]
    assert len(turns) == pydocs_turns.TRAIN_TURNS + pydocs_turns.TEST_TURNS
    for query in turns:
        asked, said = query.context_turns
        assert asked.startswith("What is ")
        assert said
        parent = query.id.removeprefix("turn:").rpartition(".")[0]
        assert asked == f"What is {parent}?"
        assert parent not in query.text
    answered = [query for query in collection.queries if query.answers]
    assert len(answered) >= 150
    assert not any(query.context_turns for query in answered)
