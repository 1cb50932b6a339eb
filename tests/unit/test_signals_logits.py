"""What a teacher said of the tokens of an answer: what is kept of it, and what of that comes back."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logit_helpers import V, answer, assert_same, fingerprint, logits
from ragdistill.errors import UserError
from ragdistill.signals.codecs import codec_for
from ragdistill.signals.distributions import TokenDistributions, sampled, top_k
from ragdistill.signals.logits import Kept, LogitCodec, Sampled, TopK


def softmax(scores: np.ndarray) -> np.ndarray:
    """float64."""
    likely = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)


def stored(codec: LogitCodec, values: list[TokenDistributions]) -> pa.RecordBatch:
    """As the store holds them, keys left out."""
    return pa.record_batch(codec.encode(values), names=["distributions"])


def back(codec: LogitCodec, said: TokenDistributions) -> TokenDistributions:
    """There and back."""
    found: TokenDistributions = codec.decode(stored(codec, [said]), np.array([0]))[0]
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    tokens=st.integers(0, 12),
    vocabulary=st.integers(1, 700),
    spread=st.floats(0, 12),
    mass=st.floats(0.05, 1),
    most=st.integers(1, 800),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    kept_bits=st.integers(2, 12),
    floor=st.integers(4, 40),
)
def test_what_is_kept_comes_back_as_exactly_as_promised(
    seed: int,
    tokens: int,
    vocabulary: int,
    spread: float,
    mass: float,
    most: int,
    temperature: float,
    kept_bits: int,
    floor: int,
) -> None:
    rng = np.random.default_rng(seed)
    scores = logits(tokens, vocabulary, spread, seed)
    codec = LogitCodec(vocabulary, TopK(mass, most, temperature), kept_bits, floor)
    said = codec.kept.take(scores, rng.integers(0, vocabulary, tokens), rng)
    found = back(codec, said)
    assert_same(found, said)
    true = np.log(np.clip(said.probs, np.exp(-float(floor)), 1))
    levels = 2**kept_bits - 1
    own = (np.sqrt(-true * floor) + floor / 4 / levels) / levels
    greatest = np.maximum.reduceat(own, said.starts[:-1]) if tokens else own
    low = said.counts * np.exp(-floor) / np.maximum(1 - said.tail, 1e-6)
    sure = np.repeat(said.tail < 1 - 1e-5, said.counts)
    allowed = own + np.repeat(greatest + low + 0.05, said.counts)
    assert (np.abs(np.log(found.probs) - true) <= allowed + 1e-4)[sure].all()
    sums = np.bincount(found.owners, found.probs, minlength=tokens)
    np.testing.assert_allclose(sums + found.tail, 1, atol=1e-5)
    inner = (said.tail > 1e-5) & (said.tail < 1 - 1e-5)
    odds, true_odds = (np.log(t[inner] / (1 - t[inner])) for t in (found.tail, said.tail))
    assert (np.abs(odds - true_odds) < 0.05).all()
    assert (found.tail[said.tail < 1e-6] < 1e-5).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tokens=st.integers(0, 9), draws=st.integers(1, 300))
def test_shares_of_draws_come_back_exactly(seed: int, tokens: int, draws: int) -> None:
    codec = LogitCodec(V, Sampled(draws))
    said = answer(tokens, codec.kept, seed=seed)
    found = back(codec, said)
    assert_same(found, said)
    np.testing.assert_array_equal(found.probs, said.probs)
    assert not found.tail.any()


def test_draws_come_as_often_as_is_due_or_once_more_or_less() -> None:
    scores = logits(200)
    labels = scores.argmax(axis=1)
    for draws in (1, 7, 100):
        said = sampled(scores, labels, draws=draws, rng=np.random.default_rng(0))
        due = softmax(scores) * draws
        assert (np.abs(said.dense(V) * draws - due) < 1 + 1e-3).all()


def test_weights_of_another_proposal_come_back_to_the_step() -> None:
    codec = LogitCodec(V, Sampled(40, proposal_temperature=0.8), bits=8)
    said = answer(9, codec.kept)
    found = back(codec, said)
    assert_same(found, said)
    drawn = said.probs > 0
    assert (np.abs(np.log(found.probs[drawn] / said.probs[drawn])) < 0.08).all()


def test_top_k_keeps_the_fewest_that_have_the_mass_and_puts_the_rest_in_the_tail() -> None:
    scores = logits(40)
    labels = scores.argmax(axis=1)
    said = top_k(scores, labels, mass=0.9, most=V, temperature=2.0)
    probs = softmax(scores / 2)
    for row in range(40):
        own = said.part(row, row + 1)
        expected = np.sort(probs[row])[::-1].cumsum()
        assert len(own.ids) == np.searchsorted(expected, 0.9) + 1
        np.testing.assert_allclose(own.probs, probs[row, own.ids], rtol=1e-5)
        np.testing.assert_allclose(own.tail, 1 - expected[len(own.ids) - 1], atol=1e-6)
    np.testing.assert_allclose(
        said.label_log_probs, np.log(softmax(scores))[np.arange(40), labels], rtol=1e-5
    )
    assert (np.diff(said.ids)[np.diff(said.owners) == 0] > 0).all()


def test_a_label_is_kept_in_place_of_the_last_where_as_many_are_kept_as_may_be() -> None:
    scores = np.log(np.array([[0.4, 0.3, 0.2, 0.1]], np.float32))
    for label, expected in ((3, [0, 3]), (1, [0, 1]), (2, [0, 2])):
        said = top_k(scores, np.array([label]), mass=0.99, most=2)
        assert said.ids.tolist() == expected
        np.testing.assert_allclose(said.probs.sum() + said.tail, 1, atol=1e-6)
    said = top_k(scores, np.array([3]), mass=0.5, most=4)
    assert said.ids.tolist() == [0, 1, 3]


def test_ids_that_are_none_are_never_kept() -> None:
    scores = logits(5)
    scores[:, 100:] = -np.inf
    for kept in (TopK(1.0, V), Sampled(200), Sampled(200, 0.5)):
        said = kept.take(scores, np.arange(5), np.random.default_rng(0))
        assert said.ids.max() < 100
    whole = top_k(scores, np.arange(5), mass=1.0, most=V)
    np.testing.assert_allclose(whole.dense(V), softmax(scores), atol=1e-6)


def test_a_tail_is_spread_over_the_others() -> None:
    said = answer(6, TopK(0.5, 30))
    whole = said.dense(V)
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-5)
    others = np.ones((6, V), bool)
    others[said.owners, said.ids] = False
    for row in range(6):
        assert len(set(whole[row, others[row]])) == 1
    np.testing.assert_array_equal(said.part(2, 5).dense(V), whole[2:5])


def test_draws_are_unbiased() -> None:
    scores = np.tile(logits(1, 40, 1.5), (4_000, 1))
    labels = np.zeros(len(scores), np.int64)
    probs = softmax(scores[:1])[0]
    rng = np.random.default_rng(0)
    said = sampled(scores, labels, draws=5, rng=rng)
    error = np.sqrt(probs * (1 - probs) / (5 * len(scores)))
    assert (np.abs(said.dense(40).mean(axis=0, dtype=float) - probs) < 5 * error + 1e-9).all()
    told = np.bincount(said.owners, said.probs)
    np.testing.assert_allclose(told, 1, rtol=1e-5)
    flat = sampled(scores, labels, draws=5, rng=rng, proposal_temperature=0.5)
    off, before = (
        np.abs(x.dense(40).mean(axis=0, dtype=float) - probs).sum() for x in (flat, said)
    )
    assert before < off < 0.2  # Weights divided by their sum are a little biased, and no more.


@pytest.mark.parametrize("kept", [TopK(0.9, 20), Sampled(12), Sampled(12, 0.8)], ids=str)
def test_damaged_bytes_are_refused_or_give_distributions(kept: Kept) -> None:
    codec = LogitCodec(V, kept)
    raw = stored(codec, [answer(7, kept)])["distributions"][0].as_py()
    rng = np.random.default_rng(0)
    damaged = [raw[:length] for length in range(len(raw))] + [raw + b"\0", raw + b"\1"]
    for place in range(len(raw)):
        other = bytearray(raw)
        other[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(other))
    refused = [_read(codec, item) for item in damaged]
    assert all(refused[: len(raw) + 2])
    assert all(refused[len(raw) + 2 :][:20])  # The header, every byte of it.


def _read(codec: LogitCodec, raw: bytes) -> bool:
    """Whether bytes are refused; what they give otherwise has to be distributions."""
    batch = pa.record_batch([pa.array([raw], pa.binary())], names=["distributions"])
    try:
        found = codec.decode(batch, np.array([0]))[0]
    except UserError:
        return True
    codec.encode([found])
    return False


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"counts": np.array([0, 6])}, "counts do not add up"),
        ({"counts": np.array([2, 3])}, "counts do not add up"),
        ({"tail": np.zeros(3)}, "differ in length"),
        ({"ids": np.array([1, 2, 4, 3, 5, V])}, "beyond the vocabulary"),
        ({"ids": np.array([2, 1, 4, 3, 5, 7])}, "do not ascend"),
        ({"labels": np.array([2, 8])}, "not among its entries"),
        ({"probs": np.array([0.5, 0.25, 0.25, np.nan, 0.5, 0.25])}, "NaN or infinity"),
        ({"probs": np.array([0.5, 0.5, 0.25, 0.5, 0.5, 0.25])}, "add up to 1"),
        ({"probs": np.array([1.5, -0.75, 0.25, 0.25, 0.5, 0.25])}, "below 0"),
        ({"label_log_probs": np.array([-1.0, -np.inf])}, "log-probability"),
        ({"label_log_probs": np.array([-1.0, 1.0])}, "log-probability"),
    ],
)
def test_what_are_no_distributions_is_refused(changes: dict[str, Any], complaint: str) -> None:
    said = TokenDistributions(
        np.array([3, 3]),
        np.array([1, 2, 4, 3, 5, 7]),
        np.array([0.5, 0.25, 0.25, 0.25, 0.5, 0.25]),
        np.zeros(2),
        np.array([2, 7]),
        np.array([-1.0, np.nan]),
    )
    codecs = LogitCodec(V, TopK()), LogitCodec(V, Sampled(4))
    for codec in codecs:
        codec.encode([said])
        with pytest.raises(UserError, match=complaint):
            codec.encode([said, replace(said, **changes)])
    with pytest.raises(UserError, match="no shares of 3 draws"):
        LogitCodec(V, Sampled(3)).encode([said])
    with pytest.raises(UserError, match="no distribution of tokens"):
        codecs[0].encode([np.zeros(3)])  # type: ignore[list-item]


@pytest.mark.parametrize("kept", [TopK(), Sampled()], ids=str)
def test_a_teacher_that_fails_is_refused(kept: Kept) -> None:
    rng = np.random.default_rng(0)
    for value, complaint in ((np.nan, "NaN"), (np.inf, "NaN or infinity for 1 of 4 tokens")):
        scores = logits(4)
        scores[2, 7] = value
        with pytest.raises(UserError, match=complaint):
            kept.take(scores, np.zeros(4, int), rng)
    scores[2, 7] = -np.inf
    with pytest.raises(UserError, match="no probability to a token"):
        kept.take(scores, np.array([0, 0, 7, 0]), rng)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"mass": 0}, "a mass of 0"),
        ({"most": 0}, "at least one token"),
        ({"temperature": 0}, "a temperature of 0"),
        ({"bits": 1}, "1 bits"),
        ({"floor": 300}, "a floor of 300"),
        ({"layout": "topk"}, "not known"),
        ({"most": None}, "not known"),
        ({"layout": "sampled"}, "not known"),
    ],
)
def test_settings_that_are_none_are_refused(changes: dict[str, Any], complaint: str) -> None:
    told = fingerprint(LogitCodec(V, TopK()))
    with pytest.raises(UserError, match=complaint):
        codec_for(replace(told, parameters={**told.parameters, **changes}))
    with pytest.raises(UserError, match="a vocabulary of 0"):
        codec_for(replace(told, dimensions=None))
    with pytest.raises(UserError, match="use packed"):
        codec_for(replace(told, dtype="float16"))
