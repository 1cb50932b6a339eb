"""The swap matrix over fake parts that count what they are asked."""

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rag_helpers import (
    FakePart,
    asked,
    fake_parts,
    fake_stack,
    recomputed,
    write_conversations,
    write_stack,
)
from ragdistill.errors import UserError
from ragdistill.rag.compare import Comparison, compare
from ragdistill.rag.serving import ROLES

OTHER = dict.fromkeys(ROLES, "other")
"""A student of every part, which does as well as its teacher."""


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    with fake_parts():
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_conversations(tmp_path / "data")


def compared(data: Path, out: str = "run", swaps: Any = "all", **names: str) -> dict[str, Any]:
    folder = data.parent
    teacher = fake_stack(folder / "teacher.yaml")
    student = fake_stack(folder / "student.yaml", **names)
    return compare(Comparison(teacher, student, str(data), folder / out, swaps))


def untimed(value: Any) -> Any:
    """A report without what a clock said."""
    if isinstance(value, dict):
        timed = ("latency", "speed", "seconds", "verdict", "advice")
        return {key: untimed(each) for key, each in value.items() if key not in timed}
    return [untimed(each) for each in value] if isinstance(value, list) else value


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_student_that_loses_is_named_and_the_stack_is_judged(data: Path) -> None:
    report = compared(data, **OTHER)
    effects = report["rag"]["effects"]
    measure, told = next(iter(effects.items()))
    assert [effect["parts"] for effect in told["main"]] == [[role] for role in sorted(ROLES)]
    assert len(told["interactions"]) == 6
    assert not any(effect["certain"] for effect in (*told["main"], *told["interactions"]))
    section = report["rag"]["cells"]
    assert told["teacher"] == pytest.approx(section["TTTT"]["quality"][measure])
    assert told["student"] == pytest.approx(section["SSSS"]["quality"][measure])
    found = report["verdict"]
    assert {each["criterion"] for each in found["findings"]} >= {"p95_ms", "error_rate", "saving"}
    assert found["decision"] in ("inconclusive", "no-go")  # so few queries settle nothing
    assert found["criteria"]["error_rate"] == 0.005


def test_every_mix_is_a_cell(data: Path) -> None:
    report = compared(data, **OTHER)
    section = report["rag"]
    assert section["swapped"] == list(ROLES)
    assert set(section["cells"]) == {"".join(mix) for mix in product("TS", repeat=4)}
    assert list(section["cells"])[:2] == ["TTTT", "SSSS"]
    assert section["cells"]["TSTT"]["parts"]["embedder"] == "student"
    assert report["quality"]["F1"]["teacher"] == pytest.approx(1.0)
    assert section["faults"]["worse"] == 0


def test_one_part_at_a_time(data: Path) -> None:
    report = compared(data, swaps="one-at-a-time", **OTHER)
    assert list(report["rag"]["cells"]) == ["TTTT", "SSSS", "STTT", "TSTT", "TTST", "TTTS"]


def test_what_both_have_is_not_swapped(data: Path) -> None:
    section = compared(data, reranker="other")["rag"]
    assert section["swapped"] == ["reranker"]
    assert section["same"] == ["rewriter", "embedder", "generator"]
    assert list(section["cells"]) == ["T", "S"]


def test_the_matrix_asks_for_little_more_than_its_two_stacks(data: Path) -> None:
    report = compared(data, **dict.fromkeys(ROLES, "fair"))
    calls = report["rag"]["calls"]["parts"]
    for role in ROLES:
        matrix, alone = (
            sum(each[key] for each in calls[role].values()) for key in ("matrix", "alone")
        )
        assert asked(role) == matrix, role
        assert alone <= matrix <= 2.5 * alone, role
    # Were nothing shared, the last part would be asked eight times as often.
    assert sum(each["matrix"] for each in calls["generator"].values()) > 2 * 24
    assert {each["documents"] for each in calls["embedder"].values()} == {48}


def test_stacks_that_say_the_same_cost_what_they_cost_alone(data: Path) -> None:
    calls = compared(data, **OTHER)["rag"]["calls"]
    for sides in calls["parts"].values():
        assert all(each["matrix"] == each["alone"] for each in sides.values())
    assert calls["seconds"]["times"] == pytest.approx(1.0)


def test_a_second_start_asks_nothing_and_says_the_same(data: Path) -> None:
    first = compared(data, **dict.fromkeys(ROLES, "fair"))
    FakePart.asked = {}
    assert compared(data, **dict.fromkeys(ROLES, "fair")) == first
    assert FakePart.asked == {}


def test_another_student_costs_what_is_new(data: Path) -> None:
    compared(data, **OTHER)
    FakePart.asked = {}
    compared(data, **{**OTHER, "generator": "fair"})
    assert set(FakePart.asked) == {"generator fair"}
    assert asked("generator") == 24


@pytest.mark.parametrize("after", [7, 60, 120, 200])
def test_what_was_cut_off_goes_on(data: Path, after: int) -> None:
    names = dict.fromkeys(ROLES, "fair")
    whole = compared(data, "whole", **names)
    calls = {role: asked(role) for role in ROLES}
    FakePart.asked, FakePart.trouble = {}, cut_off(after)
    with pytest.raises(KeyboardInterrupt):
        compared(data, **names)
    FakePart.trouble = None
    assert untimed(compared(data, **names)) == untimed(whole)
    # What was under way is asked again, and no more: a list at the most.
    assert all(calls[role] <= asked(role) <= calls[role] + 6 for role in ROLES)


