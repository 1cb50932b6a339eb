"""What a stack may say of a query rewriter."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Lt


@dataclass(frozen=True, kw_only=True)
class RewriterOptions:
    """Of a language model; as ``ragdistill query-rewriter`` has them."""

    task: Literal["rewrite", "expand"] = "rewrite"
    rewrite_tokens: Annotated[int, Gt(0)] = 64
    expansion_tokens: Annotated[int, Gt(0)] = 128
    original_weight: Annotated[float, Gt(0), Lt(1)] = 0.5
    precision: Literal["float32", "bfloat16"] | None = None
