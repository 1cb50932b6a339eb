"""What a teacher said of the tokens of an answer: the likely ones with their probabilities, and a tail.

Two ways to leave out most of a vocabulary. :func:`top_k` keeps the most probable tokens and tells how
much probability the others have together; what a student learns from that is biased by the shape of
the tail. :func:`sampled` draws tokens from the distribution itself and keeps how often each came
(Random Sampling KD, arXiv:2503.16870): a little noise in place of bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from ragdistill.errors import UserError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class TokenDistributions:
    """Distributions over a vocabulary at the ``n`` tokens of one answer, ``m`` entries in all.

    Of each token its entries and its tail sum to 1. Where they were taken at a temperature, the
    probabilities are those of the logits divided by it: whoever uses them does not divide again.
    """

    counts: Array
    """Entries of each token, at least 1: int32 [n]."""
    ids: Array
    """Their token ids, those of a token ascending: int32 [m]."""
    probs: Array
    """Their probabilities: float32 [m]."""
    tail: Array
    """Probability of all ids that are not among the entries: float32 [n]."""
    labels: Array
    """The answer's own tokens, each among its entries: int32 [n]."""
    label_log_probs: Array
    """Their log-probabilities at temperature 1, NaN where unknown: float32 [n]."""

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def starts(self) -> Array:
        """Where each token's entries begin, and where the last one's end: int64 [n + 1]."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    @cached_property
    def owners(self) -> Array:
        """The token that each entry belongs to: int64 [m]."""
        return np.repeat(np.arange(len(self)), self.counts)

    def part(self, start: int, stop: int) -> "TokenDistributions":
        """Those of the tokens from ``start`` to before ``stop``."""
        low, high = self.starts[start], self.starts[stop]
        tokens, entries = slice(start, stop), slice(low, high)
        return TokenDistributions(
            self.counts[tokens],
            self.ids[entries],
            self.probs[entries],
            self.tail[tokens],
            self.labels[tokens],
            self.label_log_probs[tokens],
        )

    @classmethod
    def joined(cls, parts: "Sequence[TokenDistributions]") -> "TokenDistributions":
        """Those of all ``parts``, at least one, behind one another."""
        if len(parts) == 1:
            return parts[0]
        columns = zip(*(_arrays(part) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def dense(self, vocabulary: int) -> Array:
        """All probabilities, the tail spread evenly over the ids that are no entries: float32
        [n, vocabulary]."""
        others = np.maximum(vocabulary - self.counts, 1)
        whole = np.repeat((self.tail / others)[:, None], vocabulary, axis=1).astype(np.float32)
        whole[self.owners, self.ids] = self.probs
        return whole


def _arrays(said: TokenDistributions) -> tuple[Array, ...]:
    """Its arrays, in the order of its fields."""
    return tuple(getattr(said, item.name) for item in fields(said))


def top_k(
    logits: Array, labels: Array, *, mass: float, most: int, temperature: float = 1.0
) -> TokenDistributions:
    """The most probable tokens that together have ``mass``, and no more than ``most`` of them.

    The softmax is taken over the whole vocabulary, so what is not kept is in the tail. A label that
    would not be kept is, in place of the least probable where there are ``most``.

    Args:
        logits: [n, V], or log-probabilities; ``-inf`` for ids that are none.
        labels: The tokens of the answer, [n].
        temperature: What logits are divided by before the softmax.

    Raises:
        UserError: NaN, infinity, or no probability for a label.
    """
    probs, label_log_probs = _read(logits, labels, temperature)
    width = min(most, probs.shape[1])
    ids = np.argpartition(probs, -width, axis=1)[:, -width:]
    found = np.take_along_axis(probs, ids, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    ids, found = np.take_along_axis(ids, order, axis=1), np.take_along_axis(found, order, axis=1)
    ahead = np.cumsum(found, axis=1, dtype=np.float64) - found
    kept = (ahead < mass) & (found > 0)
    (lacking,) = np.nonzero(~((ids == labels[:, None]) & kept).any(axis=1))
    place = np.minimum(kept.sum(axis=1), width - 1)[lacking]
    ids[lacking, place], kept[lacking, place] = labels[lacking], True
    found[lacking, place] = probs[lacking, labels[lacking]]
    tail = np.maximum(1 - np.where(kept, found, 0).sum(axis=1, dtype=np.float64), 0)
    return by_id(ids, found, kept, tail, labels, label_log_probs)


def sampled(
    log_probs: Array,
    labels: Array,
    *,
    draws: int,
    rng: np.random.Generator,
    proposal_temperature: float = 1.0,
    temperature: float = 1.0,
) -> TokenDistributions:
    """Tokens drawn ``draws`` times from q, proportional to p ** ``proposal_temperature``, weighted by
    how often each came times p / q; weights sum to 1, the tail is 0 (arXiv:2503.16870; draws are not
    independent here, but at even distances, which leaves less noise).

    At proposal temperature 1 weights are shares of the draws, and their expectation is p. At any
    other they are divided by their sum, which is a little biased. A label that was not drawn is
    kept with weight 0. Arguments and errors are those of :func:`top_k`.
    """
    probs, label_log_probs = _read(log_probs, labels, temperature)
    ids, weights = [], []
    for row, label in zip(probs.astype(np.float64), labels, strict=True):
        drawn, times = _draw(row**proposal_temperature, draws, rng)
        weight = times * row[drawn] ** (1 - proposal_temperature)
        if label not in drawn:
            place = int(np.searchsorted(drawn, label))
            drawn, weight = np.insert(drawn, place, label), np.insert(weight, place, 0.0)
        ids.append(drawn)
        weights.append(weight / weight.sum())
    return TokenDistributions(
        np.array([len(row) for row in ids], np.int32),
        np.concatenate([np.empty(0), *ids]).astype(np.int32),
        np.concatenate([np.empty(0), *weights]).astype(np.float32),
        np.zeros(len(ids), np.float32),
        labels.astype(np.int32),
        label_log_probs,
    )


def _draw(weights: Array, draws: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Ids drawn in proportion to ``weights`` [V], ascending, and how often each was.

    At even distances from one random start, so each id comes as often as is due to it or once more or
    less; its expectation is that of independent draws, its variance never greater.
    """
    sums = np.cumsum(weights)
    at = (np.arange(draws) + rng.random()) * (sums[-1] / draws)
    at = np.minimum(at, np.nextafter(sums[-1], 0))
    drawn, times = np.unique(np.searchsorted(sums, at, side="right"), return_counts=True)
    return drawn, times


