"""Sampling and splitting: seeded, stable, and nothing shared between the parts."""

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_helpers import real_set
from ragdistill.data import beir
from ragdistill.data.collection import Collection, Document, Query
from ragdistill.data.sampling import sample
from ragdistill.data.splits import By, choose, divided, split
from ragdistill.errors import UserError


def collection(queries: int = 100, per_document: int = 4, **qrels: object) -> Collection:
    """Each document is relevant to ``per_document`` queries; one conversation has five turns."""
    documents = queries // per_document
    return Collection(
        "made",
        tuple(Document(f"d{i}", f"document {i}") for i in range(documents)),
        tuple(
            Query(f"q{i}", f"turn {i}", context_turns=(f"turn {i - i % 5}",) if i % 5 else ())
            for i in range(queries)
        ),
        {"test": {f"q{i}": {f"d{i % documents}": 1} for i in range(queries)}},
    )


def identity(item: str) -> str:
    return item


@given(st.sets(st.text(max_size=5), max_size=30), st.integers(0, 30), st.integers(0, 3))
def test_a_sample_keeps_order_and_does_not_depend_on_it(items: set[str], n: int, seed: int) -> None:
    ordered = sorted(items)
    chosen = sample(ordered, n, seed, identity)
    assert len(chosen) == min(n, len(items))
    assert chosen == [item for item in ordered if item in set(chosen)]
    assert set(sample(ordered[::-1], n, seed, identity)) == set(chosen)
    assert set(chosen) <= set(sample(ordered, n + 1, seed, identity))


def test_a_sample_depends_on_the_seed_and_is_even() -> None:
    items = [str(i) for i in range(1000)]
    one, other = (set(sample(items, 100, seed, identity)) for seed in (0, 1))
    assert len(one & other) < 30
    low = sum(int(item) < 500 for seed in range(20) for item in sample(items, 100, seed, identity))
    assert 900 < low < 1100
    assert sample(items, None, 0, identity) == items
    with pytest.raises(ValueError, match="-1"):
        sample(items, -1, 0, identity)


@pytest.mark.parametrize("by", ["document", "query", "conversation"])
def test_parts_are_disjoint_whole_and_stable(by: By) -> None:
    made = collection()
    parts = split(made, 7, by)
    assert [len(part) for part in parts] == pytest.approx([80, 10, 10], abs=4)
    whole = sorted(query for part in parts for query in part)
    assert whole == sorted(query.id for query in made.queries)
    mixed = list(made.queries)
    random.Random(0).shuffle(mixed)
    rows = dict(reversed(made.qrels["test"].items()))
    other = dataclasses.replace(made, queries=tuple(mixed), qrels={"test": rows})
    assert [set(part) for part in split(other, 7, by)] == [set(part) for part in parts]
    assert split(made, 8, by) != parts


def test_no_document_and_no_conversation_is_in_two_parts() -> None:
    made = collection()
    rows = made.qrels["test"]
    by_document = [{d for query in part for d in rows[query]} for part in split(made, 0)]
    turns = [{int(q[1:]) // 5 for q in part} for part in split(made, 0, "conversation")]
    for parts in (by_document, turns):
        assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]


def test_queries_linked_through_others_stay_together() -> None:
    made = collection(40, 1)
    chain = {f"q{i}": {f"d{i}": 1, f"d{i + 1}": 1, "d39": 0} for i in range(10)}
    rows = {**made.qrels["test"], **chain}
    parts = split(dataclasses.replace(made, qrels={"test": rows}), 0)
    assert len([part for part in parts if set(part) & set(chain)]) == 1


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(UserError, match="2 queries in 2 groups"):
        split(collection(2, 1), 0)
    made = collection()
    tied = dataclasses.replace(made, qrels={"test": {q.id: {"d0": 1} for q in made.queries}})
    with pytest.raises(UserError, match="100 queries in 1 groups"):
        split(tied, 0, "document")
    with pytest.raises(UserError, match="0 queries"):
        split(dataclasses.replace(made, queries=(), qrels={}), 0)
    with pytest.raises(ValueError, match="author"):
        split(made, 0, "author")  # type: ignore[arg-type]


def test_the_split_for_evaluation() -> None:
    rows = {"q0": {"d0": 1}}

    def of(*names: str) -> Collection:
        return dataclasses.replace(collection(), qrels=dict.fromkeys(names, rows))

    assert choose(of("train", "dev", "test"))[0] == "test"
    assert choose(of("train", "validation", "questions"))[0] == "validation"
    assert choose(of("train", "questions")) == ("questions", rows)
    assert choose(of("dev", "test"), "dev")[0] == "dev"
    for names, split_name, message in (
        ((), None, "no judged query"),
        (("train",), None, "judgments only for training"),
        (("a", "b"), None, "several splits: a, b"),
        (("dev", "test"), "tset", "no split 'tset', did you mean 'test'?"),
    ):
        with pytest.raises(UserError, match=message.replace("?", r"\?")):
            choose(of(*names), split_name)


def test_the_turns_of_a_real_conversation_stay_together() -> None:
    canard = beir.load(real_set("canard"))
    parts = split(canard, 0, "conversation")
    talks = [{query.rpartition("_q")[0] for query in part} for part in parts]
    assert not talks[0] & talks[1] | talks[0] & talks[2] | talks[1] & talks[2]
    assert [len(part) / len(canard.queries) for part in parts] == pytest.approx(
        [0.8, 0.1, 0.1], abs=0.01
    )


def test_a_divided_collection_shares_no_document_and_no_conversation() -> None:
    made = collection(queries=200)
    # Turns of one conversation are about documents of other conversations, too: some hold together so.
    parts = divided(made, 3)
    assert list(parts.qrels) == ["train", "dev", "test"]
    told = {q: rows for split_rows in parts.qrels.values() for q, rows in split_rows.items()}
    assert told == made.qrels["test"]
    by_id = {query.id: query for query in made.queries}
    sides = [
        (
            {document for row in rows.values() for document in row},
            {(by_id[q].context_turns or (by_id[q].text,))[0] for q in rows},
        )
        for rows in parts.qrels.values()
    ]
    for place, (documents, openings) in enumerate(sides):
        for others in sides[place + 1 :]:
            assert not documents & others[0]
            assert not openings & others[1]
