"""What the tests of stored distributions share: a teacher, and what has to come back of what it says."""

from typing import Any

import numpy as np

from ragdistill.signals import Fingerprint
from ragdistill.signals.distributions import TokenDistributions
from ragdistill.signals.logits import Kept, LogitCodec

V = 500


def logits(tokens: int, vocabulary: int = V, spread: float = 3.0, seed: int = 0) -> np.ndarray:
    """A teacher's, float32 [tokens, vocabulary]."""
    rng = np.random.default_rng(seed)
    return rng.normal(scale=spread, size=(tokens, vocabulary)).astype(np.float32)


def answer(tokens: int, kept: Kept, vocabulary: int = V, seed: int = 0) -> TokenDistributions:
    """What is kept of an answer whose tokens are any."""
    rng = np.random.default_rng(seed)
    return kept.take(
        logits(tokens, vocabulary, seed=seed), rng.integers(0, vocabulary, tokens), rng
    )


def fingerprint(codec: LogitCodec, **others: Any) -> Fingerprint:
    """One whose space is ``codec``'s."""
    return Fingerprint(
        kind="logits",
        weights="a" * 64,
        tokenizer="b" * 64,
        dtype="packed",
        dimensions=codec.vocabulary,
        parameters={**codec.parameters, **others},
    )


def assert_same(one: TokenDistributions, other: TokenDistributions) -> None:
    """All that has to come back as it went."""
    for name in ("counts", "ids", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype == np.int32
    np.testing.assert_allclose(one.label_log_probs, other.label_log_probs, rtol=2**-10, atol=1e-7)
