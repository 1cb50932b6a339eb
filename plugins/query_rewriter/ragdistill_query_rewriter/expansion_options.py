"""What ``ragdistill query-rewriter --task expand`` can be told beside the rest."""

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from ragdistill.config import option
from ragdistill.endpoint.options import EndpointConfig

RM3 = "rm3"
"""The teacher that is no language model: retrieval feedback."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpansionConfig(EndpointConfig):
    """The options of ``--task expand``."""

    feedback_from: Literal["bm25", "embedder"] = option(
        "What finds the documents that rm3 takes words from: BM25, or the --embedder.",
        affects="collect",
        default="bm25",
    )
    feedback_documents: Annotated[int, Gt(0)] = option(
        "Documents that rm3 takes words from.", affects="collect", default=10, metavar="N"
    )
    feedback_terms: Annotated[int, Gt(0)] = option(
        "Words that rm3 takes, those of the query counted.",
        affects="collect",
        default=10,
        metavar="N",
    )
    original_weight: Annotated[float, Gt(0), Lt(1)] = option(
        "Weight of the query's own words against those that are added.",
        affects="collect",
        default=0.5,
        metavar="WEIGHT",
    )
    combine: Literal["append", "rrf", "append-rrf"] | None = option(
        "How expansions are searched with: append their words to the query; fuse what query and variants "
        "find by reciprocal rank (rrf); or fuse what the query finds with those words and without them.",
        affects="train",
        default=None,
        shown_default="append for rm3, rrf for a language model",
    )
    effect_filter: bool = option(
        "Teach only expansions that find a judged document better, and to leave alone queries that are good.",
        affects="train",
        default=True,
    )
    made_queries: Annotated[int, Ge(0)] | None = option(
        "Also learn from so many queries made of documents, a few words in a row each, as long as their "
        "expansions still find them.",
        affects="collect",
        default=None,
        metavar="N",
        shown_default="5000 for rm3 and a student from scratch, else 0",
    )
    drift_floor: Annotated[float, Ge(0), Le(1)] = option(
        "Least likeness of a language model's variant to its query: the cosine of groups of three letters.",
        affects="train",
        default=0.05,
        metavar="COSINE",
    )
    expansion_tokens: Annotated[int, Gt(0)] = option(
        "Tokens after which an expansion is cut, and a teacher's is none.",
        affects="collect",
        default=128,
        metavar="N",
    )
