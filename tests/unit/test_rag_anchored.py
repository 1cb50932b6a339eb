"""What a query finds by itself keeps its place: whatever the rewrite, and only where both find it."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_helpers import write_stack
from ragdistill.data.collection import Query
from ragdistill.errors import UserError
from ragdistill.rag.pipeline import Seen
from ragdistill.rag.retrieval import ANCHORS, Ranking, anchored
from ragdistill.rag.stack import read
from ragdistill.rag.stages import Retrieving, Rewriting

RANKINGS = st.lists(st.sampled_from("abcdefghij"), unique=True)


def ranking(documents: Sequence[str]) -> Ranking:
    return [(document, 10.0 - place) for place, document in enumerate(documents)]


@given(RANKINGS, RANKINGS, st.integers(1, 12))
def test_what_both_find_never_falls_and_nothing_else_comes(
    raw: list[str], new: list[str], within: int
) -> None:
    found = anchored(ranking(raw), ranking(new), within)
    order = [document for document, _ in found]
    assert sorted(order) == sorted(new)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    kept = [document for document in raw[:ANCHORS] if document in new[:within]]
    assert order[: len(kept)] == kept
    assert all(order.index(document) <= raw.index(document) for document in kept)
    others = [document for document in new if document not in kept]
    assert [document for document in order if document not in kept] == others


def test_known_orders() -> None:
    found = anchored(ranking("abcd"), ranking("xcaybz"), 3)
    assert [document for document, _ in found] == ["a", "c", "x", "y", "b", "z"]
    assert [score for _, score in found] == [score for _, score in ranking("xcaybz")]
    assert [document for document, _ in anchored(ranking("abc"), ranking("xyz"), 3)] == list("xyz")


class Finding:
    """A retriever that has been asked."""

    name, fingerprint, documents = "finding", "print", 0

    def __init__(self) -> None:
        self.asked: list[str] = []

    def search(self, query: str) -> Ranking:
        self.asked.append(query)
        return ranking({"it": "abc", "the river": "xab"}[query])


def test_a_stack_searches_twice_where_a_query_was_rewritten() -> None:
    def part(said: str) -> Any:
        return SimpleNamespace(name="it", fingerprint="f", rewrite=lambda turns, text: said)

    seen, retriever = Seen(Query("q", "it"), "it"), Finding()
    stage = Retrieving(retriever)  # type: ignore[arg-type]
    found = {}
    for said, anchor in (("the river", 0), ("the river", 2), ("it", 2)):
        rewriting = Rewriting(part(said), anchor)
        asked = rewriting.take(seen, said)
        found[said, anchor] = [name for name, _ in stage.take(asked, stage.answer(asked)).found]
        assert (len(stage.request(asked)) == 1) is (anchor == 0 or said == "it")
    assert found == {
        ("the river", 0): ["x", "a", "b"],
        ("the river", 2): ["a", "x", "b"],
        ("it", 2): ["a", "b", "c"],
    }
    assert retriever.asked == ["the river", "the river", "it", "it"]
    # A mix that anchors is another one than a mix that does not.
    assert Rewriting(part(""), 2).identity != Rewriting(part("")).identity


def test_a_stack_file_says_so(tmp_path: Path) -> None:
    stack = read(write_stack(tmp_path / "a.yaml", rewriter={"model": "m", "anchor": 5}, bm25=True))
    assert stack.anchor == 5
    assert read(write_stack(tmp_path / "b.yaml", rewriter="m", bm25=True)).anchor == 0
    assert read(write_stack(tmp_path / "c.yaml", bm25=True)).anchor == 0
    with pytest.raises(UserError, match="anchor"):
        read(write_stack(tmp_path / "d.yaml", rewriter={"model": "m", "anchor": 0}, bm25=True))
