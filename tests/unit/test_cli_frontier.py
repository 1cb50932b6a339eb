"""Frontiers: each member trained once, the cheapest that passes chosen, and told as chosen by the
judged queries. The members' quality and speed are made, so that the choice is known."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import click
import pytest
from click.testing import CliRunner, Result

from kernel_helpers import Fake, FakeConfig, FakePlugin, fresh_cli
from ragdistill import Method, Section, Stage, hookimpl, option
from ragdistill.cli import PluginGroup
from ragdistill.cli.component import component
from ragdistill.metrics import bootstrap, retrieval, trec
from ragdistill.metrics.frontier import Candidate, choose
from ragdistill.report import view

QUERIES = 400


@dataclasses.dataclass(frozen=True)
class Made:
    """How many queries a student fails, how much faster it is than the teacher, how fast the machine
    was, and whether int8 broke it."""

    fails: int
    faster: float
    machine: float = 100.0
    int8: bool = True


STUDENTS = {
    "big": Made(fails=0, faster=2, machine=300.0),
    "mid": Made(fails=8, faster=4, int8=False),
    "small": Made(fails=120, faster=10),
}
"""At a gate of 0.93 the cheapest is mid as onnx, 8 times as fast as its teacher: its int8 and all of
small fail, and big was only measured while the machine was fast."""
TIMES = {"student": 1, "onnx": 2, "onnx-int8": 3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizedConfig(FakeConfig):
    """What the members differ in."""

    size: str | None = option("Size.", affects="train", default=None)


class Sized(Fake):
    """Finds the one right document of each query, but for as many as it is made to fail."""

    trained: ClassVar[list[str]] = []
    stop_at: ClassVar[tuple[str, str]] = ("", "")

    @property
    def made(self) -> tuple[str, Made]:
        assert isinstance(self.config, SizedConfig)
        name = self.config.size or "big"
        return name, STUDENTS[name]

    def outputs(self, stage: Stage) -> tuple[str, ...]:
        return ()

    def _work(self, stage: str) -> Section:
        if self.stop_at == (self.made[0], stage):
            raise KeyboardInterrupt
        return super()._work(stage)

    def train(self) -> Section:
        done = self._work("train")
        self.trained.append(self.made[0])
        (self.folder / "student").mkdir(exist_ok=True)
        (self.folder / f"student/{self.made[0]}.txt").write_text("weights")
        return done

    def evaluate(self) -> Section:
        whole, mine = _rankings(0), _rankings(self.made[1].fails)
        for name, found in {"teacher": whole, **dict.fromkeys(TIMES, mine)}.items():
            trec.write(self.folder / "rankings" / f"{name}.trec", found, name)
        qrels = {f"q{number}": {"right": 1} for number in range(QUERIES)}
        trec.write_qrels(self.folder / "rankings/qrels.trec", qrels)
        quality = retrieval.quality(qrels, whole, mine, 0)
        data = {"queries": QUERIES}
        return {**self._work("evaluate"), "quality": quality, "data": data}

    def export(self) -> Section:
        name, made = self.made
        quality = json.loads((self.folder / "run.json").read_text())
        row = quality["stages"]["evaluate"]["result"]["quality"]
        exports = {
            "onnx": {"quality": row, "size_mb": 9.0, "passed": True},
            "onnx-int8": {"quality": row, "size_mb": 3.0, "passed": made.int8},
        }
        rates = {key: made.faster * times * made.machine for key, times in TIMES.items()}
        speed = {
            key: {"per_second": rate} for key, rate in {"teacher": made.machine, **rates}.items()
        }
        student = {"name": name, "size_mb": 9.5}
        return {**self._work("export"), "exports": exports, "speed": speed, "student": student}

    def judge(self) -> Section:
        return {"verdict": retrieval.verdict(self.folder, self.config.gate or 0.93, 0)}

    def judge_system(self, system: str, compared: int) -> Section:
        gate = self.config.gate or 0.93
        return retrieval.verdict_of(self.folder, system, gate, 0, compared=compared)


def _rankings(fails: int) -> trec.Rankings:
    return {
        f"q{number}": [("wrong" if number < fails else "right", 1.0)] for number in range(QUERIES)
    }


class SizedPlugin(FakePlugin):
    @hookimpl
    def ragdistill_methods(self) -> list[Method]:
        return [Method("sized/plain", "has sizes", f"{__name__}:Sized")]

    @hookimpl
    def ragdistill_commands(self, cli: click.Group) -> None:
        def read(text: str) -> dict[str, dict[str, str | None]]:
            return {name: {"size": name} for name in text.split(",")}

        made = component("sized", SizedConfig, method="plain", help="Sizes.", frontier=read)
        cli.add_command(made)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginGroup]:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 999)
    monkeypatch.setattr(Sized, "trained", [])
    monkeypatch.setattr(Method, "load", lambda self: Sized)
    with fresh_cli() as made:
        made.pm.register(SizedPlugin(), "sized")
        yield made


ALL = ("--frontier", "big,mid,small")


def _run(cli: PluginGroup, folder: Path, *words: str) -> Result:
    told = ["sized", "--out", str(folder / "run"), *words]
    return CliRunner().invoke(cli, told, prog_name="ragdistill")


def _report(result: Result, status: int = 0) -> dict[str, Any]:
    assert result.exit_code == status, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def _chosen(report: dict[str, Any]) -> list[tuple[str, str]]:
    entries = report["frontier"]["entries"]
    return [(entry["name"], entry["system"]) for entry in entries if entry["chosen"]]


def test_the_cheapest_that_passes_becomes_the_run(cli: PluginGroup, tmp_path: Path) -> None:
    report = _report(_run(cli, tmp_path, *ALL, "--gate", "0.93", "--json"))
    assert Sized.trained == ["big", "mid", "small"]
    section = report["frontier"]
    assert (section["compared"], section["passed"], section["speed"]) == (9, True, "faster")
    assert _chosen(report) == [("mid", "onnx")]
    found = {(entry["name"], entry["system"]): entry for entry in section["entries"]}
    assert {key: entry["faster"] for key, entry in found.items()} == {
        (name, system): pytest.approx(made.faster * times)
        for name, made in STUDENTS.items()
        for system, times in TIMES.items()
    }
    decisions = {name: found[name, "student"]["decision"] for name in STUDENTS}
    assert decisions == {"big": "go", "mid": "go", "small": "no-go"}
    assert found["mid", "onnx"]["quality"]["retention"] == pytest.approx(392 / 400)
    # What holds for nine at once is wider than what holds for one.
    wide, narrow = (found["small", "onnx"][key] for key in ("interval", "quality"))
    assert wide[0] < narrow["ci95"][0] < narrow["ci95"][1] < wide[1]
    assert (report["verdict"]["decision"], report["verdict"]["system"]) == ("go", "onnx")
    assert "in all 9 compared" in report["verdict"]["reason"]
    run = tmp_path / "run"
    assert json.loads((run / "run.json").read_text())["config"]["size"] == "mid"
    assert (run / "student/mid.txt").exists()
    own = json.loads((run / "frontier/small/report.json").read_text())
    assert own["verdict"]["decision"] == "no-go"
    assert "frontier" not in own


def test_page_and_terminal_show_what_was_compared(cli: PluginGroup, tmp_path: Path) -> None:
    result = _run(cli, tmp_path, *ALL)
    lines = result.stdout.splitlines()
    (chosen,) = [line for line in lines if line.startswith("> mid")]
    assert chosen.split()[2:5] == ["onnx", view.times(8), "800"]
    assert any("mid" in line and "onnx-int8" in line and "export failed" in line for line in lines)
    assert "chosen among 9 by these very queries" in result.stdout
    page = (tmp_path / "run/report.html").read_text()
    assert '<section id="frontier">' in page
    assert "Mid as onnx is the cheapest of the 9 compared that passes the gate of 93.0 %" in page
    assert "Share of the teacher's nDCG@10 kept, against speed" in page.replace("&#39;", "'")


def test_what_broke_off_goes_on_and_nothing_is_trained_twice(
    cli: PluginGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sized, "stop_at", ("mid", "export"))
    assert _run(cli, tmp_path, *ALL).exit_code == 1
    assert not (tmp_path / "run/run.json").exists()
    monkeypatch.setattr(Sized, "stop_at", ("", ""))
    first = _report(_run(cli, tmp_path, *ALL, "--json"))
    assert Sized.trained == ["big", "mid", "small"]
    Sized.calls.clear()
    assert _report(_run(cli, tmp_path, *ALL, "--json")) == first
    assert Sized.calls == []


def test_where_none_passes_the_best_is_the_run_and_that_is_said(
    cli: PluginGroup, tmp_path: Path
) -> None:
    _report(_run(cli, tmp_path, *ALL, "--json"))
    # 400 queries cannot tell that 99.9 % are kept, not even of a student that loses nothing.
    report = _report(_run(cli, tmp_path, *ALL, "--gate", "0.999", "--json"), status=4)
    assert (_chosen(report), report["frontier"]["passed"]) == ([("big", "onnx-int8")], False)
    assert Sized.trained == ["big", "mid", "small"]
    run = tmp_path / "run"
    assert [path.name for path in sorted((run / "student").glob("*.txt"))] == ["big.txt"]
    assert "None of the 9 compared passes the gate of 99.9 %" in (run / "report.html").read_text()


def test_students_that_were_compared_are_not_forgotten(cli: PluginGroup, tmp_path: Path) -> None:
    _report(_run(cli, tmp_path, *ALL, "--json"))
    fewer = _run(cli, tmp_path, "--frontier", "small", "--gate", "0.93")
    assert fewer.exit_code == 2
    assert "compared 'big', too, and a verdict without it would forget that" in fewer.output


def test_what_is_no_frontier_s_is_never_replaced(cli: PluginGroup, tmp_path: Path) -> None:
    mine = tmp_path / "run/student/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    (tmp_path / "run/frontier").mkdir()
    assert "run: holds no frontier" in _run(cli, tmp_path, *ALL).output
    assert mine.read_text() == "precious"
    shutil.rmtree(tmp_path / "run")
    _run(cli, tmp_path, "--size", "mid")  # a run of its own, beside what looks like members
    _run(cli, tmp_path, *ALL, "--out", str(tmp_path / "other"))
    shutil.copytree(tmp_path / "other/frontier", tmp_path / "run/frontier")
    assert "run: holds no frontier" in _run(cli, tmp_path, *ALL).output
    assert _run(cli, tmp_path, "--size", "mid").exit_code == 0


def test_a_chosen_run_is_not_continued_as_if_it_were_not(cli: PluginGroup, tmp_path: Path) -> None:
    _run(cli, tmp_path, *ALL)
    result = _run(cli, tmp_path, "--size", "mid")
    assert result.exit_code == 2
    assert "was chosen by --frontier; give --frontier again" in result.output
    member = ("--out", str(tmp_path / "run/frontier/mid"), "--size", "mid")
    assert _run(cli, tmp_path, *member).exit_code == 0
    assert Sized.trained == ["big", "mid", "small"]


def test_a_dry_run_tells_of_all_and_makes_nothing(cli: PluginGroup, tmp_path: Path) -> None:
    plan = json.loads(_run(cli, tmp_path, *ALL, "--dry-run", "--json").stdout)["plan"]
    assert plan["steps"] == [
        "make 3 students, big, mid, small; what one asks for, all have", "ask T", "teach S",
    ]  # fmt: skip
    assert plan["items"] == 3
    assert plan["seconds"] is None
    assert set(plan["extra"]["members"]) == set(STUDENTS)
    assert not (tmp_path / "run").exists()


def test_of_equally_fast_ones_the_smallest_and_of_failing_ones_the_best() -> None:
    fast = Candidate(speed=9, size_mb=5, quality=0.9, passes=True)
    small = dataclasses.replace(fast, size_mb=4)
    slow = dataclasses.replace(fast, speed=8, size_mb=1, quality=1)
    failing = Candidate(speed=99, size_mb=0, quality=0.99, passes=False)
    assert choose([slow, fast, small, failing]) == 2
    worse = dataclasses.replace(failing, quality=0.5, speed=100)
    assert choose([worse, failing]) == 1
    assert choose([failing, dataclasses.replace(failing, speed=100)]) == 1
