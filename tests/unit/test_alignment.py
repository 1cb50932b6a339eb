"""Two tokenizers of one text: what faces what, and what becomes of a distribution."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from other_tokens import other_tokenizer
from ragdistill.alignment import (
    UNSHARED,
    Pair,
    byte_ends,
    facing,
    shared_ids,
    surfaces,
    translated,
)
from ragdistill.signals.distributions import TokenDistributions, top_k
from tiny_models import WORDS, make_tokenizer, texts

SPELT = ["naïve", "Straße 12", "日本語のテスト", "a\u0301 e", "🙂 ok", *texts(20)]


@functools.cache
def byte_level(size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of so many tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<end>"],
        show_progress=False,
    )
    made.train_from_iterator([*SPELT, *texts(60)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>")


@functools.cache
def shared(one: int, other: int) -> np.ndarray:
    return shared_ids(byte_level(one), byte_level(other))


def ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def said(
    labels: list[int], words: int, seed: int = 0, most: int = 40, mass: float = 0.95
) -> TokenDistributions:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(len(labels), words)).astype(np.float32)
    return top_k(logits, np.array(labels), mass=mass, most=most)


anything = st.one_of(st.sampled_from(SPELT), st.text(min_size=1, max_size=30)).filter(str.strip)
sizes = st.sampled_from([300, 330, 400])


@settings(deadline=None, max_examples=60)
@given(anything, sizes)
def test_tokens_part_the_bytes_of_a_text(text: str, size: int) -> None:
    ends = byte_ends(byte_level(size), text)
    assert len(ends) == len(ids(byte_level(size), text))
    assert ends == sorted(ends)
    assert ends[-1] == len(text.encode())


@settings(deadline=None, max_examples=60)
@given(anything, sizes, sizes, st.integers(0, 5))
def test_what_faces_covers_the_same_bytes_and_mass_is_kept(
    text: str, one: int, other: int, seed: int
) -> None:
    theirs, ours = byte_level(one), byte_level(other)
    left, right = byte_ends(theirs, text), byte_ends(ours, text)
    told, labels = ids(theirs, text), ids(ours, text)
    pairs = facing(left, right, told, labels, shared(one, other))
    assert len({pair.ours for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert left[pair.stop - 1] == right[pair.ours]
        before = left[pair.start - 1] if pair.start else 0
        assert before == (right[pair.ours - 1] if pair.ours else 0)
    whole = said(told, len(theirs), seed)
    found, places, coverage = translated(whole, pairs, labels, shared(one, other), chain=True)
    assert coverage.tokens == len(labels)
    assert coverage.mapped + coverage.merged == len(places) == len(pairs)
    if found is None:
        return
    sums = np.add.reduceat(found.probs.astype(np.float64), found.starts[:-1]) + found.tail
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    assert found.labels.tolist() == [labels[place] for place in places]
    # As the codec of the store asks: ids ascend, and each label is among its token's.
    assert not ((np.diff(found.ids) <= 0) & (np.diff(found.owners) == 0)).any()
    assert (found.ids == found.labels[found.owners]).sum() == len(places)
    for at, pair in enumerate(pairs):
        own = whole.label_log_probs[pair.start : pair.stop].sum()
        assert found.label_log_probs[at] == pytest.approx(own, rel=1e-5)


@settings(deadline=None, max_examples=30)
@given(anything, sizes)
def test_the_same_tokenizer_gives_the_identity(text: str, size: int) -> None:
    one = byte_level(size)
    labels, ends = ids(one, text), byte_ends(one, text)
    known = shared(size, size)
    real = known != UNSHARED
    assert (known[real] == np.arange(len(known))[real]).all()
    pairs = facing(ends, ends, labels, labels, known)
    assert pairs == [Pair(place, place, place + 1) for place in range(len(labels))]
    whole = said(labels, len(one))
    # Nobody says a special token within a text.
    found, _, coverage = translated(whole, pairs, labels, np.arange(len(one)), chain=False)
    assert found is not None
    assert coverage.of_tokens == coverage.of_mass == 1
    for name in ("counts", "ids", "labels"):
        assert (getattr(found, name) == getattr(whole, name)).all()
    np.testing.assert_array_equal(found.probs, whole.probs)
    np.testing.assert_array_equal(found.tail, whole.tail)


def test_other_ids_of_the_same_words_are_a_permutation() -> None:
    theirs, ours = make_tokenizer(), other_tokenizer()
    known = shared_ids(theirs, ours)
    for word in WORDS:
        assert known[theirs.convert_tokens_to_ids(word)] == ours.convert_tokens_to_ids(word)
    assert known[theirs.pad_token_id] == UNSHARED
    text = "the river is red"
    labels, told = ids(ours, text), ids(theirs, text)
    assert labels != told
    pairs = facing(byte_ends(theirs, text), byte_ends(ours, text), told, labels, known)
    whole = said(told, len(theirs), most=len(theirs), mass=1.0)
    found, _, coverage = translated(whole, pairs, labels, known, chain=True)
    assert found is not None
    assert coverage.mapped == coverage.tokens == 4
    dense = found.dense(len(ours))
    assert (known == UNSHARED).sum() == len(theirs.all_special_ids)
    for word in ("tree", "##q", "stone"):
        one, other = theirs.convert_tokens_to_ids(word), ours.convert_tokens_to_ids(word)
        np.testing.assert_allclose(dense[:, other], whole.dense(len(theirs))[:, one], atol=1e-6)
    lost = whole.dense(len(theirs))[:, known == UNSHARED].sum(axis=1)
    np.testing.assert_allclose(found.tail, lost, atol=1e-5)


def test_several_tokens_of_the_teacher_are_one_by_the_chain_rule() -> None:
    known = np.array([0, 1, 2, 3])
    whole = said([1, 2, 3], 4, most=4)
    pairs = facing([2, 4, 6], [4, 6], [1, 2, 3], [0, 3], known)
    assert pairs == [Pair(0, 0, 2), Pair(1, 2, 3)]
    found, places, coverage = translated(whole, pairs, [0, 3], known, chain=True)
    assert found is not None
    assert places == [0, 1]
    assert (coverage.mapped, coverage.merged) == (1, 1)
    chained = np.exp(whole.label_log_probs[:2].sum())
    assert found.probs[0] == pytest.approx(chained, rel=1e-5)
    assert found.tail[0] == pytest.approx(1 - chained, rel=1e-5)
    # Of tempered probabilities there is no such rule.
    assert translated(whole, pairs, [0, 3], known, chain=False)[1] == [1]


def test_a_token_that_the_student_breaks_says_nothing() -> None:
    known = np.array([0, 1, 2, 3])
    assert facing([4, 6], [2, 4, 6], [1, 3], [0, 2, 3], known) == [Pair(2, 1, 2)]


def test_words_are_the_same_however_their_blank_is_written() -> None:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["</s>"], show_progress=False)
    made.train_from_iterator(texts(60), trainer)
    ours = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")
    theirs = byte_level(400)
    known = shared_ids(theirs, ours)
    words = {"\u0120river": "\u2581river", "\u0120bridge": "\u2581bridge"}
    for one, other in words.items():
        left, right = theirs.get_vocab().get(one), ours.get_vocab().get(other)
        assert left is not None
        assert known[left] == right is not None
    text = "the river is red"
    assert byte_ends(ours, text) == [3, 9, 12, 16]
    assert {3, 9, 12, 16} <= {*byte_ends(theirs, text)}


def test_strings_are_those_within_a_text() -> None:
    told = surfaces(byte_level(330))
    tokenizer = byte_level(330)
    assert told[tokenizer.eos_token_id] is None
    (space,) = ids(tokenizer, " ")
    assert told[space] == " "
