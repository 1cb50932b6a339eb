"""A frontier of real students: two layers, one, and a static one, of one tiny teacher."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ragdistill.cli import main
from ragdistill.errors import UserError
from ragdistill.files import sha256_file
from ragdistill_embedder import exporting, training
from ragdistill_embedder.members import read_members
from tiny_models import save_searched, save_tiny


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    """The command, on 60 documents and 20 queries."""
    told = ["--teacher", str(save_tiny(tmp_path / "teacher")), "--out", str(tmp_path / "run")]
    told += ["--data", str(save_searched(tmp_path / "data", documents=60, queries=20))]
    told += ["--store", str(tmp_path / "store"), "--epochs", "1", "--frontier", "static,2,1"]
    return lambda *words: CliRunner().invoke(main, ["embedder", *told, *words])


def counted(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, stop_at: int) -> list[int]:
    """How often a function was called; the call ``stop_at`` is broken off."""
    calls: list[int] = []
    real = getattr(place, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return real(*args, **named)

    monkeypatch.setattr(place, name, wrapped)
    return calls


def test_students_of_one_teacher_that_is_asked_once(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = counted(monkeypatch, training, "fit", stop_at=0)
    exported = counted(monkeypatch, exporting, "export_all", stop_at=2)
    assert run("--json").exit_code == 1
    assert (len(trained), len(exported)) == (2, 2)
    result = run("--json", "--gate", "0.3")
    assert result.exit_code in (0, 3, 4), result.output
    report = json.loads(result.stdout)
    assert len(trained) == 3
    folder = tmp_path / "run"
    members = {
        name: json.loads((folder / "frontier" / name / "report.json").read_text())
        for name in ("2", "1", "static")
    }
    asked = {name: own["stages"]["collect"]["items"] for name, own in members.items()}
    assert asked["2"] > 0
    assert (asked["1"], asked["static"]) == (0, 0)
    entries = report["frontier"]["entries"]
    systems = ("student", "onnx", "onnx-int8")
    assert [(entry["name"], entry["system"]) for entry in entries] == [
        *(("2", system) for system in systems),
        *(("1", system) for system in systems),
        ("static", "student"),
        ("static", "static"),
    ]
    for entry in entries:
        own = members[entry["name"]]
        rate = own["speed"][entry["system"]]["per_second"] / own["speed"]["teacher"]["per_second"]
        assert entry["faster"] == pytest.approx(rate)
    passing = [e for e in entries if e["decision"] == "go" and e["passed"] is not False]
    best = (
        max(passing, key=lambda entry: entry["faster"])
        if passing
        else max(entries, key=lambda entry: (entry["quality"]["retention"], entry["faster"]))
    )
    assert [entry for entry in entries if entry["chosen"]] == [best]
    weights = "student/model.safetensors"
    assert sha256_file(folder / weights) == sha256_file(
        folder / "frontier" / best["name"] / weights
    )
    assert (folder / "export/onnx").exists() == (best["name"] != "static")
    status = {"go": 0, "no-go": 3, "inconclusive": 4}
    assert result.exit_code == status[report["verdict"]["decision"]] == status[best["decision"]]
    shown = CliRunner().invoke(main, ["report", "show", str(folder)])
    assert f"> {best['name']}" in shown.stdout
    assert '<section id="frontier">' in (folder / "report.html").read_text()


def test_items_of_the_list() -> None:
    assert read_members("static, 3,02,0+2+5") == {
        "3": {"student": None, "student_layers": "3"},
        "2": {"student": None, "student_layers": "2"},
        "0+2+5": {"student": None, "student_layers": "0,2,5"},
        "static": {"student": "static", "student_layers": None},
    }
    assert list(read_members("static,3,2")) == ["3", "2", "static"]
    for text, said in (
        ("3,3.5", "'3.5' is no student"),
        ("3,", "'' is no student"),
        ("2,02", "twice"),
    ):
        with pytest.raises(UserError, match=said):
            read_members(text)
