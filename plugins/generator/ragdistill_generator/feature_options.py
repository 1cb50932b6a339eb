"""What a generator learns besides answers, as the command line says it."""

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from ragdistill.config import option
from ragdistill.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Terms beside the answers' loss, each with its weight, and int8 in training."""

    feature: Annotated[float, Gt(0)] | None = option(
        "Weight of the distance of the layers' states from the teacher's, which is asked while the student "
        "learns.",
        affects="train",
        default=None,
        metavar="WEIGHT",
    )
    layer_map: Literal["uniform", "skip", "last", "learned"] | None = option(
        "Of --feature: which layers follow which of the teacher's: evenly; the same but for the last; those "
        "before the last; all, in shares that are trained along.",
        affects="train",
        default=None,
        shown_default="uniform",
    )
    feature_loss: Literal["mse", "cosine"] | None = option(
        "Of --feature: the squared distance over the teacher's squared length, or 1 less the cosine.",
        affects="train",
        default=None,
        shown_default="mse; cosine where the map is learned",
    )
    attention: Annotated[float, Gt(0)] | None = option(
        "Weight of how far the last layer's tokens are related otherwise than the teacher's: queries to "
        "queries, keys to keys, values to values.",
        affects="train",
        default=None,
        metavar="WEIGHT",
    )
    mtp: Annotated[int, Ge(1), Le(8)] | None = option(
        "Train K further heads along, for the tokens after next, taught by the main head and the answers; "
        "they are not part of the student.",
        affects="train",
        default=None,
        metavar="K",
    )
    mtp_weight: Annotated[float, Gt(0)] | None = option(
        "Of --mtp: weight of the mean over these heads.",
        affects="train",
        default=None,
        metavar="WEIGHT",
        shown_default="0.3",
    )
    qat: bool = option(
        "Train with int8's rounding in the forward pass, for int8 exports that lose less.",
        affects="train",
        default=False,
    )

    @property
    def besides(self) -> str | None:
        """The option of a term beside the answers' loss, if there is one."""
        given = {"--feature": self.feature, "--attention": self.attention, "--mtp": self.mtp}
        return next((flag for flag, value in given.items() if value is not None), None)

    @property
    def follows(self) -> bool:
        """Whether the teacher is asked while the student learns."""
        return self.feature is not None or self.attention is not None

    def refuse_together(self, lora: int | None) -> None:
        """Refuse what is said of something that was not asked for.

        Args:
            lora: the rank of updates that are trained in place of weights.

        Raises:
            UserError: naming the option.
        """
        for wrong, where, why, mend in (
            (
                self.layer_map is not None and self.feature is None,
                "--layer-map",
                "no layer follows another unless asked to",
                "add --feature 1, or leave it out",
            ),
            (
                self.feature_loss is not None and self.feature is None,
                "--feature-loss",
                "no layer follows another unless asked to",
                "add --feature 1, or leave it out",
            ),
            (
                self.mtp_weight is not None and self.mtp is None,
                "--mtp-weight",
                "there are no heads that it could weigh",
                "add --mtp 1, or leave it out",
            ),
            (
                self.qat and lora is not None,
                "--qat",
                "low-rank updates are merged before they are rounded, and cannot learn from that",
                "leave out --lora, or --qat",
            ),
        ):
            if wrong:
                raise UserError(why, where=where, mend=mend)
