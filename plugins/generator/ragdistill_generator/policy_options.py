"""Who teaches while the student learns, and on whose answers: those options of ``ragdistill generator``."""

import dataclasses
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt

from ragdistill.config import flag, option
from ragdistill.errors import UserError

TutorName = Literal["stored", "live", "trained", "average", "peer"]
ASKED: tuple[TutorName, ...] = ("live", "trained")
"""Tutors that are the teacher itself, asked while the student learns: nothing of it is stored."""
OWN: tuple[TutorName, ...] = ("average", "peer")
"""Tutors that are made of the student: of the teacher only what it said of contexts is learnt."""
TUTOR_LR, DECAY = 5e-5, 0.99
SHARE, STUDENT_SAMPLING = 0.5, 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyOptions:
    """Options beside those of the generator; each is None where it says nothing."""

    tutor: TutorName | None = option(  # noqa: RUF009 - a literal type, which ruff takes for mutable
        "Who says how likely an answer's tokens are: the teacher, from the store; it, asked while the "
        "student learns; it, learning the answers, too; the student's moving average; a second student.",
        affects="collect",
        default=None,
        shown_default="stored; live with --method on-policy",
    )
    tutor_lr: Annotated[float, Gt(0)] | None = option(
        "Of --tutor trained: its peak learning rate.",
        affects="train",
        default=None,
        metavar="RATE",
        shown_default=f"{TUTOR_LR:g}",
    )
    average_decay: Annotated[float, Ge(0), Lt(1)] | None = option(
        "Of --tutor average: what a step leaves of the average.",
        affects="train",
        default=None,
        metavar="D",
        shown_default=f"{DECAY:g}",
    )
    peer_layers: str | None = option(
        "Of --tutor peer: the layers that the second student keeps, as --student-layers has it.",
        affects="train",
        default=None,
        metavar="N|LIST",
        shown_default="as many, chosen otherwise",
    )
    lambda_: Annotated[float, Ge(0), Le(1)] | None = option(
        "Of --method on-policy: share of the answers that the student samples; the others are as "
        "--answers says.",
        affects="train",
        default=None,
        metavar="SHARE",
        shown_default=f"{SHARE:g}",
    )
    beta: Annotated[float, Ge(0), Le(1)] | None = option(
        "Of the generalised Jensen-Shannon divergence, which it stands for: 0 is forward KL, 1 reverse.",
        affects="train",
        default=None,
        metavar="B",
        shown_default="0.5 with --divergence jsd",
    )
    student_sampling: Annotated[float, Ge(0), Le(100)] | None = option(
        "Of --method on-policy: temperature at which the student samples; 0 takes the likeliest words.",
        affects="train",
        default=None,
        metavar="T",
        shown_default=f"{STUDENT_SAMPLING:g}",
    )
    refresh: Annotated[int, Gt(0)] | None = option(
        "Of --method on-policy: steps after which it samples anew.",
        affects="train",
        default=None,
        metavar="STEPS",
        shown_default="at each check, a tenth of the run",
    )


def check_policy(
    options: PolicyOptions,
    tutor: TutorName,
    divergence: str,
    alpha: float,
    *,
    told: bool,
    samples: bool,
) -> None:
    """Refuse options that nothing would come of.

    Args:
        tutor: the one that there is, whether it was named or not.
        divergence: that of ``--divergence``.
        alpha: what the tutor weighs.
        told: whether the method learns distributions at all.
        samples: whether it has the student sample.

    Raises:
        UserError: naming one of them.
    """
    _check_only(options, tutor, samples=samples)
    for wrong, where, why, mend in (
        (
            options.tutor is not None and not told,
            "--tutor",
            "the method learns answers and no distributions over their tokens",
            "give --method logits or on-policy",
        ),
        (
            samples and tutor not in ASKED,
            "--tutor",
            f"what the student samples nobody has asked the teacher of, so it cannot be {tutor}",
            f"choose from {', '.join(ASKED)}",
        ),
        (
            told and tutor != "stored" and alpha == 0,
            "--alpha",
            f"at 0 nothing is learnt from --tutor {tutor}",
            "raise it, or give --method labels",
        ),
        (
            options.beta is not None and divergence not in ("forward", "jsd"),
            "--beta",
            f"the {divergence} divergence has none",
            "leave one of the two out",
        ),
    ):
        if wrong:
            raise UserError(why, where=where, mend=mend)


def _check_only(options: PolicyOptions, tutor: TutorName, *, samples: bool) -> None:
    """Refuse what is of another tutor or method."""
    for name, of in _ONLY.items():
        if getattr(options, name) is not None and not (samples if of is None else tutor == of):
            lacking = "method on-policy" if of is None else f"tutor {of}"
            raise UserError(
                f"says nothing without --{lacking}",
                where=flag(name),
                mend="leave it out, or give that, too",
            )


_ONLY: dict[str, TutorName | None] = {
    "tutor_lr": "trained",
    "average_decay": "average",
    "peer_layers": "peer",
    "lambda_": None,
    "student_sampling": None,
    "refresh": None,
}
"""The tutor that an option is of; None where it is of sampling."""
assert {*ASKED, *OWN} < {*get_args(TutorName)}
