"""Whether an export writes what its model writes: the next tokens it expects, and the replies' quality.

Everything is measured on the model's own greedy replies, teacher-forced, so that one token that differs
does not make all that follow differ. Of next tokens only those that the model holds for likely are
compared: of the tens of thousands that it all but excludes, log-probabilities differ by whole nats and
mean nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ragdistill.export.causal.runner import Floats, Ids
from ragdistill.export.gates import too_small

Values = npt.NDArray[np.float64]
Judge = Callable[[str, Sequence[list[int]]], Values]
"""Name of a system and its replies as token ids, one to each of q prompts, to a value [q] of each reply: F1,
say; the greater the better."""

LIKELY = 0.01
"""Probability from which on a next token is compared."""


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """How far an export's next tokens and replies may be from its model's."""

    max_abs_diff: float
    """The most that the log-probability of a likely next token may differ by, in nats."""
    agreement: float
    """The least share of next tokens that must be the same, greedily."""
    quality_loss: float
    """The most that may be lost of the replies' mean value, absolute."""


FP32 = ReplyLimits(max_abs_diff=0.001, agreement=0.999, quality_loss=0.001)
"""For an export of the same precision."""

INT8 = ReplyLimits(max_abs_diff=float("inf"), agreement=0.8, quality_loss=0.01)
"""For int8. SmolLM2-135M as ctranslate2 has it keeps 0.86 of its next tokens (prose of high entropy), as
ONNX 0.70 with one scale for all tokens, 0.85 with one for each, 0.89 without its sensitive matrices
(benchmarks/LOG.md); one log-probability says nothing here, the replies' quality does."""


@dataclass(frozen=True, slots=True)
class ReplyResult:
    """What was measured, and which limits it breaks."""

    max_abs_diff: float
    """Greatest difference of the log-probability of a likely next token, in nats."""
    kl: float
    """Mean of KL(model || export) of next tokens, in nats."""
    agreement: float
    """Share of next tokens that are the same, greedily; of what the model wrote."""
    same_replies: float
    """Share of whole replies that are the same, token by token."""
    tokens: int
    """How many next tokens were compared."""
    quality_difference: float | None
    """The replies' mean value less that of the model's; None where they have none."""
    reasons: tuple[str, ...]
    """Each limit that is broken, with the figure; empty when it passed."""

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """As report.json holds it: figures that are no number are None."""
        figures = asdict(self) | {"reasons": list(self.reasons), "passed": self.passed}
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in figures.items()
        }


class Writer(Protocol):
    """What of a :class:`~ragdistill.export.causal.runner.Runner` is compared; encoder-decoders have it, too."""

    def generate(self, prompts: Sequence[Ids], new_tokens: int) -> list[list[int]]:
        """See ``Runner``."""

    def log_probs(self, prompt: Ids, answer: Ids) -> Floats:
        """See ``Runner``."""


@dataclass(frozen=True)
class Reference:
    """A model and what it replies, which its exports are held against."""

    model: Writer
    prompts: Sequence[Ids]
    new_tokens: int
    judge: Judge | None = None
    name: str = "student"
    """The name that the judge is given for the model itself."""

    @cached_property
    def replies(self) -> list[list[int]]:
        """The model's own."""
        return self.model.generate(self.prompts, self.new_tokens)

    @cached_property
    def values(self) -> Values | None:
        """Those of the model's replies."""
        return self.judge(self.name, self.replies) if self.judge else None

    def check(self, candidate: Writer, limits: ReplyLimits, name: str) -> ReplyResult:
        """Hold an export (``candidate``) against the model.

        Args:
            candidate: what is to be served.
            limits: what passes.
            name: what the judge is told that the replies are of.

        Raises:
            ValueError: no prompts, or a judge that does not give a value of each reply.
        """
        if not self.prompts:
            raise ValueError("no prompts")
        asked = zip(self.prompts, self.replies, strict=True)
        steps = [_Steps.of(self.model, candidate, *each) for each in asked]
        furthest = float(np.max([each.furthest for each in steps]))
        kl = float(np.concatenate([each.kl for each in steps]).mean())
        agreement = float(np.concatenate([each.same for each in steps]).mean())
        written = candidate.generate(self.prompts, self.new_tokens)
        gained = self._gained(name, written)
        return ReplyResult(
            max_abs_diff=furthest,
            kl=kl,
            agreement=agreement,
            same_replies=float(
                np.mean([a == b for a, b in zip(self.replies, written, strict=True)])
            ),
            tokens=sum(len(each.same) for each in steps),
            quality_difference=gained,
            reasons=_reasons(furthest, agreement, gained, limits),
        )

    def _gained(self, name: str, written: Sequence[list[int]]) -> float | None:
        if self.judge is None or self.values is None:
            return None
        found = self.judge(name, written)
        if not len(found) == len(self.values) == len(self.prompts):
            raise ValueError(f"{len(found)} values of {len(self.prompts)} replies")
        return float(np.mean(found - self.values))


def _reasons(
    furthest: float, agreement: float, gained: float | None, limits: ReplyLimits
) -> tuple[str, ...]:
    """Each limit that is broken; a figure that is NaN breaks its own."""
    reasons = too_small("same next tokens", agreement, limits.agreement, ".4f")
    if not furthest <= limits.max_abs_diff:
        reasons = (*reasons, f"log-probabilities differ by {furthest:.2g} > {limits.max_abs_diff}")
    if gained is not None and not -gained <= limits.quality_loss:
        reasons = (*reasons, f"replies lost {-gained:.4f} > {limits.quality_loss}")
    return reasons


@dataclass(frozen=True, slots=True)
class _Steps:
    """How far two models' next tokens are apart along one reply of n tokens."""

    furthest: float
    kl: Values
    """[n]"""
    same: npt.NDArray[np.bool_]
    """[n]"""

    @classmethod
    def of(cls, model: Writer, candidate: Writer, prompt: Ids, reply: Ids) -> "_Steps":
        mine, its = model.log_probs(prompt, reply), candidate.log_probs(prompt, reply)
        apart: Floats = mine - its
        probabilities = np.exp(mine.astype(np.float64))
        furthest = np.abs(apart[probabilities >= LIKELY]).max(initial=0.0)
        same = mine.argmax(axis=1) == its.argmax(axis=1)
        return cls(float(furthest), (probabilities * apart).sum(axis=1), same)
