"""Distributions of a language model over its vocabulary in the signal store: the codec ``logits``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal, Self

import numpy as np
import pyarrow as pa

from ragdistill.errors import UserError
from ragdistill.signals import packed
from ragdistill.signals.bits import Array, DamagedBits
from ragdistill.signals.distributions import TokenDistributions, sampled, top_k
from ragdistill.signals.fingerprint import Fingerprint, Parameter
from ragdistill.signals.unpacked import unpack

_FEWEST_BITS, _MOST_BITS = 2, 12
_LEAST_FLOOR, _GREATEST_FLOOR = 4, 255
_MOST_DRAWS = 4096
_SHARE_KEPT, _DISTINCT = 0.5, 0.62
"""Entries of a token: of as many as may be kept; of draws, as a power of their number."""
_TOKEN_BYTES, _ID_BITS = 6, 13
_LEAST_LABEL = -65504  # the least float16
_SLACK = 1e-3
"""What the probabilities of a token may lack of 1."""
_AT_ONCE = 32
"""Answers that are decoded together."""


@dataclass(frozen=True)
class TopK:
    """The most probable tokens up to a mass, the rest in a tail: see ``distributions.top_k``."""

    mass: float = 0.98
    most: int = 64
    temperature: float = 1.0
    layout: Literal["top-k"] = "top-k"

    def take(self, logits: Array, labels: Array, rng: np.random.Generator) -> TokenDistributions:
        """What is kept of logits [n, V]; nothing is drawn."""
        return top_k(
            logits,
            labels,
            mass=self.mass,
            most=self.most,
            temperature=self.temperature,
        )

    def fault(self) -> str:
        """What is wrong with the settings, if anything is."""
        if not 0 < self.mass <= 1:
            return f"a mass of {self.mass} is none: more than 0, and at most 1"
        return "" if self.most >= 1 else "at least one token has to be kept"


@dataclass(frozen=True)
class Sampled:
    """Tokens drawn from the distribution: see ``distributions.sampled``."""

    draws: int = 200
    proposal_temperature: float = 1.0
    temperature: float = 1.0
    layout: Literal["sampled"] = "sampled"

    def take(self, logits: Array, labels: Array, rng: np.random.Generator) -> TokenDistributions:
        """What ``rng`` draws of logits [n, V]. Seed it with the key of the text, and what is stored does
        not depend on the order in which texts are read."""
        return sampled(
            logits,
            labels,
            draws=self.draws,
            rng=rng,
            proposal_temperature=self.proposal_temperature,
            temperature=self.temperature,
        )

    def fault(self) -> str:
        """What is wrong with the settings, if anything is."""
        if not 1 <= self.draws <= _MOST_DRAWS:
            return f"{self.draws} draws cannot be stored: 1 to {_MOST_DRAWS}"
        return "" if self.proposal_temperature > 0 else "the proposal's temperature is above 0"


Kept = TopK | Sampled


@dataclass(frozen=True)
class LogitCodec:
    """What a teacher said of the tokens of an answer: :class:`TokenDistributions` in memory, bytes on
    disk (``packed``).

    Ids, labels and shares of draws come back as they went. Other log-probabilities lie on a scale of
    2 ** bits levels (``packed.Form.nats``) and are scaled so that a token's add up. One of -x, above
    ``-floor``, is off by at most e(x) + e(y) + ``k * exp(-floor)`` over the mass of its token's k entries
    and what its tail is off by, where -y is the least of them and e(x) = (sqrt(x * floor) + floor / (4 * c)) / c,
    c = 2 ** bits - 1; those below are raised to about ``-floor``. The log-odds of a tail are off by at most 0.05,
    but for tails below ``exp(-12)`` or above ``1 - exp(-12)``. Log-probabilities of labels are float16.
    """

    vocabulary: int
    kept: Kept
    bits: int = 6
    floor: int = 12
    name: str = "logits"

    def __post_init__(self) -> None:
        if not 1 <= self.vocabulary <= packed.LARGEST:
            raise UserError(f"a vocabulary of {self.vocabulary} cannot be stored")
        fault = self.kept.fault()
        if not 0 < self.kept.temperature < np.inf:
            fault = f"a temperature of {self.kept.temperature} is none"
        if not _FEWEST_BITS <= self.bits <= _MOST_BITS:
            fault = f"{self.bits} bits a log-probability: {_FEWEST_BITS} to {_MOST_BITS}"
        if not _LEAST_FLOOR <= self.floor <= _GREATEST_FLOOR:
            fault = f"a floor of {self.floor} nats: {_LEAST_FLOOR} to {_GREATEST_FLOOR}"
        if fault:
            raise UserError(f"distributions cannot be stored so: {fault}")

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> Self:
        """The codec of a fingerprint of kind ``logits``: its ``dimensions`` are the vocabulary, and its
        parameters hold :attr:`parameters`, among others.

        Raises:
            UserError: a setting is missing, or is none.
        """
        if fingerprint.dtype != "packed":
            raise UserError(f"logits cannot be stored as {fingerprint.dtype!r}", mend="use packed")
        told = fingerprint.parameters
        try:
            kind = {"top-k": TopK, "sampled": Sampled}[told["layout"]]  # type: ignore[index]
            names = [item.name for item in fields(kind)]
            settings = {name: told[name] for name in names}
            bits, floor = int(told["bits"]), int(told["floor"])  # type: ignore[arg-type]
            return cls(fingerprint.dimensions or 0, kind(**settings), bits, floor)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the settings of stored distributions are not known ({error})",
                mend="make the fingerprint with LogitCodec.parameters",
            ) from error

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """What a fingerprint's parameters have to hold: layout, mass and cap or draws, temperatures,
        bits, floor."""
        return {**asdict(self.kept), "bits": self.bits, "floor": self.floor}

    @property
    def form(self) -> packed.Form:
        """How each answer is written."""
        layout: packed.Layout = "weights"
        draws = 0
        if isinstance(self.kept, TopK):
            layout = "top-k"
        elif self.kept.proposal_temperature == 1:
            layout, draws = "draws", self.kept.draws
        return packed.Form(self.vocabulary, layout, self.bits, self.floor, draws)

    @property
    def columns(self) -> list[pa.Field]:
        """``distributions``: binary, see ``packed``."""
        return [pa.field("distributions", pa.binary(), nullable=False)]

    @property
    def record_bytes(self) -> int:
        """Bytes of one token on disk, about what SmolLM2's answers took: an answer has many."""
        kept = self.kept
        entries = _SHARE_KEPT * kept.most if isinstance(kept, TopK) else kept.draws**_DISTINCT
        code_bits = 1 if self.form.layout == "draws" else self.bits
        return round(_TOKEN_BYTES + entries * (_ID_BITS + code_bits) / 8)

    def encode(self, values: Sequence[TokenDistributions]) -> list[pa.Array]:
        """Arrow form of the distributions of n answers.

        Raises:
            UserError: they are none over this vocabulary.
        """
        form = self.form
        for number, said in enumerate(values):
            if not isinstance(said, TokenDistributions):
                raise UserError("the teacher returned something that is no distribution of tokens")
            mend = ""
            if not (fault := _fault(said, form)) and (fault := _fault_of_numbers(said, form)):
                mend = "check the teacher's weights, or compute in float32"
            if fault:
                raise UserError(
                    f"the teacher returned what is no distribution over {self.vocabulary} tokens:"
                    f" {fault} (answer {number} of its batch)",
                    mend=mend,
                )
        return [pa.array([packed.pack(said, form) for said in values], type=pa.binary())]

    def empty(self, count: int) -> Array:
        """An array of objects [count]."""
        return np.empty(count, dtype=object)

    def decode(self, batch: pa.RecordBatch, rows: Array) -> Array:
        """:class:`TokenDistributions` [len(rows)], objects.

        Raises:
            UserError: a record is damaged.
        """
        column, form, out = batch.column("distributions"), self.form, self.empty(len(rows))
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            records = column.take(pa.array(part)).to_pylist()
            try:
                out[start : start + len(part)] = unpack(records, form)
            except DamagedBits as fault:
                raise UserError(
                    f"the stored distributions of an answer are damaged: {fault}",
                    mend="ragdistill signals verify tells more",
                ) from fault
        return out


