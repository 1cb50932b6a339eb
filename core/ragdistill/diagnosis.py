"""What went wrong in a run and what to change, in words: rules over figures, the figures beside them.

The thresholds of agreement are those of the field's guides: correlation above 0.8, the same likeliest token for
half of all tokens, a divergence below 1 nat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

CORRELATION, TOP1, DIVERGENCE = 0.8, 0.5, 1.0
SURE = 0.1
"""Nats of a teacher's mean entropy below which its distribution says little more than its likeliest token."""
COVERED = 0.8
_FALLING, _RISEN = 0.02, 0.02
"""Share of the held-out loss by which its last check is below the one before, or above the least."""
_ILL = 0.05
_TEMPERATE = (0.8, 1.25)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    what: str
    change: str

    def as_json(self) -> dict[str, str]:
        """Both by name."""
        return asdict(self)


def of_curve(losses: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """What the held-out losses of a training say, rows with ``step`` and ``held_out`` among them."""
    held = [float(row["held_out"]) for row in losses if row.get("held_out") is not None]
    if len(held) < 3:
        return []
    least, last, before = min(held), held[-1], held[-2]
    if last > least * (1 + _RISEN):
        return [
            Finding(
                f"the held-out loss rose from {least:.4f} to {last:.4f}: the student learnt its lesson by heart (the "
                "weights of the least were kept)",
                "bring more data, lower --epochs or --lr, or raise --alpha where there is one",
            )
        ]
    if before - last > _FALLING * last:
        return [
            Finding(
                f"the held-out loss was still falling at the end, from {before:.4f} to {last:.4f}",
                "raise --epochs",
            )
        ]
    return []


def of_agreement(found: Mapping[str, Any]) -> list[Finding]:
    """What the ``agreement`` of a student with its teacher says: ``kl``, ``top1``, ``correlation``,
    ``entropy`` (the teacher's)."""
    rows = (
        (
            found["kl"] > DIVERGENCE,
            f"the student's distribution is {found['kl']:.2f} nats a token from the teacher's, above {DIVERGENCE:g}",
            "raise --epochs or bring more data; if that does not help, keep more layers",
        ),
        (
            found["top1"] < TOP1,
            f"both have the same likeliest token for {found['top1']:.1%} of tokens, below {TOP1:.0%}",
            "raise --epochs or --lr; if that does not help, choose a larger student",
        ),
        (
            found["correlation"] is not None and found["correlation"] < CORRELATION,
            f"log-probabilities of likely tokens correlate by {found['correlation'] or 0:.2f}, below {CORRELATION:g}",
            "raise --alpha, so that the teacher's other tokens weigh more",
        ),
        (
            found["entropy"] < SURE,
            f"the teacher's entropy is {found['entropy']:.3f} nats: it says little more than its answers",
            "raise --temperature to 2, or save the trouble: --method sequence",
        ),
    )
    return [Finding(what, change) for wrong, what, change in rows if wrong]


def of_coverage(coverage: Mapping[str, Any]) -> list[Finding]:
    """What it says of two tokenizers, as ``ragdistill.alignment.Coverage`` has it."""
    share = coverage["share_of_tokens"]
    if share >= COVERED:
        return []
    return [
        Finding(
            f"only {share:.1%} of the answers' tokens have a distribution in the student's tokens",
            "choose a student with the teacher's tokenizer, or --method sequence",
        )
    ]


def of_calibration(systems: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """What the calibration of ``teacher`` and ``student`` says, each with ``ece``, ``accuracy``, ``confidence``
    and the best ``temperature``."""
    found = []
    teacher, student = systems.get("teacher"), systems.get("student")
    if teacher and not _TEMPERATE[0] <= teacher["temperature"] <= _TEMPERATE[1]:
        sure = teacher["temperature"] > 1
        found.append(
            Finding(
                f"the teacher is too {'sure' if sure else 'unsure'} of right answers: at temperature "
                f"{teacher['temperature']:.2f} it would foretell them best",
                f"try --temperature {teacher['temperature']:.1f}"
                + (" or --entropy-floor 0.5" if sure else ""),
            )
        )
    if teacher and teacher["accuracy"] < TOP1:
        found.append(
            Finding(
                f"the teacher's likeliest token is the right one for {teacher['accuracy']:.1%} of tokens",
                "lower --alpha, or choose a better teacher: the data know more than it does",
            )
        )
    if teacher and student and student["ece"] > teacher["ece"] + _ILL:
        found.append(
            Finding(
                f"the student is calibrated worse than the teacher: ECE {student['ece']:.3f} against {teacher['ece']:.3f}",
                f"serve it at temperature {student['temperature']:.2f}, or raise --alpha",
            )
        )
    return found
