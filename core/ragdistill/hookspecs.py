"""Every hook a plugin may implement. A hook is for what many plugins may do at once:
announce what they bring, or watch a run. What one plugin does alone is a Distiller."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pluggy

if TYPE_CHECKING:
    from ragdistill.data.entries import DatasetEntry
    from ragdistill.distiller import Method, Stage
    from ragdistill.rag.serving import Serving

hookspec = pluggy.HookspecMarker("ragdistill")
hookimpl = pluggy.HookimplMarker("ragdistill")


@hookspec(historic=True)
def ragdistill_commands(cli: click.Group) -> None:
    """Add commands to the ``ragdistill`` command line. Historic: a plugin registered after
    the call is called at its registration, so plugins can be loaded one by one."""


@hookspec
def ragdistill_methods() -> "Iterable[Method]":
    """Return the distillation methods this plugin brings, without importing their code."""
    raise NotImplementedError


@hookspec
def ragdistill_models() -> Iterable[Path]:
    """Return TOML files of model aliases (see ``ragdistill.models.aliases`` for their fields)."""
    raise NotImplementedError


@hookspec
def ragdistill_datasets() -> "Iterable[DatasetEntry]":
    """Return the built-in data sets this plugin brings, without building them."""
    raise NotImplementedError


@hookspec
def ragdistill_serving() -> "Iterable[Serving]":
    """Return which parts of a RAG stack this plugin opens for ``ragdistill rag``, without importing
    what opens them."""
    raise NotImplementedError


@hookspec
def ragdistill_stage_started(method: str, stage: "Stage", folder: Path) -> None:
    """Called before each stage of a run: for progress lines and experiment trackers."""


@hookspec
def ragdistill_stage_finished(method: str, stage: "Stage", folder: Path, seconds: float) -> None:
    """Called after each stage of a run has returned; ``seconds`` counts every attempt."""
