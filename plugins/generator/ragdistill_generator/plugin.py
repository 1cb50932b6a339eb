"""What ``ragdistill`` needs to know of the generator; torch stays out of here."""

from pathlib import Path

import click

from ragdistill import Method, Serving, hookimpl
from ragdistill.cli.component import component
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.serving_options import GeneratorOptions

METHODS = [
    Method(
        name="generator/logits",
        summary="the teacher's distribution over each token of an answer, beside the token itself",
        target="ragdistill_generator.methods:Logits",
        paper="https://arxiv.org/abs/1503.02531",
    ),
    Method(
        name="generator/on-policy",
        summary="the teacher's distribution over each token of what the student itself writes",
        target="ragdistill_generator.methods:OnPolicy",
        paper="https://arxiv.org/abs/2306.13649",
    ),
    Method(
        name="generator/sequence",
        summary="the answers that the teacher writes",
        target="ragdistill_generator.methods:Sequence",
        paper="https://arxiv.org/abs/1606.07947",
    ),
    Method(
        name="generator/labels",
        summary="the data's own answers, without a teacher",
        target="ragdistill_generator.methods:Labels",
    ),
    Method(
        name="generator/cot",
        summary="reasoning before the answer: the data's own, or what can be believed of the teacher's",
        target="ragdistill_generator.methods:ChainOfThought",
        paper="https://arxiv.org/abs/2212.10071",
    ),
]


@hookimpl
def ragdistill_methods() -> list[Method]:
    """What can be learnt of a language model that answers."""
    return METHODS


@hookimpl
def ragdistill_models() -> list[Path]:
    """The aliases of generators."""
    return [Path(__file__).with_name("models.toml")]


@hookimpl
def ragdistill_serving() -> list[Serving]:
    """Generators: students, exports, and models by their names."""
    opens = "ragdistill_generator.serving:open_generator"
    distils = "ragdistill_generator.in_stack:distils"
    return [
        Serving("generator", "generator", opens, GeneratorOptions, models=True, distils=distils)
    ]


@hookimpl
def ragdistill_commands(cli: click.Group) -> None:
    """``ragdistill generator``."""
    cli.add_command(
        component(
            "generator",
            GeneratorConfig,
            method="logits",
            help="Distil a generator.\n\nThe student learns to answer questions from their contexts as a "
            "larger language model does, on questions of the train split, or on most of those that are "
            "judged. Finished stages are not done twice.",
        )
    )