def _fault(said: TokenDistributions, form: packed.Form) -> str:
    """What keeps these from being distributions whatever their numbers are, if anything does."""
    n, m = len(said.counts), len(said.ids)
    of_tokens = (said.counts, said.tail, said.labels, said.label_log_probs)
    if {part.shape for part in of_tokens} != {(n,)} or said.probs.shape != (m,):
        return "its parts differ in length"
    if (said.counts < 1).any() or said.counts.sum() != m:
        return "its counts do not add up"
    if m and (said.ids.min() < 0 or said.ids.max() >= form.vocabulary):
        return "an id is beyond the vocabulary"
    if ((np.diff(said.ids) <= 0) & (np.diff(said.owners) == 0)).any():
        return "the ids of a token do not ascend"
    if (said.ids == said.labels[said.owners]).sum() != n:
        return "a label is not among its entries"
    return ""


def _fault_of_numbers(said: TokenDistributions, form: packed.Form) -> str:
    """What is wrong with their numbers, if anything is."""
    probs, tail = said.probs.astype(np.float64), said.tail
    if not len(tail):
        return ""
    if not (np.isfinite(probs).all() and np.isfinite(tail).all()):
        return "NaN or infinity"
    if min(probs.min(), tail.min()) < 0:
        return "a probability below 0"
    sums = np.add.reduceat(probs, said.starts[:-1])
    if (np.abs(sums + tail - 1) > _SLACK).any():
        return "probabilities do not add up to 1"
    if form.layout != "top-k" and tail.any():
        return "a tail where all of it was drawn from"
    if (said.label_log_probs > 0).any():
        return "a label's log-probability above 0"
    low = said.label_log_probs[said.label_log_probs < _LEAST_LABEL]
    if len(low):
        return f"a label's log-probability of {low.min():,.0f}, so far apart are its logits"
    if form.layout == "draws":
        return _fault_of_draws(said, form.draws)
    return ""


def _fault_of_draws(said: TokenDistributions, draws: int) -> str:
    times = said.probs.astype(np.float64) * draws
    if (np.abs(times - np.rint(times)) > _SLACK).any():
        return f"its weights are no shares of {draws} draws"
    undrawn = (np.rint(times) == 0) & (said.ids != said.labels[said.owners])
    return "a token that was never drawn" if undrawn.any() else ""