def cut_off(after: int) -> Callable[[str, tuple[Any, ...]], None]:
    left = iter(range(after))

    def trouble(part: str, what: tuple[Any, ...]) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return trouble


@pytest.mark.parametrize("role", ROLES)
def test_the_part_at_fault_is_named(data: Path, role: str) -> None:
    faults = compared(data, **{**OTHER, role: "bad"})["rag"]["faults"]
    parts = faults["parts"]
    assert faults["worse"] >= 12
    assert max(parts, key=lambda part: parts[part]["queries"]) == role
    assert parts[role]["queries"] == faults["worse"]
    rows = lines(data.parent / "run/faults.jsonl")
    assert len(rows) == faults["worse"]
    for row in rows:
        values = row["cells"]
        assert sum(row["lost"].values()) == pytest.approx(values["TTTT"] - values["SSSS"])
        assert row["lost"][role] == max(row["lost"].values())


def test_single_swaps_name_the_part_at_fault_too(data: Path) -> None:
    report = compared(data, swaps="one-at-a-time", **{**OTHER, "reranker": "bad"})
    assert set(report["rag"]["faults"]["parts"]) == set(ROLES)
    assert report["rag"]["faults"]["parts"]["reranker"]["queries"] > 12


def test_every_figure_can_be_computed_again(data: Path) -> None:
    def trouble(part: str, what: tuple[Any, ...]) -> None:
        if part == "generator fair" and len(FakePart.asked.get(part, [])) == 5:
            FakePart.asked[part].append(("", ""))
            raise RuntimeError("out of luck")

    FakePart.trouble = trouble
    compared(data, **{**OTHER, "embedder": "fair", "generator": "fair"})
    done = recomputed(data.parent / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 500
    path = data.parent / "run/report.json"
    report = json.loads(path.read_text())
    report["rag"]["effects"]["F1"]["main"][0]["value"] += 1e-6
    report["quality"]["nDCG@10"]["ci95"][1] += 0.1
    path.write_text(json.dumps(report))
    done = recomputed(data.parent / "run")
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stdout.splitlines()[:-1]] == [
        "quality/nDCG@10/ci95", "rag/effects/F1/main/0/value"
    ]  # fmt: skip


def test_a_part_that_fails_on_a_query_loses_that_query(data: Path) -> None:
    def trouble(part: str, what: tuple[Any, ...]) -> None:
        if part == "reranker other" and len(FakePart.asked.get(part, [])) == 5:
            FakePart.asked[part].append(("", ""))
            raise RuntimeError("out of\nluck")

    FakePart.trouble = trouble
    report = compared(data, **OTHER)
    cell = report["rag"]["cells"]["SSSS"]
    assert cell["errors"] == 1
    assert cell["first_error"] == "reranker: out of luck"
    assert cell["quality"]["F1"] == pytest.approx(23 / 24)
    assert report["rag"]["cells"]["SSTS"]["errors"] == 0
    assert report["rag"]["faults"]["queries"][0]["student"]["error"] == "reranker: out of luck"
    FakePart.trouble = None
    assert compared(data, **OTHER)["rag"]["cells"]["SSSS"]["errors"] == 0  # asked again


def test_a_part_that_fails_on_every_query_ends_it(data: Path) -> None:
    def trouble(part: str, what: tuple[Any, ...]) -> None:
        if part == "generator other":
            raise RuntimeError("no such voice")

    FakePart.trouble = trouble
    with pytest.raises(UserError, match=r"generator other failed on every query: no such voice"):
        compared(data, **OTHER)


def test_a_stack_may_leave_a_part_out(data: Path) -> None:
    folder = data.parent
    teacher = fake_stack(folder / "teacher.yaml")
    student = write_stack(
        folder / "student.yaml",
        embedder={"model": "fake:embedder/good", "k": 8},
        generator={"model": "fake:generator/good", "contexts": 2},
    )
    section = compare(Comparison(teacher, student, str(data), folder / "run"))["rag"]
    assert section["swapped"] == ["rewriter", "reranker"]
    assert section["cells"]["ST"]["quality"]["F1"] < 1  # what was said before is needed
    assert "rewriter" not in section["cells"]["ST"]["latency"]
    assert section["faults"]["parts"]["rewriter"]["queries"] > 0


def test_words_and_vectors_are_fused(data: Path) -> None:
    folder = data.parent
    embedder = {"model": "fake:embedder/bad", "k": 8}
    one = write_stack(folder / "one.yaml", embedder=embedder)
    two = write_stack(folder / "two.yaml", embedder=embedder, bm25={"k": 8}, fusion={"k": 10})
    report = compare(Comparison(one, two, str(data), folder / "run"))
    found = report["rag"]["cells"]
    assert found["S"]["quality"]["nDCG@10"] > found["T"]["quality"]["nDCG@10"]
    assert report["rag"]["faults"]["measure"] == "nDCG@10"
    assert report["rag"]["faults"]["better"] > 0


def test_without_judgments_the_teacher_is_what_is_right(data: Path) -> None:
    for name in ("queries.jsonl", "qrels/test.tsv"):
        (data / name).unlink()
    (data / "qrels").rmdir()
    folder = data.parent
    one = write_stack(folder / "one.yaml", embedder="fake:embedder/good")
    two = write_stack(folder / "two.yaml", embedder="fake:embedder/bad")
    found = compare(Comparison(one, two, str(data), folder / "run"))["rag"]["cells"]
    assert found["T"]["quality"]["overlap@10"] == 1
    assert found["S"]["quality"]["overlap@10"] < 1
