"""What ``ragdistill`` needs to know of the embedder; torch stays out of here."""

from pathlib import Path

import click

from ragdistill import Method, Serving, hookimpl
from ragdistill.cli.component import component
from ragdistill_embedder.config import EmbedderConfig
from ragdistill_embedder.members import read_members
from ragdistill_embedder.serving_options import EmbedderOptions

METHODS = [
    Method(
        name="embedder/states",
        summary="similarity plus the teacher's token states, where the student is made of its layers",
        target="ragdistill_embedder.methods:States",
        paper="https://arxiv.org/abs/1909.10351",
    ),
    Method(
        name="embedder/similarity",
        summary="cosine regression plus the similarities within each batch",
        target="ragdistill_embedder.methods:Similarity",
        paper="https://arxiv.org/abs/1907.09682",
    ),
    Method(
        name="embedder/regression",
        summary="cosine regression onto the teacher's vectors",
        target="ragdistill_embedder.methods:Regression",
        paper="https://arxiv.org/abs/2004.09813",
    ),
    Method(
        name="embedder/contrastive",
        summary="regression plus InfoNCE with hard negatives that the teacher mines",
        target="ragdistill_embedder.methods:Contrastive",
        paper="https://arxiv.org/abs/2002.05709",
    ),
    Method(
        name="embedder/listwise",
        summary="regression plus the teacher's ranking of the nearest texts",
        target="ragdistill_embedder.methods:Listwise",
        paper="https://arxiv.org/abs/2112.01488",
    ),
    Method(
        name="embedder/margin-mse",
        summary="regression plus the teacher's margins to the nearest texts",
        target="ragdistill_embedder.methods:MarginMSE",
        paper="https://arxiv.org/abs/2010.02666",
    ),
]


@hookimpl
def ragdistill_methods() -> list[Method]:
    """Regression, alone and with what else a batch or its neighbours tell."""
    return METHODS


@hookimpl
def ragdistill_models() -> list[Path]:
    """Embedders in common use."""
    return [Path(__file__).with_name("models.toml")]


@hookimpl
def ragdistill_serving() -> list[Serving]:
    """Embedders: students, exports, and models by their names."""
    opens = "ragdistill_embedder.serving:open_embedder"
    distils = "ragdistill_embedder.in_stack:distils"
    return [Serving("embedder", "embedder", opens, EmbedderOptions, models=True, distils=distils)]


@hookimpl
def ragdistill_commands(cli: click.Group) -> None:
    """``ragdistill embedder``."""
    cli.add_command(
        component(
            "embedder",
            EmbedderConfig,
            method="states",
            help="Distil a sentence embedder.\n\nThe student learns, from the text of --data alone, "
            "to place texts as the teacher does. Finished stages are not done twice. --frontier "
            "3,2,1,static makes a student of so many layers each (0+2+5 names them), and a static one.",
            frontier=read_members,
        )
    )
