"""The parts of the query rewriter, each by itself."""

import json
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conversation_helpers import conversing, rows
from ragdistill.data import beir
from ragdistill.data.collection import Collection, Query
from ragdistill.data.splits import opening
from ragdistill.errors import UserError
from ragdistill.export.gates import FP32, check_effect
from ragdistill.first_stage import Words
from ragdistill.writing import Written
from ragdistill_query_rewriter import conversations, evaluation, prompts, settings, training
from ragdistill_query_rewriter.effects import Effect
from ragdistill_query_rewriter.objective import effect_loss, label_loss, of_words, skip_loss
from ragdistill_query_rewriter.reading import PageReader
from ragdistill_query_rewriter.selecting import Opinion, decide
from ragdistill_query_rewriter.settings import Settings
from ragdistill_query_rewriter.words import pick, wanted, words
from tiny_models import make_tokenizer

TEXTS = st.text("aB 1_.,'-éß\n", max_size=30)


@given(TEXTS)
def test_words_are_those_of_the_search(text: str) -> None:
    (theirs,) = bm25s.tokenize([text], stopwords=[], return_ids=False, show_progress=False)
    assert words(text) == theirs


def test_what_a_word_adds_is_what_the_search_counts() -> None:
    documents = ["the old king", "a king and a queen", "the river", "river river king"]
    stage, places = Words(documents), np.array([3, 0, 2])
    told = stage.added(["king", "river", "unknown"], places)
    for row, word in enumerate(("king", "river")):
        assert told[row] == pytest.approx(stage._index.get_scores([word])[places])
    assert not told[2].any()
    found = stage.find(["king river"], 4)
    scores = dict(zip(found.places[0].tolist(), found.scores[0].tolist(), strict=True))
    whole = stage.scores_of("king river", places)
    assert whole == pytest.approx([scores[place] for place in places.tolist()])
    for nothing in ("unknown", "?"):
        assert stage.scores_of(nothing, places) == pytest.approx([0, 0, 0])


def reader(window: int = 64) -> PageReader:
    return PageReader(make_tokenizer().backend_tokenizer, window)


def test_each_word_is_found_where_it_begins() -> None:
    turns = ("Which river flows?", "The Xylo river, a river.")
    page = reader().read(turns, "which bridge is old")
    pieces = [make_tokenizer().convert_ids_to_tokens(number) for number in page.ids]
    assert len(page.ids) == len(page.types)
    assert page.types[: pieces.index("[SEP]") + 1] == [0] * (pieces.index("[SEP]") + 1)
    assert "which" not in page.words  # the turn has it
    assert page.forms == ["river", "flows", "The", "Xylo"]
    assert list(page.words) == [form.lower() for form in page.forms]
    assert len(page.words["river"]) == 3
    for word, places in page.words.items():
        for place in places:
            assert word.startswith(pieces[place])


@given(
    st.lists(
        st.lists(st.sampled_from(["river", "old", "xyz"]), max_size=12).map(" ".join), max_size=8
    ),
    st.integers(16, 64),
)
def test_a_page_is_never_too_long(turns: list[str], window: int) -> None:
    page = reader(window).read(turns, "where is it " * 9)
    assert len(page.ids) <= window
    assert all(0 < place < len(page.ids) for places in page.words.values() for place in places)


def test_the_last_turn_and_the_first_are_kept() -> None:
    turns = ["the queen", *["old bird sings " * 4] * 9, "the bridge"]
    page = reader(32).read(turns, "where is it")
    assert {"queen", "bridge"} <= page.words.keys()
    assert "bird" in page.words or len(page.ids) + 13 > 32


def test_rewrites_become_words() -> None:
    query = Query("q", "When did he die?", context_turns=("Who was Zappa?",))
    assert wanted(query, "When did Frank Zappa die?") == {"frank", "zappa"}
    assert pick("q?", {"Frank": 0.9, "Zappa": 0.8, "was": 0.2}, 0.5) == "q? Frank Zappa"
    assert pick("q?", {"a": 0.6, "b": 0.9, "c": 0.7}, 0.5, most=2) == "q? b c"
    assert pick("q?", {}, 0.5) == "q?"


