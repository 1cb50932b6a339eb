"""A component without any model: what the tests of the kernel run."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import click
from annotated_types import Gt

from ragdistill import Distiller, Method, Plan, RunConfig, Section, Stage, hookimpl, option, plugins
from ragdistill.cli import PluginGroup
from ragdistill.cli.component import component

METHOD = Method("fake/plain", "does nothing, in order", "kernel_helpers:Fake")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FakeConfig(RunConfig):
    """An option for each thing that an option can be."""

    teacher: str = option("Who teaches.", affects="collect", default="T")
    data: str = option("Data.", affects="collect", default="D")
    width: Annotated[int, Gt(0)] = option("Width.", affects="train", default=4)
    layers: tuple[str, ...] = option("Layers.", affects="train", default=("a", "b"))
    queries: int | None = option("Queries.", affects="evaluate", default=None)
    kinds: str = option("Kinds.", affects="export", default="json")


class Fake(Distiller[FakeConfig]):
    """Leaves ``STAGE.txt`` for each stage, and notes that it was called."""

    calls: ClassVar[list[str]] = []
    trouble: ClassVar[dict[str, BaseException]] = {}
    verdict: ClassVar[dict[str, Any] | None] = None
    digests: ClassVar[dict[str, str]] = {}

    def inputs(self) -> Mapping[str, str]:
        return {"teacher": "a" * 64, "data": "b" * 64} | self.digests

    def plan(self) -> Plan:
        return Plan(steps=("ask T", "teach S"), items=3)

    def outputs(self, stage: Stage) -> tuple[str, ...]:
        return (f"{stage}.txt",)

    def _work(self, stage: str) -> Section:
        self.calls.append(stage)
        if stage in self.trouble:
            raise self.trouble[stage]
        (self.folder / f"{stage}.txt").write_text(stage)
        return {"items": 3, "tokens": None}

    def collect(self) -> Section:
        return self._work("collect")

    def train(self) -> Section:
        return self._work("train")

    def evaluate(self) -> Section:
        return self._work("evaluate") | {"quality": {"EM": {"teacher": 1.0, "student": 0.5}}}

    def export(self) -> Section:
        return self._work("export")

    def judge(self) -> Section:
        return {"verdict": self.verdict} if self.verdict else {}


class FakePlugin:
    """The plugin as its author would write it, without a package around it."""

    @hookimpl
    def ragdistill_methods(self) -> list[Method]:
        return [METHOD]

    @hookimpl
    def ragdistill_commands(self, cli: click.Group) -> None:
        cli.add_command(component("fake", FakeConfig, method="plain", help="Distil nothing."))


def forget() -> None:
    """Forget what this process knows of plugins."""
    plugins.plugin_manager.cache_clear()
    plugins._scan.cache_clear()


@contextmanager
def fresh_cli() -> Iterator[PluginGroup]:
    """The command with the fake component, its plugins not loaded yet; forgotten afterwards."""
    forget()
    Fake.calls, Fake.trouble, Fake.verdict, Fake.digests = [], {}, None, {}
    cli = PluginGroup("ragdistill")
    cli.pm.register(FakePlugin(), "fake")
    try:
        yield cli
    finally:
        forget()


def files_under(folder: Path) -> dict[str, bytes]:
    """Every file under ``folder`` with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
