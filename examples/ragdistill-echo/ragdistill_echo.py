"""``ragdistill echo``: what the command line needs to know; ``--help`` imports only this file."""

import dataclasses
from typing import Annotated

import click
from annotated_types import Gt

from ragdistill import Method, RunConfig, hookimpl, option
from ragdistill.cli.component import component


@dataclasses.dataclass(frozen=True, kw_only=True)
class EchoConfig(RunConfig):
    """The options of every component, and one of our own."""

    teacher: str = option("bigrams or trigrams.", affects="collect", default="trigrams")
    epochs: Annotated[int, Gt(0)] = option(
        "Passes over the training text.", affects="train", default=3, metavar="N"
    )


@hookimpl
def ragdistill_methods() -> list[Method]:
    """One method; its code is imported when it runs."""
    return [
        Method(
            name="echo/words",
            summary="a table of word vectors that add up to the teacher's vectors of texts",
            target="ragdistill_echo_distiller:WordTable",
        )
    ]


@hookimpl
def ragdistill_commands(cli: click.Group) -> None:
    """``ragdistill echo``, with everything that a component's command has."""
    cli.add_command(component("echo", EchoConfig, method="words", help="Distil letters to words."))