def test_a_word_counts_by_its_best_place() -> None:
    tokens = torch.tensor([[0.0, 3.0, -1.0, 2.0]])
    word_of = torch.tensor([[2, 0, 1, 0]])
    assert of_words(tokens, word_of, 2).tolist() == [[3.0, -1.0]]


def test_effects_teach_the_word_that_only_the_relevant_document_has() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    gains = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    relevant = torch.tensor([[True, False]])
    loss = effect_loss(logits, torch.zeros(1, 2), gains, relevant, 1.0)
    assert loss.item() == pytest.approx(np.log(2))
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]
    # Where nothing is judged nothing is learnt, and nothing breaks.
    logits.grad = None
    none = effect_loss(logits, torch.zeros(1, 2), gains, torch.zeros(1, 2).bool(), 1.0)
    none.sum().backward()
    assert none.item() == 0
    assert not logits.grad.any()


def test_labels_that_nobody_knows_weigh_nothing() -> None:
    said = torch.tensor([[1.0, -2.0, 5.0], [4.0, 4.0, 4.0]])
    added = torch.tensor([[1.0, 0.0, -1.0], [-1.0, -1.0, -1.0]])
    alone = label_loss(said[:1, :2], added[:1, :2], 3.0)
    assert label_loss(said, added, 3.0).tolist() == pytest.approx([alone.item(), 0.0])


def test_the_threshold_is_the_best_among_its_neighbours() -> None:
    told = [Opinion(0.9, {"good": 0.62, "bad": 0.41})]
    best, tried = training.choose_threshold(
        ["q"],
        told,
        Settings(64),
        lambda texts: (float("good" in texts[0]) - float("bad" in texts[0]), None),
    )
    assert 0.45 <= best.threshold < 0.62
    assert len(tried) == len(training.THRESHOLDS)


def test_turns_are_left_alone_where_words_do_harm() -> None:
    lacking = np.linspace(0.01, 0.99, 60)
    opinions = [Opinion(float(chance), {"more": 0.9}) for chance in lacking]
    texts = [f"q{number}" for number in range(60)]

    def judge(rewritten: Sequence[str]) -> tuple[float, float | None]:
        # Those that lack nothing are the first 24; words harm them and help the others.
        changed = np.array(["more" in text for text in rewritten])
        return float(changed[24:].mean()), float(changed[:24].mean())

    best, tried = training.choose_skip(texts, opinions, Settings(64), judge)
    assert lacking[20] <= best.skip < lacking[28]
    assert tried[0].threshold == 0
    assert tried[0].harm == 1
    assert decide("q", Opinion(best.skip, {"more": 0.9}), best) == "q"
    assert decide("q", Opinion(1.0, {"more": 0.9}), best) == "q more"
    # Where nothing does harm nothing is left alone that words help.
    best, _ = training.choose_skip(texts, opinions, Settings(64), lambda t: (judge(t)[0], 0.0))
    assert best.skip <= lacking[24]
    best, _ = training.choose_skip(texts, opinions, Settings(64), lambda t: (0.5, None))
    assert best.skip == 0


def test_a_turn_is_found_well_by_its_own_words_alone() -> None:
    def effect(base: Sequence[float]) -> Effect:
        rows = np.array(base, dtype=np.float32)
        return Effect(rows, np.zeros((0, len(rows)), np.float32), np.arange(len(rows)) < 1)

    assert effect([2, 5, 4, 1]).found_well
    assert not effect([2, 5, 4, 2]).found_well  # a tie is nobody's first
    assert not effect([0, 0]).found_well  # no word of it is there


def test_what_nobody_knows_is_not_taught_to_be_left_alone() -> None:
    first = torch.tensor([0.0, 2.0, 5.0])
    loss = skip_loss(first, torch.tensor([1.0, 0.0, -1.0]))
    assert loss.tolist() == pytest.approx([np.log(2), np.log1p(np.exp(2)), 0.0])


