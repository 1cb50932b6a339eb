"""Two stacks under load: threads overlap, each stack stands alone, and what was measured is kept."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from page_helpers import Parsed
from rag_helpers import (
    PAUSE,
    FakePart,
    fake_parts,
    fake_stack,
    install,
    recomputed,
    write_conversations,
)
from ragdistill import alone
from ragdistill.cli import main
from ragdistill.data.collection import Query
from ragdistill.errors import UserError
from ragdistill.metrics.load import Served, ask, figures
from ragdistill.rag import load, under_load
from ragdistill.rag.compare import Comparison, compare
from ragdistill.rag.measured import measured
from ragdistill.report import view


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    with fake_parts():
        yield


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would start a process is called in this one, which is quicker; the stacks that were."""
    called = []

    def call(target: str, asked: Any) -> Any:
        assert target == load.TARGET
        called.append(Path(asked["stack"]).stem)
        return json.loads(json.dumps(under_load.measured(json.loads(json.dumps(asked)))))

    monkeypatch.setattr(alone, "call", call)
    return called


def asked(folder: Path, concurrency: int | None, **student: str) -> Comparison:
    """Slow teachers' generator against a student."""
    if not (folder / "data").exists():
        write_conversations(folder / "data")
    teacher = fake_stack(folder / "teacher.yaml", generator="slow")
    other = fake_stack(folder / "student.yaml", **student)
    data, out = str(folder / "data"), folder / "run"
    return Comparison(teacher, other, data, out, eval_queries=8, concurrency=concurrency)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_threads_overlap() -> None:
    rates = {}
    for threads in (1, 8):
        served = ask(lambda number: time.sleep(PAUSE), 16, threads=threads)
        assert [each.number for each in served] == list(range(16))
        told = figures(served)
        assert told["p50_ms"] >= 1000 * PAUSE
        rates[threads] = told["per_second"]
    assert rates[1] <= 1 / PAUSE
    assert 3 < rates[8] / rates[1] < 9


def test_what_fails_is_counted_and_is_no_latency() -> None:
    def serve(number: int) -> None:
        if number % 4 == 0:
            raise ValueError("out of\nluck")

    served = ask(serve, 40, threads=3)
    assert [each.error for each in served[:2]] == ["out of luck", ""]
    served = [Served(n, n, 0.5, "" if n % 4 else "no") for n in range(40)]
    told = figures(served)
    assert (told["requests"], told["errors"]) == (40, 10)
    assert told["per_second"] == pytest.approx(30 / 39.5)
    assert (told["p50_ms"], told["p95_ms"], told["p99_ms"]) == (500, 500, None)
    with pytest.raises(ValueError, match="0 threads"):
        ask(serve, 40, threads=0)


def test_what_fails_without_a_word_fails_too() -> None:
    def serve(number: int) -> None:
        raise TimeoutError

    assert {each.error for each in ask(serve, 8, threads=2)} == {"TimeoutError"}


@pytest.mark.parametrize("at", [0, 20])
def test_a_library_that_panics_ends_it(at: int) -> None:
    """In the warm-up, where the other threads wait for this one, or later."""

    class Panic(BaseException):
        pass

    calls: list[int] = []

    def serve(number: int) -> None:
        calls.append(number)
        if len(calls) > at:
            raise Panic("a lock is poisoned")

    with pytest.raises(Panic, match="poisoned"):
        ask(serve, 400, threads=4)
    assert len(calls) < 100


def test_few_queries_are_asked_again_and_many_are_drawn(tmp_path: Path) -> None:
    few, many = ([Query(f"q{n}", "x") for n in range(count)] for count in (3, 999))
    assert [q.id for q in load.requests(few, 2, 0)] == ["q0", "q1", "q2"] * 2 + ["q0", "q1"]
    drawn = load.requests(many, 2, 0)
    assert len({q.id for q in drawn}) == len(drawn) == load.MOST
    assert drawn != load.requests(many, 2, 1)


def test_each_stack_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path))
    report = compare(asked(tmp_path, 8))
    slow, quick = (report["speed"][side]["load"] for side in ("teacher", "student"))
    assert (slow["concurrency"], slow["requests"], slow["errors"]) == (8, 32, 0)
    assert slow["p50_ms"] >= 1000 * PAUSE
    # One at a time would be 1 / PAUSE at the most.
    assert 2 / PAUSE < slow["per_second"] < 9 / PAUSE
    assert quick["per_second"] > slow["per_second"]
    if sys.platform == "linux":
        assert 0 <= slow["memory"]["rise_mb"] < 2000
    # What it was asked here the matrix asked, each answer once.
    assert len(FakePart.asked["generator slow"]) == len(set(FakePart.asked["generator slow"]))


