"""report.html of two stacks: the figures of the report, whatever the texts, and no more than fits."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from page_helpers import HOSTILE, Parsed
from rag_helpers import fake_parts, fake_stack, write_conversations, write_stack
from ragdistill.cli import main
from ragdistill.metrics import trec
from ragdistill.rag import explorer
from ragdistill.rag.cells import rows
from ragdistill.rag.compare import Comparison, compare
from ragdistill.report import html, schema, view
from ragdistill.report.stacks import matrix, verdict
from ragdistill.run import read_manifest
from stacks_helpers import ID, NAME, compared

SECTIONS = ["verdict", "cells", "effects", "latency", "escalation", "queries", "quality", "parts", "data",
            "recipe", "recompute"]  # fmt: skip


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    with fake_parts():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stacks compared on hostile texts."""
    made = tmp_path_factory.mktemp("stacks")
    with fake_parts():
        compared(made)
    return made


@pytest.fixture
def report(folder: Path) -> dict[str, Any]:
    return schema.read(folder / "run")


def page_of(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def two(folder: Path, teacher: dict[str, Any], student: dict[str, Any]) -> str:
    """The page of two stacks over 24 conversations."""
    data = write_conversations(folder / "data")
    one, other = (
        write_stack(folder / f"{n}.yaml", **parts) for n, parts in enumerate((teacher, student))
    )
    compare(Comparison(one, other, str(data), folder / "run"))
    return page_of(folder / "run")


def queries_on(page: Parsed) -> int:
    return sum("data-outcome" in attrs for _, attrs in page.tags)


def test_it_tells_the_figures_of_the_report(folder: Path, report: dict[str, Any]) -> None:
    page = Parsed(page_of(folder / "run"))
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == SECTIONS
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    section = report["rag"]
    for name, cell in section["cells"].items():
        assert f"{name} " in page.text
        assert view.number(cell["quality"]["F1"], 3) in page.text
        assert view.figures(cell["latency"]["total"]["p95_ms"]) in page.text
    for found in section["effects"].values():
        assert found["sentence"] in page.text
    for row in report["quality"].values():
        assert view.interval(row["ci95"]) in page.text
    faults = section["faults"]
    assert faults["better"] > 0 < faults["worse"]
    assert f"loses {faults['worse']} queries, wins {faults['better']} and" in page.text
    assert "1 query failed, first reranker: " + HOSTILE["end of script"] in page.text


def test_the_verdict_stands_first_with_its_criteria(report: dict[str, Any]) -> None:
    told = verdict.sentence(report)
    kept = report["quality"]["F1"]
    assert (
        f"{view.percent(kept['retention'])} of F1 (95 % interval {view.interval(kept['ci95'])})"
        in told
    )
    assert re.search(r"answers 95 % of requests within [\d.]+ ms \(.*\), theirs within", told)
    assert "fails on 1 of 30 requests" in told
    by_name = {line.name: line for line in verdict.criteria(report)}
    assert list(by_name) == ["F1 kept", "nDCG@10 kept", "95 % of requests within", "Requests that fail",
                             "Machine time saved"]  # fmt: skip
    assert by_name["F1 kept"].asked == "at least 93.0 %"
    assert by_name["F1 kept"].interval.startswith("margin ")
    assert by_name["Requests that fail"].decided in ("undecided", "missed")
    bare = report | {"verdict": None}
    assert verdict.sentence(bare) == ""
    Parsed(html.render(bare))


def test_ends_that_are_unknown_are_left_open(report: dict[str, Any]) -> None:
    found = report["verdict"]["findings"][2]
    for ends, told in (([None, 3.0], "up to 3.00 ms"), ([2.0, None], "from 2.00 ms"),
                       ([None, None], view.UNKNOWN), (None, view.UNKNOWN)):  # fmt: skip
        found["interval"] = ends
        assert verdict.criteria(report)[2].interval == told
    found |= {"value": None}
    assert verdict.criteria(report)[2].decided == "not measured"
    Parsed(html.render(report))


def test_texts_of_the_data_cannot_break_it(folder: Path) -> None:
    text = page_of(folder / "run")
    page = Parsed(text)
    assert not {"img", "b", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert text.count("<script") == 1
    assert "{{ 7 * 7 }}" in text
    assert not re.findall(r"(?:src|href)=\"(?!#)", text)
    for hostile in (ID, NAME, *HOSTILE.values()):
        assert " ".join(hostile.split())[:150] in page.text


def test_heat_is_told_by_sign_and_figure_too() -> None:
    lost, gained, same, unknown = (
        matrix.Square("S", 0.5, change) for change in (-0.05, 0.2, 1e-5, None)
    )
    assert (lost.way, lost.heat, lost.told) == ("loss", "50%", "▼ 5.0 %")
    assert (gained.way, gained.heat, gained.told) == ("gain", "100%", "▲ 20.0 %")
    assert (same.way, same.told) == ("", "0.0 %")
    assert (unknown.way, unknown.told) == ("", view.UNKNOWN)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_mix_has_its_square_in_the_map(count: int) -> None:
    swapped = ["rewriter", "embedder", "reranker", "generator"][:count]
    names = [f"{n:0{count}b}".replace("0", "T").replace("1", "S") for n in range(2**count)]
    cell: dict[str, Any] = {"quality": {"F1": 0.5}, "latency": {}, "errors": 0}
    section: dict[str, Any] = {
        "swapped": swapped,
        "effects": {},
        "faults": {"measure": "F1"},
        "cells": {name: {**cell, "parts": sides(swapped, name)} for name in names},
    }
    found = matrix.cells(section, {}, 0)
    (grid,) = found.grids
    seen = []
    for down, squares in grid.rows:
        for across, square in zip(grid.columns, squares, strict=True):
            assert dict([*down, *across]) == section["cells"][square.cell]["parts"]
            seen.append(square.cell)
    assert sorted(seen) == sorted(names)
    assert not any(row.best for row in found.rows)  # no latency, no front


def sides(swapped: list[str], name: str) -> dict[str, str]:
    letters = {"T": "teacher", "S": "student"}
    return {role: letters[letter] for role, letter in zip(swapped, name, strict=True)}


def test_queries_are_told_with_what_each_stage_saw(folder: Path, report: dict[str, Any]) -> None:
    run = folder / "run"
    shown, faults = rows(run / explorer.FILE), report["rag"]["faults"]
    outcomes = [row["outcome"] for row in shown]
    assert [outcomes.count(each) for each in ("lost", "won")] == [faults["worse"], faults["better"]]
    assert len(shown) == 30
    lost = [row for row in shown if row["outcome"] == "lost"]
    assert [(row["id"], row["part"]) for row in lost] == [
        (q["id"], q["fault"]) for q in faults["queries"]
    ]
    assert {row["part"] for row in shown if row["outcome"] == "won"} == {"generator"}
    rankings = {
        (stage, side): trec.read(run / f"rankings/{letter * 4}.{stage}.trec")
        for stage in ("found", "ranked")
        for letter, side in (("T", "teacher"), ("S", "student"))
    }
    for row in shown:
        assert row["documents"][0]["wanted"]
        if row["student"]["error"]:
            continue  # what was found before it failed is told, and counts for nothing
        for document in row["documents"]:
            for (stage, side), ranking in rankings.items():
                ids = [doc for doc, _ in ranking.get(row["id"], ())]
                rank = document["ranks"][stage][side]
                assert (
                    rank is None if document["id"] not in ids else ids[rank - 1] == document["id"]
                )
    page = Parsed(page_of(run))
    assert page.text.count("at fault, lost ") == len(lost)


def test_of_many_queries_a_page_has_some_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "SHOWN", {"lost": 2, "won": 1, "same": 3})
    faults = compared(tmp_path)["rag"]["faults"]
    page = Parsed(page_of(tmp_path / "run"))
    same = 30 - faults["worse"] - faults["better"]
    assert (
        f"2 of {faults['worse']} lost, 1 of {faults['better']} won and 3 of {same} that"
        in page.text
    )
    assert queries_on(page) == 6
    assert len(rows(tmp_path / "run/faults.jsonl")) == faults["worse"] > 2
    shown = rows(tmp_path / "run" / explorer.FILE)
    assert [row["id"] for row in shown[:2]] == [query["id"] for query in faults["queries"][:2]]


def test_it_can_be_written_again(folder: Path, report: dict[str, Any], tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    said = CliRunner().invoke(main, ["report", "html", str(folder / "run"), "--out", str(again)])
    assert said.exit_code == 0
    assert again.read_text() == page_of(folder / "run")
    alone = html.render(report, extra=schema.extra(read_manifest(folder / "run")))
    page = Parsed(alone)
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == SECTIONS
    assert queries_on(page) == report["rag"]["faults"]["worse"]


def test_the_command_names_the_page_and_json_stays_json(tmp_path: Path) -> None:
    write_conversations(tmp_path / "data")
    words = [
        str(fake_stack(tmp_path / f"{name}.yaml", generator=name)) for name in ("good", "fair")
    ]
    command = [
        "rag",
        "compare",
        *words,
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "run"),
    ]
    said = CliRunner().invoke(main, command)
    assert said.stdout.splitlines()[-1] == f"report: {tmp_path / 'run/report.html'}"
    told = CliRunner().invoke(main, [*command, "--json"])
    assert json.loads(told.stdout) == schema.read(tmp_path / "run")


def test_single_swaps_have_no_map_but_all_else(tmp_path: Path) -> None:
    compared(tmp_path, swaps="one-at-a-time")
    page = Parsed(page_of(tmp_path / "run"))
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == SECTIONS
    assert not [
        attrs for tag, attrs in page.tags if tag == "table" and attrs.get("class") == "heat"
    ]
    assert "6 mixes on the same queries" in page.text


def test_one_part_without_judgments_is_enough(tmp_path: Path) -> None:
    write_conversations(tmp_path / "data")
    for name in ("queries.jsonl", "qrels/test.tsv"):
        (tmp_path / "data" / name).unlink()
    (tmp_path / "data/qrels").rmdir()
    one, other = (
        write_stack(tmp_path / f"{name}.yaml", embedder=f"fake:embedder/{name}")
        for name in ("good", "bad")
    )
    compare(Comparison(one, other, str(tmp_path / "data"), tmp_path / "run"))
    page = Parsed(page_of(tmp_path / "run"))
    assert "overlap@10" in page.text
    assert "agreement with the teacher is measured" in page.text
    assert "None" not in page.text


def test_a_part_that_only_one_stack_has_is_a_dash(tmp_path: Path) -> None:
    embedder = {"model": "fake:embedder/good", "k": 8}
    page = Parsed(two(tmp_path, {"embedder": embedder, "bm25": {"k": 8}},
                      {"embedder": embedder, "reranker": {"model": "fake:reranker/bad", "k_in": 8, "k_out": 4}}))  # fmt: skip
    assert "None" not in page.text
