"""Expansions: what teachers write, what is kept of it, how it is searched with, and what it does."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expansion_helpers import asking
from ragdistill.data import beir
from ragdistill.data.collection import Document, Query
from ragdistill.first_stage import Words
from ragdistill.signals.store import SignalStore
from ragdistill.writing import Written, collect, stored
from ragdistill_query_rewriter import expansions, feedback, made
from ragdistill_query_rewriter.expansions import Expansion, appended, expansion_of, separated
from ragdistill_query_rewriter.feedback import Feedback, FeedbackSettings
from ragdistill_query_rewriter.filtering import Trial, unfiltered
from ragdistill_query_rewriter.relevance import rm1, rm3
from ragdistill_query_rewriter.ways import Way
from ragdistill_query_rewriter.words import words

DOCUMENTS = ["aa aa bb", "bb cc"]


def test_rm3_is_what_it_is_by_hand() -> None:
    # P(w|d): aa 2/3, bb 1/3; bb 1/2, cc 1/2. Shares of the scores: 2/3 and 1/3.
    every = rm1([text.split() for text in DOCUMENTS], [2.0, 1.0], 10)
    assert every == pytest.approx({"aa": 4 / 9, "bb": 2 / 9 + 1 / 6, "cc": 1 / 6})
    assert list(every) == ["aa", "bb", "cc"]
    two = rm1([text.split() for text in DOCUMENTS], [2.0, 1.0], 2)
    assert two == pytest.approx({"aa": 8 / 15, "bb": 7 / 15})
    whole = rm3(["bb", "xx"], two, 0.5)
    assert whole == pytest.approx({"bb": 1 / 4 + 7 / 30, "aa": 4 / 15, "xx": 1 / 4})
    assert list(whole) == ["bb", "aa", "xx"]


def test_words_that_tell_nothing_are_no_feedback() -> None:
    told = rm1([["bb", "aa", "7", "12", "a" * 30, "x"]], [1.0], 10, lambda word: word != "aa")
    assert told == {"bb": 1.0}
    assert rm1([], [], 5) == {}
    # Cosines may all be below 0: each document then counts as much as another.
    assert rm1([["aa"], ["bb"]], [-0.1, -0.9], 5) == {"aa": 0.5, "bb": 0.5}


@given(
    st.lists(
        st.lists(st.sampled_from(["aa", "bb", "cc", "dd"]), max_size=6), min_size=1, max_size=4
    ),
    st.integers(1, 4),
    st.floats(0.05, 0.95),
)
def test_weights_add_up_to_one(documents: list[list[str]], terms: int, weight: float) -> None:
    told = rm1(documents, [1.0] * len(documents), terms)
    assert len(told) <= terms
    if told:
        assert sum(told.values()) == pytest.approx(1)
        assert sum(rm3(["aa", "aa", "zz"], told, weight).values()) == pytest.approx(1)


def made_feedback(documents: Sequence[str]) -> Feedback:
    stage = Words(documents)
    return Feedback(
        documents, "corpus", ("bm25", "bm25"), lambda: stage, lambda: stage, FeedbackSettings(2, 3)
    )


def test_feedback_is_stored_as_any_teachers_text_is(tmp_path: Path) -> None:
    documents = ["river bridge bridge stone", "river bridge sand", "wind rain", "snow"]
    teacher, store = made_feedback(documents), SignalStore(tmp_path)
    space = store.space(teacher.fingerprint(), teacher=teacher.known_as)
    requests = [feedback.messages(Query("", text)) for text in ("River", "rain", "unknown")]
    assert collect(teacher, requests, space).replies == 3
    assert collect(teacher, requests, space).replies == 0
    said = stored(space, requests)
    # bridge has 2/3 and 1/2 of what is left of the two documents that river finds.
    assert said[0].text.split()[0] == "bridge"
    assert "river" not in said[0].text
    assert said[1].text == "wind"
    assert said[2].fault == "empty"
    other = made_feedback([*documents, "more"])
    other.settings = FeedbackSettings(2, 4)
    assert other.fingerprint() != teacher.fingerprint()


def test_a_word_counts_as_often_as_a_query_has_it() -> None:
    stage = Words(["aa bb", "bb cc", "dd"])
    once, twice = (stage.find([text], 3).scores[0].max() for text in ("aa", "aa aa"))
    assert twice == pytest.approx(2 * once)
    assert [stage.held_by(word) for word in ("bb", "aa", "zz")] == [2, 1, 0]


KNOWN = {*["the", "old", "river", "bridge", "stone", "is", "where", "flows", "how", "long"]}
QUERY = Query("q", "where is the river")


@pytest.mark.parametrize(
    ("reply", "variants", "fault", "dropped"),
    [
        ("old river ||| stone bridge\nmore", ("old river", "stone bridge"), None, ()),
        ('1. "old river" ||| 2) - stone bridge |||', ("old river", "stone bridge"), None, ()),
        ("Here you are:\nold river ||| bridge", ("old river", "bridge"), None, ()),
        ("Old River ||| old river ||| where is the river?", ("Old River",), None, ("duplicate",) * 2),
        ("old river", (), "delimiter", ()),
        ("The river is in the old stone house on a hill.", (), "delimiter", ()),
        ("the river flows where the old stone bridge is. ||| old river", ("old river",), None, ("answer",)),
        ("Sure, old river ||| I'm a model", (), "answer", ("answer", "answer")),
        ("wo ist der fluss ||| old river", ("old river",), None, ("language",)),
        ("das haus am see ||| wo ist der", (), "language", ("language", "language")),
        ("old river ||| " + "river " * 40, ("old river",), None, ("long",)),
        ("|||  ||| ", (), "empty", ()),
        ("", (), "empty", ()),
    ],
)  # fmt: skip
def test_what_is_kept_of_a_reply(
    reply: str, variants: tuple[str, ...], fault: str | None, dropped: tuple[str, ...]
) -> None:
    found = expansion_of(QUERY, Written(reply), KNOWN.__contains__, 0.0)
    assert found == Expansion(variants, fault, dropped)


def test_what_was_cut_off_is_none_and_what_drifts_is_dropped() -> None:
    cut = expansion_of(QUERY, Written("old river ||| br", "length"), KNOWN.__contains__, 0.0)
    assert cut.fault == "length"
    found = expansion_of(QUERY, Written("old rivers ||| stone"), lambda word: True, 0.1)
    assert found == Expansion(("old rivers",), None, ("drift",))
    many = " ||| ".join(f"river {word}" for word in sorted(KNOWN))
    assert len(expansion_of(QUERY, Written(many), KNOWN.__contains__, 0.0).variants) == 5


@given(st.text("aB |.é", max_size=20), st.text("aB |.é", max_size=20))
def test_likeness_is_a_cosine(one: str, other: str) -> None:
    alike = expansions.similarity(one, other)
    assert 0 <= alike <= 1 + 1e-9
    assert alike == pytest.approx(expansions.similarity(other, one))
    if words(one):
        assert expansions.similarity(one, one) == pytest.approx(1)


def test_variants_are_read_as_they_were_written() -> None:
    assert separated(expansions.joined(["old river", "bridge"])) == ["old river", "bridge"]
    assert separated(" ||| a|||A ||| b c ") == ["a", "b c"]
    assert len(separated("|||".join("abcdefgh"))) == expansions.MOST


def test_the_query_weighs_what_it_is_to_weigh() -> None:
    assert appended("old river", ["river bridge", "stone Bridge"], 0.5) == "old river bridge stone"
    four = appended("river", ["aa bb cc dd"], 0.5)
    assert four == "river river river river aa bb cc dd"
    assert appended("river", ["aa bb cc dd"], 0.2) == "river aa bb cc dd"
    assert appended("old river", ["River"], 0.5) == "old river"


PLANTED = [
    "lake water blue",
    "lake lake water",
    "water deep",
    "hill stone",
    "fire light",
    "bread song",
]


def planted() -> tuple[Trial, list[Query], list[Expansion]]:
    """Of each outcome a query."""
    told = {
        "better": ("lake", ("water deep",), {"2": 1}),
        "good": ("hill", ("fire",), {"3": 1}),
        "no_better": ("song", ("light",), {"3": 1}),
        "worse": ("blue water deep bread", ("stone fire light",), {"1": 1}),
        "unjudged": ("fire", ("light",), {}),
        "fault": ("lake", (), {"2": 1}),
    }
    queries = [Query(name, text) for name, (text, _, _) in told.items()]
    expansions = [Expansion(each, None if each else "delimiter") for _, each, _ in told.values()]
    judged = {name: rows for name, (_, _, rows) in told.items() if rows}
    ids = [str(number) for number in range(len(PLANTED))]
    return Trial([Words(PLANTED)], ids, Way("append", 0.3), judged), queries, expansions


def test_only_what_finds_better_is_taught() -> None:
    trial, queries, expansions = planted()
    found = trial(queries, expansions)
    assert dict(zip((q.id for q in queries), found.outcomes, strict=True)) == {
        query.id: query.id for query in queries
    }
    assert [(query.id, target) for query, target in found.taught] == [
        ("better", ("water deep",)),
        ("good", ()),
    ]
    told = found.as_json()
    assert told["yield"] == pytest.approx(1 / 6)
    assert told["faults"] == {"delimiter": 1}
    assert told["words"] == 2
    json.dumps(told)
    every = unfiltered(queries, expansions)
    assert [query.id for query, _ in every.taught] == [q.id for q in queries if q.id != "fault"]


def test_what_helps_one_search_must_not_harm_another() -> None:
    """The second finds the document as the query is."""
    _, queries, expansions = planted()
    ids = [str(number) for number in range(len(PLANTED))]
    other = Words(["lake hill", "lake fire", "lake", "water deep", "song", "bread"])
    judged = {"better": {"2": 1}}
    way = Way("append", 0.3)
    alone = Trial([Words(PLANTED)], ids, way, judged)(queries[:1], expansions[:1])
    both = Trial([Words(PLANTED), other], ids, way, judged)(queries[:1], expansions[:1])
    assert (alone.outcomes, both.outcomes) == (["better"], ["worse"])


def test_variants_are_fused_by_rank(tmp_path: Path) -> None:
    data = beir.load(asking(tmp_path / "data", 2))
    stage = Words([document.content for document in data.documents])
    ids, query = [document.id for document in data.documents], data.queries[0]
    ways = {combine: Way(combine, 0.5) for combine in ("append", "rrf", "append-rrf")}
    raw = [way.find(stage, ids, [query], [way.text(query.text, ())]) for way in ways.values()]
    assert raw[0] == raw[1] == raw[2]
    called = data.documents[2].text.split()[0]
    texts = {combine: way.text(query.text, [called]) for combine, way in ways.items()}
    assert texts["append-rrf"] == f"{query.text} ||| {texts['append']}"
    found = ways["rrf"].find(stage, ids, [query], [texts["rrf"]])[query.id]
    # Both lists have the two documents that have both names; the third is in the second list alone.
    lists = [
        [name for name, _ in raw[0][query.id]],
        [name for name, _ in stage_found(stage, ids, called)],
    ]
    assert dict(found) == pytest.approx(
        {
            name: sum(1 / (61 + each.index(name)) for each in lists if name in each)
            for name in {*lists[0], *lists[1]}
        }
    )
    assert "named0" in dict(found)
    assert "named0" not in lists[0]


def stage_found(stage: Words, ids: Sequence[str], text: str) -> list[tuple[str, float]]:
    """What a text finds by itself."""
    return list(Way("append", 0.5).find(stage, ids, [Query("q", "")], [text])["q"])


def test_queries_are_made_of_documents_and_held_to_them() -> None:
    long = "the old stone bridge of the river flows in the night"
    documents = [Document("a", long), Document("b", "too short"), Document("c", f"{long} again")]
    queries = made.queries_of(documents, 9, 0)
    assert {query.id for query in queries} == {"a", "c"}
    assert queries == made.queries_of(documents, 9, 0)
    assert all(query.text in document.content for query in queries for document in documents
               if document.id == query.id)  # fmt: skip
    assert all(4 <= len(query.text.split()) <= 8 for query in queries)
    stage = Words([document.content for document in documents])
    told = [Expansion(("bridge",)), Expansion(fault="empty")]
    found = made.kept(stage, ["a", "b", "c"], Way("append", 0.5), queries, told)
    assert found.outcomes == ["better", "fault"]
    assert [target for _, target in found.taught] == [("bridge",)]
