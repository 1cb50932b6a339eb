"""What a stack may say of a generator."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """As ``ragdistill generator`` has them; unless given, those of the run."""

    style: Literal["short", "cited"] | None = None
    answer_tokens: Annotated[int, Gt(0)] | None = None
    window: Annotated[int, Gt(0)] | None = None
    precision: Literal["float32", "bfloat16"] | None = None
