"""What a stack may say of a query rewriter."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt


@dataclass(frozen=True, kw_only=True)
class RewriterOptions:
    """Of a language model; as ``ragdistill query-rewriter`` has them."""

    rewrite_tokens: Annotated[int, Gt(0)] = 64
    precision: Literal["float32", "bfloat16"] | None = None
