"""Sweeps: every combination once, resumed where they broke off, judged by the held-out loss alone."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import click
import pytest
from annotated_types import Gt
from click.testing import CliRunner, Result

from kernel_helpers import Fake, FakeConfig, FakePlugin, fresh_cli
from ragdistill import Method, Section, hookimpl, option
from ragdistill.cli import PluginGroup, main, sweeping
from ragdistill.cli.component import component
from ragdistill.files import sha256_file
from tiny_models import save_searched, save_tiny

pytest.importorskip("optuna")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweptConfig(FakeConfig):
    """Two options that a sweep may vary."""

    rate: Annotated[float, Gt(0)] = option("Rate.", affects="train", default=1.0, sweep=True)
    steps: Annotated[int, Gt(0)] = option("Steps.", affects="train", default=10, sweep=True)


class Swept(Fake):
    """Its held-out loss is lowest at a rate of 0.3 and at many steps; its quality at others."""

    trained: ClassVar[list[tuple[float, int]]] = []
    stop_after: ClassVar[int] = 1000

    def train(self) -> Section:
        config = self.config
        assert isinstance(config, SweptConfig)
        if len(self.trained) == self.stop_after:
            raise KeyboardInterrupt
        self.trained.append((config.rate, config.steps))
        loss = abs(config.rate - 0.3) + 1 / config.steps
        rows = [{"step": 1, "held_out": 9.0}, {"step": 2, "held_out": loss}]
        return {**self._work("train"), "training": {"losses": [*rows, {"step": 2, "train": 0.0}]}}

    def evaluate(self) -> Section:
        assert isinstance(self.config, SweptConfig)
        score = self.config.rate  # the higher the better: a sweep that looked at it would be caught
        quality = {"EM": {"teacher": 1.0, "student": score}}
        return {**self._work("evaluate"), "quality": quality}


class SweptPlugin(FakePlugin):
    @hookimpl
    def ragdistill_methods(self) -> list[Method]:
        return [Method("swept/plain", "is swept", f"{__name__}:Swept")]

    @hookimpl
    def ragdistill_commands(self, cli: click.Group) -> None:
        cli.add_command(component("swept", SweptConfig, method="plain", help="Sweep."))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginGroup]:
    monkeypatch.setattr(Swept, "trained", [])
    monkeypatch.setattr(Method, "load", lambda self: Swept)
    with fresh_cli() as made:
        made.pm.register(SweptPlugin(), "swept")
        yield made


def _sweep(cli: PluginGroup, folder: Path, *more: str) -> Result:
    words = ["swept", "--out", str(folder / "run"), "--json", *more]
    return CliRunner().invoke(cli, words, prog_name="ragdistill")


GRID = ("--sweep", "rate=0.1,0.4,1", "--sweep", "steps=10,20")


def test_the_lowest_held_out_loss_of_every_combination_becomes_the_run(
    cli: PluginGroup, tmp_path: Path
) -> None:
    result = _sweep(cli, tmp_path, *GRID)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert sorted(Swept.trained) == [(r, s) for r in (0.1, 0.4, 1.0) for s in (10, 20)]
    losses = {tuple(t["values"].values()): t["held_out"] for t in report["sweep"]["trials"]}
    assert min(losses, key=lambda values: losses[values]) == ("0.4", "20")
    assert losses["0.1", "10"] == pytest.approx(0.3)
    state = json.loads((tmp_path / "run/run.json").read_text())
    assert (state["config"]["rate"], state["config"]["steps"]) == (0.4, 20)
    assert report["quality"]["EM"]["student"] == 0.4
    page = (tmp_path / "run/report.html").read_text()
    assert '<section id="sweep">' in page
    assert "rate=0.4, steps=20" in page


def test_again_it_trains_nothing_and_says_the_same(cli: PluginGroup, tmp_path: Path) -> None:
    first = _sweep(cli, tmp_path, *GRID)
    Swept.calls.clear()
    again = _sweep(cli, tmp_path, *GRID)
    assert Swept.calls == []
    assert json.loads(first.stdout) == json.loads(again.stdout)


def test_what_broke_off_goes_on_with_the_trial_it_was_in(
    cli: PluginGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Swept, "stop_after", 3)
    assert _sweep(cli, tmp_path, *GRID).exit_code == 1
    assert not (tmp_path / "run/run.json").exists()
    monkeypatch.setattr(Swept, "stop_after", 1000)
    result = _sweep(cli, tmp_path, *GRID)
    assert result.exit_code == 0, result.output
    assert len(Swept.trained) == len(set(Swept.trained)) == 6


def test_more_values_cost_only_themselves_and_may_win(cli: PluginGroup, tmp_path: Path) -> None:
    _sweep(cli, tmp_path, "--sweep", "rate=0.1,1")
    result = _sweep(cli, tmp_path, "--sweep", "rate=0.1,1,0.3")
    assert result.exit_code == 0, result.output
    assert [rate for rate, _ in Swept.trained] == [0.1, 1.0, 0.3]
    report = json.loads(result.stdout)
    assert report["quality"]["EM"]["student"] == 0.3
    assert len(report["sweep"]["trials"]) == 3


def test_a_range_is_searched_within_its_ends_and_resumes(cli: PluginGroup, tmp_path: Path) -> None:
    words = ("--sweep", "rate=0.01..1", "--sweep", "steps=5..50")
    assert _sweep(cli, tmp_path, *words, "--sweep-trials", "3").exit_code == 0
    assert len(Swept.trained) == 3
    result = _sweep(cli, tmp_path, *words, "--sweep-trials", "5")
    assert result.exit_code == 0, result.output
    assert len(set(Swept.trained)) == 5
    assert all(0.01 <= rate <= 1 and 5 <= steps <= 50 for rate, steps in Swept.trained)


def test_the_seed_decides_what_is_proposed(cli: PluginGroup, tmp_path: Path) -> None:
    words = ("--sweep", "rate=0.01..1", "--sweep-trials", "2")
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert _sweep(cli, tmp_path / name, *words, "--seed", seed).exit_code == 0
    first, second, other = Swept.trained[:2], Swept.trained[2:4], Swept.trained[4:]
    assert first == second != other


def test_another_recipe_in_the_same_folder_is_refused(cli: PluginGroup, tmp_path: Path) -> None:
    _sweep(cli, tmp_path, "--sweep", "rate=0.1,1")
    result = _sweep(cli, tmp_path, "--sweep", "rate=0.1,1", "--width", "9")
    assert result.exit_code == 2
    assert "was started with --width 4, not 9" in result.output


def test_a_dry_run_tells_of_the_sweep_and_makes_nothing(cli: PluginGroup, tmp_path: Path) -> None:
    plan = json.loads(_sweep(cli, tmp_path, *GRID, "--dry-run").stdout)["plan"]
    assert "train 6 times, with rate=0.1|0.4|1 steps=10|20" in plan["steps"][0]
    assert plan["seconds"] is None
    assert not (tmp_path / "run").exists()


def test_a_swept_embedder_is_the_student_of_its_best_trial(tmp_path: Path) -> None:
    words = ["embedder", "--teacher", str(save_tiny(tmp_path / "teacher")), "--student-layers", "2"]
    words += ["--data", str(save_searched(tmp_path / "data", documents=40, queries=10))]
    words += ["--out", str(tmp_path / "run"), "--store", str(tmp_path / "store"), "--epochs", "1"]
    words += ["--stages", "collect,train,evaluate", "--sweep", "lr=1e-4,3e-3", "--json"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    trials = {trial["values"]["lr"]: trial for trial in report["sweep"]["trials"]}
    best = min(trials, key=lambda lr: trials[lr]["held_out"])
    assert report["training"]["losses"] == trials[best]["losses"]
    folder = tmp_path / "run" / sweeping.FOLDER / f"lr={best}"
    student, trial = (
        sha256_file(place / "student/model.safetensors") for place in (tmp_path / "run", folder)
    )
    assert student == trial
    other = json.loads((tmp_path / "run/sweep/lr=3e-3/run.json").read_text())
    assert other["stages"]["collect"]["result"]["items"] == 0  # the teacher was asked once
