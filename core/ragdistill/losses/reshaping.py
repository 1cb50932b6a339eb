"""A teacher's distributions reshaped before they are learnt.

After Calibrated Uncertainty Distillation (CUD, arXiv:2602.12687): what is easy keeps the teacher's
certainty, where it is mistaken its uncertainty is let be seen. CUD trains the teacher and projects its
targets; here what is stored is tempered, token by token, as little as brings its entropy to a floor.
"""

from dataclasses import replace

import numpy as np

from ragdistill.signals.distributions import Array, TokenDistributions

_HALVINGS = 40


def entropies(said: TokenDistributions) -> Array:
    """Nats of each token's distribution over its entries and its tail: float64 ``[n]``."""
    probs = said.probs.astype(np.float64)
    return _summed(said, _surprise(probs)) + _surprise(said.tail.astype(np.float64))


def mistaken(said: TokenDistributions) -> Array:
    """Whether a token other than the answer's own is the likeliest entry: bool ``[n]``."""
    best = np.maximum.reduceat(said.probs, said.starts[:-1])
    return np.asarray(said.probs[said.ids == said.labels[said.owners]] < best)


def with_entropy_of_mistaken(said: TokenDistributions, floor: float) -> TokenDistributions:
    """The same with at least ``floor`` nats wherever the teacher is :func:`mistaken`: entries are raised to
    a power below 1, the greatest that does, within the mass that they have together. The tail keeps its
    own. Where even equal entries have less, they are equal."""
    if not len(said):
        return said
    low = (entropies(said) < floor) & mistaken(said)
    if not low.any():
        return said
    least, most = np.zeros(len(said)), np.ones(len(said))
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        enough = entropies(_raised(said, middle)) >= floor
        least, most = np.where(enough, middle, least), np.where(enough, most, middle)
    return _raised(said, np.where(low, least, 1.0))


def _raised(said: TokenDistributions, power: Array) -> TokenDistributions:
    """Entries to each token's power, scaled to the mass that they had."""
    probs = said.probs.astype(np.float64)
    raised = np.where(probs > 0, probs ** power[said.owners], 0.0)
    scale = _summed(said, probs) / np.maximum(_summed(said, raised), 1e-300)
    return replace(said, probs=(raised * scale[said.owners]).astype(np.float32))


def _surprise(probs: Array) -> Array:
    return np.asarray(-probs * np.log(np.where(probs > 0, probs, 1.0)))


def _summed(said: TokenDistributions, values: Array) -> Array:
    return np.asarray(np.add.reduceat(values, said.starts[:-1]))
