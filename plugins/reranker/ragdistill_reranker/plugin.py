"""What ``ragdistill`` needs to know of the reranker; torch stays out of here."""

from pathlib import Path

import click

from ragdistill import Method, Serving, hookimpl
from ragdistill.cli.component import component
from ragdistill_reranker.config import RerankerConfig
from ragdistill_reranker.serving_options import RerankerOptions

METHODS = [
    Method(
        name="reranker/listwise",
        summary="the teacher's distribution over a list (KL divergence)",
        target="ragdistill_reranker.methods:Listwise",
        paper="https://arxiv.org/abs/2112.01488",
    ),
    Method(
        name="reranker/margin-mse",
        summary="the teacher's margins between the positive and the others",
        target="ragdistill_reranker.methods:MarginMSE",
        paper="https://arxiv.org/abs/2010.02666",
    ),
    Method(
        name="reranker/hinge",
        summary="margins at least as large as the teacher's",
        target="ragdistill_reranker.methods:Hinge",
    ),
    Method(
        name="reranker/ranknet",
        summary="the teacher's preferences between two documents",
        target="ragdistill_reranker.methods:RankNet",
    ),
    Method(
        name="reranker/mse",
        summary="the teacher's scores themselves",
        target="ragdistill_reranker.methods:ScoreMSE",
    ),
    Method(
        name="reranker/mix",
        summary="half listwise, half the scores themselves",
        target="ragdistill_reranker.methods:Mix",
    ),
]


@hookimpl
def ragdistill_methods() -> list[Method]:
    """What can be learnt of scored lists."""
    return METHODS


@hookimpl
def ragdistill_models() -> list[Path]:
    """Rerankers in common use."""
    return [Path(__file__).with_name("models.toml")]


@hookimpl
def ragdistill_serving() -> list[Serving]:
    """Rerankers: students of every kind, exports, and models by their names."""
    opens = "ragdistill_reranker.serving:open_reranker"
    distils = "ragdistill_reranker.in_stack:distils"
    return [Serving("reranker", "reranker", opens, RerankerOptions, models=True, distils=distils)]


@hookimpl
def ragdistill_commands(cli: click.Group) -> None:
    """``ragdistill reranker``."""
    cli.add_command(
        component(
            "reranker",
            RerankerConfig,
            method="listwise",
            help="Distil a reranker.\n\nThe student learns to order candidates as a cross-encoder or a "
            "language model does, on queries of the train split or on pieces of the documents of --data. "
            "Finished stages are not done twice.",
        )
    )