@pytest.mark.parametrize("train", [False, True])
def test_no_conversation_is_on_two_sides(tmp_path: Path, train: bool) -> None:
    data = beir.load(conversing(tmp_path / "data"))
    if train:
        some = {query: row for query, row in data.qrels["test"].items() if query.startswith("c2")}
        splits = {"test": some, "train": {"c1t0": {"dc1t0": 1}}}
        data = Collection(data.name, data.documents, data.queries, splits, data.source)
    parts = conversations.divide(data, 0)
    known = {query.id: opening(query) for query in data.queries}
    sides = [
        {opening(query) for query in parts.learnt},
        {opening(query) for query in parts.chosen},
        {known[query] for query in parts.measured},
    ]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides))


def test_what_another_split_judges_chooses_and_never_teaches(tmp_path: Path) -> None:
    data = beir.load(conversing(tmp_path / "data"))
    every = data.qrels["test"]
    splits = {
        "test": {query: row for query, row in every.items() if query.startswith("c2")},
        "dev": {"c1t1": every["c1t1"]},
    }
    parted = Collection(data.name, data.documents, data.queries, splits, data.source)
    parts = conversations.divide(parted, 0)
    assert {query.id for query in parts.chosen} == {f"c1t{turn}" for turn in range(4)}
    assert len(parts.learnt) == len(data.queries) - 4 - len(splits["test"])
    # Measured elsewhere, nothing here need be judged.
    bare = Collection(data.name, data.documents, data.queries, {}, data.source)
    assert not conversations.divide(bare, 0, elsewhere=True).measured
    with pytest.raises(UserError, match="no judged query"):
        conversations.divide(bare, 0)


def test_harm_is_of_turns_that_were_found_well() -> None:
    qrels = {query: {"a": 1} for query in ("q1", "q2", "q3")}
    raw = {"q1": [("a", 2.0)], "q2": [("a", 2.0)], "q3": [("b", 1.0)]}
    other = {"q1": [("b", 2.0), ("a", 1.0)], "q2": [("a", 2.0)], "q3": [("c", 1.0)]}
    assert evaluation.harm(qrels, raw, other) == {"queries": 2, "worse": 0.5, "lost": 0.0}


def test_an_export_is_held_to_what_its_queries_find() -> None:
    qrels = {"q": {"a": 1}}
    mine, its = {"q": [("a", 2.0), ("b", 1.0)]}, {"q": [("b", 2.0), ("a", 1.0)]}
    assert check_effect(0.1, mine, mine, qrels, FP32).passed
    result = check_effect(0.1, mine, its, qrels, FP32)
    assert result.max_abs_diff == 0.1
    assert result.reasons[0].startswith("nDCG@10 lost")


def test_of_a_reply_the_first_line_is_the_rewrite() -> None:
    query = Query("q", "When?", context_turns=("Who?",))
    assert (
        prompts.rewrite_of(query, Written('\n"When did Zappa die?"\nHe died'))
        == "When did Zappa die?"
    )
    assert prompts.rewrite_of(query, Written("When did", "length")) is None
    assert prompts.rewrite_of(query, Written('""')) is None


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    told = settings.Settings(128, 0.35, 9)
    told.write(tmp_path)
    assert settings.read(tmp_path) == told
    path = tmp_path / settings.FILE
    for spoilt, said in (
        ({"threshold": 7.0}, "damaged"),
        ({"schema": 9}, "upgrade"),
        ({"other": 1}, "damaged"),
    ):
        told.write(tmp_path)
        path.write_text(json.dumps(json.loads(path.read_text()) | spoilt))
        with pytest.raises(UserError, match=said):
            settings.read(tmp_path)


def test_the_made_up_conversations_need_rewriting() -> None:
    documents, queries, _ = rows(4)
    stage = Words([f"{row['title']} {row['text']}" for row in documents])
    raw, new = (
        stage.find([q[key] for q in queries], 1).places[:, 0] for key in ("text", "rewrite")
    )
    right = np.arange(len(queries))
    assert (new == right).mean() > (raw == right).mean()
