"""What ``--method cot`` can be told beside what every method of the generator is told."""

import dataclasses
from typing import Annotated

from annotated_types import Ge, Gt, Le

from ragdistill.config import flag, option
from ragdistill.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReasoningConfig:
    """The options of reasoning that is learnt."""

    rationale_tokens: Annotated[int, Gt(0)] = option(
        "Of --method cot: tokens of the reasoning before an answer; what is longer is cut, and not learnt.",
        affects="collect",
        default=256,
        metavar="N",
    )
    rationales: Annotated[int, Gt(0)] | None = option(
        "Of --method cot: how often the teacher is asked to reason about a question that is learnt from.",
        affects="collect",
        default=None,
        metavar="N",
        shown_default="4 where --sampling is above 0, else 1",
    )
    rationale_support: Annotated[float, Ge(0), Le(1)] = option(
        "Of --method cot: share of the words of a reasoning that contexts and question must have; one "
        "with less is not learnt.",
        affects="collect",
        default=0.5,
        metavar="P",
    )
    rationale_f1: Annotated[float, Ge(0), Le(1)] = option(
        "Of --method cot: F1 with a known answer below which the teacher's reasoning is not learnt; "
        "numbers must be those of the known answer in any case.",
        affects="collect",
        default=0.5,
        metavar="F1",
    )

    def refuse_reasoning_options(self) -> None:
        """For a method that learns answers alone: nothing was asked of reasoning.

        Raises:
            UserError: it was.
        """
        for field in dataclasses.fields(ReasoningConfig):
            if getattr(self, field.name) != field.default:
                raise UserError(
                    "only --method cot learns reasoning",
                    where=flag(field.name),
                    mend="leave it out, or give --method cot",
                )