def test_it_is_told_wherever_latency_is(tmp_path: Path, here: list[str]) -> None:
    report = compare(asked(tmp_path, 3))
    rows = lines(tmp_path / "run/load/teacher.jsonl")
    told = report["speed"]["teacher"]["load"]
    again = figures([Served(n, r["started"], r["seconds"]) for n, r in enumerate(rows)])
    assert again == {key: told[key] for key in again}
    done = recomputed(tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    page = Parsed((tmp_path / "run/report.html").read_text())
    assert "3 requests at once" in page.text
    assert "--concurrency 3" in page.text
    terminal = CliRunner().invoke(main, ["report", "show", str(tmp_path / "run")]).stdout
    assert "3 at once" in terminal
    for text in (page.text, terminal):
        assert view.figures(told["per_second"]) in text
        assert view.figures(told["memory"]["rise_mb"]) in text
    # What a machine costs is reckoned with what it does for many at once.
    assert measured(tmp_path / "run", "teacher", 1.0).per_second == told["per_second"]


def test_it_is_measured_once(tmp_path: Path, here: list[str]) -> None:
    first = compare(asked(tmp_path, 2))
    assert compare(asked(tmp_path, 2)) == first
    assert here == ["teacher", "student"]
    without = compare(asked(tmp_path, None))
    assert "load" not in without["speed"]["teacher"]
    assert not (tmp_path / "run/load").exists()
    new = compare(asked(tmp_path, 2, reranker="other"))["speed"]
    assert new["teacher"] == first["speed"]["teacher"]  # the same stack, asked the same
    assert here == ["teacher", "student", "student"]
    compare(asked(tmp_path, 3))
    assert here[3:] == ["teacher", "student"]


def test_cut_off_between_the_stacks_it_goes_on(
    tmp_path: Path, here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call, calls = alone.call, []

    def cut_off(target: str, said: Any) -> Any:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return call(target, said)

    monkeypatch.setattr(alone, "call", cut_off)
    with pytest.raises(KeyboardInterrupt):
        compare(asked(tmp_path, 2))
    compare(asked(tmp_path, 2))
    assert here == ["teacher", "student"]
    assert len(calls) == 3


def test_some_errors_are_counted_and_told(tmp_path: Path, here: list[str]) -> None:
    wanted = asked(tmp_path, None, generator="other")
    compare(wanted)
    calls = []

    def trouble(part: str, what: tuple[Any, ...]) -> None:
        calls.append(part)
        if calls.count("generator other") > 10 and part == "generator other":
            raise RuntimeError("out of luck")

    FakePart.trouble = trouble
    found = compare(asked(tmp_path, 2, generator="other"))["speed"]["student"]["load"]
    assert found["errors"] > 0
    assert found["first_error"] == "out of luck"
    assert "first error out of luck" in Parsed((tmp_path / "run/report.html").read_text()).text


def test_what_failed_is_measured_anew(tmp_path: Path, here: list[str]) -> None:
    def trouble(part: str, what: tuple[Any, ...]) -> None:
        if part == "generator other" and len(here) == 2 and next(unlucky, None) is not None:
            raise RuntimeError("out of luck")

    unlucky, wanted = iter(range(9)), asked(tmp_path, 2, generator="other")
    compare(asked(tmp_path, None, generator="other"))
    FakePart.trouble = trouble
    assert compare(wanted)["speed"]["student"]["load"]["errors"] > 0
    assert compare(wanted)["speed"]["student"]["load"]["errors"] == 0
    assert here == ["teacher", "student", "student"]


def test_an_anchored_document_is_prepared(tmp_path: Path, here: list[str]) -> None:
    wanted = asked(tmp_path, 2)
    stack = yaml.safe_load(wanted.student.read_text(encoding="utf-8"))
    stack["rewriter"] = {"model": "fake:rewriter/bad", "anchor": 8}
    stack["reranker"] |= {"k_in": 2, "k_out": 2}
    wanted.student.write_text(yaml.safe_dump(stack), encoding="utf-8")
    report = compare(wanted)
    assert report["speed"]["student"]["load"]["errors"] == 0


def test_a_part_for_one_thread_is_told_in_one_line(tmp_path: Path, here: list[str]) -> None:
    wanted = asked(tmp_path, 2, generator="shy")
    words = ["rag", "compare", str(wanted.teacher), str(wanted.student), "--data", wanted.data]
    words += ["--out", str(wanted.out), "--eval-queries", "8"]
    done = CliRunner().invoke(main, [*words, "--concurrency", "2"])
    assert done.exit_code == 2, done.output
    assert "student.yaml: fails on every request that 2 threads ask at once: too many at once" in (
        done.stderr
    )
    assert not (wanted.out / "report.json").exists()
    assert CliRunner().invoke(main, words).exit_code == 0


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (alone.Died(-9), "student.yaml: the process that put it under load ended with status -9"),
        (UserError("has changed meanwhile", where="student.yaml"), "student.yaml: has changed"),
    ],
)
def test_a_process_that_ends_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, told: str
) -> None:
    def call(target: str, said: Any) -> Any:
        if said["stack"].endswith("student.yaml"):
            raise raised
        return under_load.measured(said)

    monkeypatch.setattr(alone, "call", call)
    with pytest.raises(UserError, match=told):
        compare(asked(tmp_path, 2))


def test_a_stack_that_changed_meanwhile_is_refused(tmp_path: Path, here: list[str]) -> None:
    wanted = asked(tmp_path, 2)
    said = {"stack": str(wanted.student), "digest": "0" * 64, "data": wanted.data, "seed": 0,
            "eval_queries": 8, "cache": str(wanted.out), "threads": 2, "requests": []}  # fmt: skip
    with pytest.raises(UserError, match="has changed meanwhile"):
        under_load.measured(said)
