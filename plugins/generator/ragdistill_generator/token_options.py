"""What ``ragdistill generator`` can be told of other tokens, of teachers in between, and of how sure a teacher is."""

import dataclasses
from typing import Annotated

from annotated_types import Ge, Le

from ragdistill.config import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenConfig:
    """A part of the generator's options."""

    coverage: Annotated[float, Ge(0), Le(1)] = option(
        "Where teacher and student do not have the same tokens: the share of an answer's tokens, and of what "
        "the teacher says of them, that the student's tokens must be able to say; less is refused.",
        affects="collect",
        default=0.5,
        metavar="SHARE",
    )
    via: tuple[str, ...] | None = option(
        "Teachers in between, the largest first: each learns from the one before it, the student from the "
        "last. A number is the teacher with so many of its layers, anything else a model.",
        affects="collect",
        default=None,
        metavar="N|MODEL[,...]",
    )
    entropy_floor: Annotated[float, Ge(0), Le(10)] = option(
        "Nats of entropy, at least, of the teacher's distribution where its likeliest token is not the "
        "answer's: one that is sure and wrong is softened.",
        affects="train",
        default=0.0,
        metavar="NATS",
    )
    mix: str | None = option(
        "General text between the answers, against forgetting: documents of DATA make that share of the tokens "
        "that are learnt.",
        affects="collect",
        default=None,
        metavar="DATA:SHARE",
        shown_default="none",
    )


Fault = tuple[bool, str, str, str]
"""Whether it is one, the option, what is wrong, and how to mend it."""


def faults(config: TokenConfig, *, told: bool) -> list[Fault]:
    """What together says nothing; ``told``: whether the method learns the teacher's distributions."""
    alone = "only --method logits learns the teacher's distributions"
    return [
        (config.via is not None and not told, "--via", alone, "leave it out"),
        (config.via == (), "--via", "names no teacher", "name one, as 22, or leave it out"),
        (bool(config.entropy_floor) and not told, "--entropy-floor", alone, "leave it out"),
    ]
