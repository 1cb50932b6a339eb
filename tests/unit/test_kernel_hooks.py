"""Every hook: documented, tested, and used by something that ships."""

import inspect
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kernel_helpers import METHOD, Fake, FakeConfig, fresh_cli
from ragdistill import STAGES, DatasetEntry, Serving, Stage, hookimpl, hookspecs, plugins
from ragdistill.cli import PluginGroup
from ragdistill.cli.running import StageLines
from ragdistill.data.collection import Collection, Document
from ragdistill.data.loading import load
from ragdistill.pipeline import run_stages
from ragdistill.rag.parts import announced
from ragdistill.run import Run

HOOKS = sorted(name for name in dir(hookspecs) if name.startswith("ragdistill_"))
PAGE = Path(__file__).parents[2] / "docs" / "write-a-plugin.md"


@pytest.fixture
def cli() -> Iterator[PluginGroup]:
    with fresh_cli() as made:
        yield made


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook: str) -> None:
    spec = getattr(hookspecs, hook)
    assert spec.__doc__
    arguments = ", ".join(inspect.signature(spec).parameters)
    assert f"| `{hook}({arguments})` |" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test(hook: str) -> None:
    assert f"test_hook_{hook.removeprefix('ragdistill_')}" in dir(sys.modules[__name__])


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_used_by_what_ships(hook: str, cli: PluginGroup) -> None:
    pm = plugins.new_manager()
    for entry_point in plugins.declared().values():
        plugins.load(pm, entry_point)
    pm.register(StageLines())
    assert getattr(pm.hook, hook).get_hookimpls()


def test_hook_commands(cli: PluginGroup) -> None:
    class Hello:
        @hookimpl
        def ragdistill_commands(self, cli: click.Group) -> None:
            cli.add_command(click.Command("hello", callback=lambda: click.echo("hi")))

    cli.pm.register(Hello(), "hello")
    result = CliRunner().invoke(cli, ["hello"])
    assert (result.exit_code, result.output) == (0, "hi\n")


def test_hook_methods(cli: PluginGroup) -> None:
    assert plugins.methods(plugins.manager())["fake/plain"] is METHOD


def test_every_announced_method_has_a_summary_and_an_address(cli: PluginGroup) -> None:
    for name, method in plugins.methods(plugins.manager()).items():
        assert name.count("/") == 1
        assert method.summary
        assert method.target.count(":") == 1


def test_hook_models(cli: PluginGroup, tmp_path: Path) -> None:
    class Aliases:
        @hookimpl
        def ragdistill_models(self) -> list[Path]:
            return [tmp_path / "models.toml"]

    cli.pm.register(Aliases(), "aliases")
    brought = [path for paths in plugins.manager().hook.ragdistill_models() for path in paths]
    assert tmp_path / "models.toml" in brought
    for path in set(brought) - {tmp_path / "models.toml"}:
        assert tomllib.loads(path.read_text(encoding="utf-8"))


def numbers() -> Collection:
    """What the plugin of the next test brings."""
    return Collection("numbers", (Document("1", "one"), Document("2", "two")))


def test_hook_datasets(cli: PluginGroup) -> None:
    class Data:
        @hookimpl
        def ragdistill_datasets(self) -> list[DatasetEntry]:
            return [DatasetEntry("numbers", "two of them", "CC0-1.0", f"{__name__}:numbers")]

    cli.pm.register(Data(), "numbers")
    assert load("numbers").name == "numbers"
    assert "numbers" in CliRunner().invoke(cli, ["data", "list"]).stdout


def test_hook_serving(cli: PluginGroup) -> None:
    class Serves:
        @hookimpl
        def ragdistill_serving(self) -> list[Serving]:
            return [Serving("rewriter", "mine", f"{__name__}:numbers")]

    cli.pm.register(Serves(), "mine")
    assert "mine" in [each.component for each in announced()["rewriter"]]
    assert {"embedder", "reranker", "generator"} <= set(announced())


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str, Path]] = []
        self.seconds: list[float] = []

    @hookimpl
    def ragdistill_stage_started(self, method: str, stage: Stage, folder: Path) -> None:
        self.told.append(("started", method, stage, folder))

    @hookimpl
    def ragdistill_stage_finished(
        self, method: str, stage: Stage, folder: Path, seconds: float
    ) -> None:
        self.told.append(("finished", method, stage, folder))
        self.seconds.append(seconds)


def watched(folder: Path) -> Watcher:
    """A run of all stages, and what its watcher was told."""
    pm, watcher = plugins.new_manager(), Watcher()
    pm.register(watcher)
    config = FakeConfig()
    run_stages(METHOD, Fake(config, folder), Run(folder, "fake", "m", config), STAGES, pm.hook)
    return watcher


def test_hook_stage_started(cli: PluginGroup, tmp_path: Path) -> None:
    told = watched(tmp_path).told
    assert told[::2] == [("started", METHOD.name, stage, tmp_path) for stage in STAGES]


def test_hook_stage_finished(cli: PluginGroup, tmp_path: Path) -> None:
    watcher = watched(tmp_path)
    assert watcher.told[1::2] == [("finished", METHOD.name, stage, tmp_path) for stage in STAGES]
    assert all(seconds >= 0 for seconds in watcher.seconds)