def _read(logits: Array, labels: Array, temperature: float) -> tuple[Array, Array]:
    """Probabilities at a temperature, float32 [n, V], and log-probabilities of labels at 1, [n]."""
    scores = np.asarray(logits, np.float32)
    best = scores.max(axis=1, keepdims=True, initial=-np.inf)
    odd = ~np.isfinite(best[:, 0]) | np.isnan(scores).any(axis=1)
    if odd.any():
        raise UserError(
            f"the teacher returned NaN or infinity for {int(odd.sum())} of {len(odd)} tokens"
            f" (the first is number {int(np.argmax(odd))} of its answer)",
            mend="check the teacher's weights, or compute in float32",
        )
    with np.errstate(over="ignore"):
        scores = scores - best
    said = scores[np.arange(len(labels)), labels]
    label_log_probs = said - np.log(np.exp(scores).sum(axis=1, dtype=np.float64))
    if not np.isfinite(label_log_probs).all():
        raise UserError(
            "the teacher gives no probability to a token of the answer",
            mend="check its weights, and take the logits of the answer that it is asked about, with the "
            "same tokenizer",
        )
    likely = np.exp(scores / temperature)
    likely /= likely.sum(axis=1, keepdims=True, dtype=np.float64)
    return likely, label_log_probs.astype(np.float32)


def by_id(
    ids: Array, probs: Array, kept: Array, tail: Array, labels: Array, label_log_probs: Array
) -> TokenDistributions:
    """Entries [n, k], of each row those that are ``kept``, in the order of their ids."""
    order = np.argsort(np.where(kept, ids, np.iinfo(np.int32).max), axis=1, kind="stable")
    ids, probs, kept = (np.take_along_axis(part, order, axis=1) for part in (ids, probs, kept))
    return TokenDistributions(
        kept.sum(axis=1, dtype=np.int32),
        ids[kept].astype(np.int32),
        probs[kept].astype(np.float32),
        tail.astype(np.float32),
        labels.astype(np.int32),
        label_log_probs,
    )
