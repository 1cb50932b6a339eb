"""The distributions of one answer as bytes.

A header, then one stream behind the other, each of whole bytes, numbers as ``bits`` packs them:

====================  ============================================================================
header                20 bytes, little-endian: version, layout, bits, floor, bits of a count, rice
                      (uint8 each), draws (uint16), vocabulary, tokens n, entries m (uint32 each)
counts                of each token, less 1
label log-probs       float16 of each token
label places          of each token: which of its entries, in as many bits as its count needs
tails                 a byte of each token (``top-k`` only): 0 is none, else its log-odds
codes                 of each entry (not ``draws``): its log-probability, see ``Form.nats``
ids, low bits         of each entry: of the gap to the id before, as many as ``rice`` says
ids, high bits        the rest of each gap in unary; with ``draws`` behind each how often it was drawn,
                      less 1, in unary: 0 of a label, which came the other times
====================  ============================================================================

``weights`` are those of draws on the scale of probabilities. Ids are those of a token in ascending order, so
gaps are small where entries are many: Rice codes (R. F. Rice, JPL Publication 79-22), with as many low
bits as ``rice`` less the bits of the count. ``unpacked`` reads them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ragdistill.signals import bits as streams
from ragdistill.signals.bits import Array
from ragdistill.signals.distributions import TokenDistributions

Layout = Literal["top-k", "draws", "weights"]
VERSION = 1
LAYOUTS: tuple[Layout, ...] = ("top-k", "draws", "weights")
LARGEST = 1 << 22
"""Ids that a vocabulary may have."""
HEADER = np.dtype(
    [(name, "u1") for name in ("version", "layout", "bits", "floor", "count_bits", "rice")]
    + [("draws", "<u2"), ("vocabulary", "<u4"), ("tokens", "<u4"), ("entries", "<u4")]
)
_ODDS = 12.0
"""The greatest log-odds of a tail."""


@dataclass(frozen=True)
class Form:
    """How distributions are written: what all answers of a space share."""

    vocabulary: int
    layout: Layout
    bits: int
    floor: int
    """The least log-probability that is told apart, as a positive number of nats."""
    draws: int = 0

    @property
    def nats(self) -> Array:
        """The -log p that codes stand for, [2 ** bits], from 0 to ``floor``: squares at even distances, for
        the same step is a greater difference where the probability is."""
        even = np.arange(2**self.bits) / (2**self.bits - 1)
        levels: Array = self.floor * even**2
        return levels

    @property
    def head(self) -> dict[str, int]:
        """What the header of every answer has to say."""
        told = {"version": VERSION, "layout": LAYOUTS.index(self.layout), "bits": self.bits}
        return told | {"floor": self.floor, "draws": self.draws, "vocabulary": self.vocabulary}


def pack(said: TokenDistributions, form: Form) -> bytes:
    """Distributions that are what they say they are, as bytes."""
    gaps = _gaps(said)
    rice = _best_rice(said, gaps, form.vocabulary)
    widths = low_bits(said.counts, rice)
    low, high = streams.pack(gaps, widths), gaps >> widths
    places = _label_places(said)
    count_bits = int(streams.lengths(said.counts - 1).max(initial=0))
    told = {"count_bits": count_bits, "rice": rice, "tokens": len(said), "entries": len(said.ids)}
    parts = [
        _header(told | form.head),
        streams.pack(said.counts - 1, np.full(len(said), count_bits)),
        said.label_log_probs.astype("<f2").view(np.uint8),
        streams.pack(places, streams.lengths(said.counts - 1)),
    ]
    if form.layout == "draws":
        more = np.rint(said.probs * form.draws).astype(np.int64) - 1
        more[said.starts[:-1] + places] = 0
        high = np.stack([high, more], axis=1).ravel()
    else:
        if form.layout == "top-k":
            parts.append(_tail_codes(said.tail))
        parts.append(streams.pack(_codes(said.probs, form), np.full(len(said.ids), form.bits)))
    return b"".join(part.tobytes() for part in [*parts, low, streams.pack_unary(high)])


def _header(told: dict[str, int]) -> Array:
    """Its one record."""
    header = np.zeros(1, HEADER)
    for name, value in told.items():
        header[name] = value
    return header


def _label_places(said: TokenDistributions) -> Array:
    """Which of its token's entries each label is, [n]."""
    return np.flatnonzero(said.ids == said.labels[said.owners]) - said.starts[:-1]


def id_bits(said: TokenDistributions, vocabulary: int) -> int:
    """Bits that the ids of all entries take."""
    gaps = _gaps(said)
    widths = low_bits(said.counts, _best_rice(said, gaps, vocabulary))
    return _cost(gaps, widths)


def _gaps(said: TokenDistributions) -> Array:
    """Of each entry the ids between it and the one before of its token: int64 [m]."""
    before = np.concatenate([[-1], said.ids[:-1]]).astype(np.int64)[: len(said.ids)]
    before[said.starts[:-1]] = -1
    return said.ids - before - 1


def _best_rice(said: TokenDistributions, gaps: Array, vocabulary: int) -> int:
    """The ``rice`` that takes the fewest bits."""
    most = min(vocabulary.bit_length() + 2, streams.WIDEST)
    choices = range(max(most - 6, 0), most + 1)
    return min(choices, key=lambda rice: _cost(gaps, low_bits(said.counts, rice)))


def _cost(gaps: Array, widths: Array) -> int:
    """Bits of gaps [m] of which so many are low, the others in unary."""
    return int((widths + (gaps >> widths) + 1).sum())


def low_bits(counts: Array, rice: Array | int) -> Array:
    """Low bits of each entry's gap, [m], of tokens with ``counts`` entries."""
    return np.repeat(np.maximum(rice - streams.lengths(counts), 0), counts)


def _codes(probs: Array, form: Form) -> Array:
    """The codes whose ``nats`` are about -log p, [m]."""
    nats = -np.log(np.clip(probs, np.exp(-float(form.floor)), 1).astype(np.float64))
    codes: Array = np.rint(np.sqrt(nats / form.floor) * (2**form.bits - 1)).astype(np.int64)
    return codes


def _tail_codes(tail: Array) -> Array:
    """Log-odds of tails from -12 to 12 as 1 to 255; 0 is a tail of less than half the least."""
    inner = np.clip(tail, 1e-9, 1 - 1e-7).astype(np.float64)
    odds = np.log(inner / (1 - inner))
    codes = 1 + np.rint((np.clip(odds, -_ODDS, _ODDS) + _ODDS) / (2 * _ODDS) * 254)
    return np.where(tail < 0.5 * np.exp(-_ODDS), 0, codes).astype(np.uint8)


def tails_of(codes: Array) -> Array:
    """The inverse of :func:`_tail_codes`, float32."""
    odds = (codes.astype(np.float32) - 1) / 254 * (2 * _ODDS) - _ODDS
    tails: Array = np.where(codes == 0, 0, 1 / (1 + np.exp(-odds))).astype(np.float32)
    return tails
