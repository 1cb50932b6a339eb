"""report.json: built from run.json, complete, honest about what is unknown."""

import json
from pathlib import Path
from typing import Any

import pytest

from ragdistill.errors import UserError
from ragdistill.report import schema
from report_helpers import state


def test_sections_are_merged_and_stages_hold_what_they_worked_through() -> None:
    run = state()
    report = schema.build(run)
    assert run == state()
    assert list(report)[:4] == ["schema", "component", "teacher", "student"]
    assert report["stages"]["collect"] == {"seconds": 61.4, "items": 21_480, "tokens": 1_204_113}
    assert report["stages"]["evaluate"]["tokens"] is None
    assert report["teacher"]["digest"] == run["inputs"]["teacher"]
    assert report["student"]["digest"] == "77e0" * 16
    assert report["data"]["name"] == "pydocs"
    assert report["quality"]["nDCG@10"]["ci95"] == [0.9715, 1.0094]
    assert "items" not in report
    json.dumps(report, allow_nan=False)


def test_the_report_never_shares_parts_with_the_run() -> None:
    run = state()
    schema.build(run)["exports"]["onnx"]["quality"]["nDCG@10"]["student"] = -1
    assert run == state()


def test_what_no_stage_has_found_is_null() -> None:
    run = state()
    run["stages"] = {"collect": {"state": "failed", "seconds": 3.0, "error": "x"}}
    report = schema.build(run)
    assert report["verdict"] is None
    assert report["quality"] == report["speed"] == report["stages"] == {}
    assert report["data"]["queries"] is None
    assert report["teacher"]["parameters"] is None
    assert report["student"] == {
        "name": "MiniLM",
        "digest": None,
        "parameters": None,
        "licence": None,
    }


def test_the_data_is_what_was_measured_on() -> None:
    run = state()
    run["config"]["eval_data"] = "other"
    run["inputs"]["eval_data"] = "ee" * 32
    data = schema.build(run)["data"]
    assert (data["name"], data["digest"]) == ("other", "ee" * 32)


def test_two_stages_that_contradict_each_other_are_refused() -> None:
    run = state()
    run["stages"]["export"]["result"]["data"] = {"queries": 400}
    with pytest.raises(ValueError, match=r"data\.queries is both 412 and 400"):
        schema.build(run)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"quality": {"AP": {"teacher": float("nan")}}}, r"report\.quality\.AP\.teacher is nan"),
        ({"warnings": [float("inf")]}, r"report\.warnings\[0\] is inf"),
        ({"anything": {"deep": [1, float("-inf")]}}, r"anything\.deep\[1\] is -inf"),
        ({"quality": {"AP": {"teacher": "0.5"}}}, r"quality\.AP\.teacher: .*not '0\.5'"),
        ({"quality": {"AP": {"ci95": [0.9]}}}, r"quality\.AP\.ci95"),
        ({"speed": {"onnx": {"batch": 32, "p50_ms": None}, "x": {"p50_ms": -1.0}}}, r"x\.p50_ms"),
        ({"exports": {"onnx-int4": {"passed": "yes"}}}, r"onnx-int4\.passed"),
    ],
)
def test_a_figure_that_is_none_is_refused_by_name(section: dict[str, Any], message: str) -> None:
    run = state()
    run["stages"]["train"]["result"] = section
    with pytest.raises(ValueError, match=message):
        schema.build(run)


def test_read_gives_back_what_was_written(tmp_path: Path) -> None:
    report = schema.build(state())
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert schema.read(tmp_path) == report


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no report.json"),
        ("{", "cannot be read"),
        ("[]", "is no report"),
        ('{"schema": 99}', "newer ragdistill"),
        ('{"schema": 1}', "is damaged: report: component"),
    ],
)
def test_a_report_that_cannot_be_read_is_one_line(
    tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(UserError, match=message):
        schema.read(tmp_path)
