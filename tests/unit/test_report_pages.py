"""What people see: the same figures everywhere, whatever is unknown, and nothing from outside."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

from page_helpers import HOSTILE, full
from ragdistill.cli.report import report as verb
from ragdistill.report import card, curves, html, plots, schema, terminal, view
from report_helpers import state


def _report(**changes: Any) -> dict[str, Any]:
    return schema.build(state()) | changes


def _bare() -> dict[str, Any]:
    return schema.build(state() | {"stages": {}})


def _terminal(report: dict[str, Any], width: int = 80) -> str:
    stream = io.StringIO()
    terminal.render(report, Console(file=stream, width=width))
    return stream.getvalue()


class _Page(HTMLParser):
    """Well-formedness, links, ids and text of a page."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += " ".join(data.split()) + " "


def test_page_is_whole_and_tells_the_figures() -> None:
    report, run = _report(), state()
    page = _Page(html.render(report, extra=schema.extra(run)))
    for told in (
        "0.4967",
        "99.1 %",
        "97.2 to 100.9",
        view.times(4.4),
        "412",
        "Apache-2.0",
        "token_budget",
    ):
        assert told in page.text
    assert "Tried dynamic int8, per tensor first: overlap@10 is 0.913, below 0.95" in page.text
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections == [
        "verdict", "quality", "speed", "exports", "stages", "data", "models", "recipe", "recompute",
    ]  # fmt: skip
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_page_asks_nothing_of_the_network_and_runs_its_own_script_alone() -> None:
    text = html.render(_report(), extra=schema.extra(state()))
    page = _Page(text)
    assert not re.findall(r"(?:https?:)?//", text)
    assert not {"link", "img", "iframe"} & {tag for tag, _ in page.tags}
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (a["content"] or "" for _, a in page.tags if "http-equiv" in a)
    assert policy.split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    references = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href")]
    assert all(reference and reference.startswith("#") for reference in references)
    urls = re.findall(r"url\(([^)]*)\)", text)
    assert all(url.startswith("#") for url in urls)
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)


def test_page_is_the_same_for_the_same_report() -> None:
    assert html.render(_report()) == html.render(_report())


def test_names_cannot_break_the_page_or_the_card() -> None:
    report = _report()
    hostile = '</title><script>alert(1)</script>|`"\n# x'
    for section in ("teacher", "student", "data"):
        report[section]["name"] = hostile
    report["exports"][hostile] = report["exports"].pop("onnx")
    report["speed"][hostile] = report["speed"].pop("onnx")
    report["quality"][hostile] = report["quality"]["AP@100"]
    page = html.render(report)
    assert page.count("<script") == 1
    _Page(page)
    text = card.render(report)
    assert "<script" not in text.split("---", 2)[2]
    assert "\n# x" not in text.split("---", 2)[2]


def test_texts_of_the_data_cannot_break_the_page() -> None:
    page = html.render(full())
    tags = {tag for tag, _ in _Page(page).tags}
    assert not {"img", "b"} & tags
    assert page.count("<script") == 1
    assert "{{ 7 * 7 }}" in page
    told = _Page(page).text
    for text in HOSTILE.values():
        assert " ".join(text.split()) in told
    assert "first five of 7" in told


def test_queries_are_told_apart_on_the_page() -> None:
    told = _Page(html.render(full())).text
    for said in (
        "1 to 4 words", "5 words", "like a training text", "below its teacher in 61 of 412",
        "2 of 7, those that cost most", "1.00 → 0.00", "41", ">100", "(not in the corpus)",
    ):  # fmt: skip
        assert said in told, said
    report = full()
    report["worst"]["queries"] = []
    report["quality_by"] |= {"length": None, "near_duplicate": None}
    page = _Page(html.render(report))
    assert "details" not in {tag for tag, _ in page.tags}
    assert "groups" not in {attrs.get("id") for _, attrs in page.tags}


def test_no_machine_s_folders_are_published_on_the_card() -> None:
    run = state()
    run["config"] |= {"data": "/home/me/secret/docs", "store": "s3://bucket/secret/signals"}
    report = schema.build(run)
    report["teacher"]["name"] = "/home/me/secret/bge"
    text = card.render(report, extra=schema.extra(run))
    assert "secret" not in text
    assert "from **bge**" in text


@pytest.mark.parametrize("decision", ["go", "no-go", "inconclusive"])
def test_every_verdict_is_said_everywhere(decision: str) -> None:
    report = _report()
    report["verdict"] |= {"decision": decision, "reason": "because of this"}
    assert f"verdict: {decision}, because of this" in _terminal(report)
    assert decision in html.render(report).casefold()
    assert f"**{decision}**; because of this" in card.render(report)


def test_what_is_unknown_is_a_dash_and_never_a_zero() -> None:
    report = _bare()
    page = _Page(html.render(report))
    assert "not yet measured" in page.text
    assert view.UNKNOWN in page.text
    text = _terminal(report)
    assert "None" not in text + page.text + card.render(report)
    assert "nan" not in text.casefold()
    assert "Not measured." in card.render(report)


@pytest.mark.parametrize("section", ["quality", "exports", "speed", "stages"])
def test_any_section_may_be_missing(section: str) -> None:
    report = _report(**{section: {}})
    _Page(html.render(report))
    _terminal(report)
    card.render(report)


def test_any_figure_may_be_unknown() -> None:
    report = _report()
    report["quality"]["nDCG@10"] = dict.fromkeys(report["quality"]["nDCG@10"])
    report["speed"]["teacher"] = dict.fromkeys(report["speed"]["teacher"])
    report["exports"]["onnx"] = {"passed": None}
    report["stages"]["train"] = dict.fromkeys(report["stages"]["train"])
    report["data"]["near_duplicates"] = None
    _Page(html.render(report))
    assert f"nDCG@10        {view.UNKNOWN}" in _terminal(report)
    card.render(report)


def test_a_student_above_its_teacher_is_a_warning() -> None:
    report = _report()
    report["quality"]["nDCG@10"] |= {"retention": 1.02, "ci95": [0.99, 1.05]}
    assert "warning: the student is above its teacher in nDCG@10" in _terminal(report)
    assert "read it as no loss seen" in _terminal(report)
    report["quality"]["nDCG@10"]["ci95"] = [1.01, 1.05]
    assert "look for leaks" in _terminal(report)
    assert "above its teacher" in html.render(report)
    assert "above its teacher" in card.render(report)


def test_several_teachers_are_told_apart() -> None:
    report = _report()
    row = {"teacher": 0.5, "student": 0.48, "retention": 0.96, "ci95": [0.9, 0.99]}
    better = {"teacher": 0.5, "student": 0.55, "retention": 1.1, "ci95": [1.0, 1.2]}
    report["teacher"]["panel"] = [
        {"name": name, "weight": share, "rankings": "x", "quality": {"nDCG@10": quality}}
        for name, share, quality in (("bge", 0.25, row), ("e5", 0.75, better))
    ]
    schema.validate(report)
    said = _terminal(report, width=120)
    for words in ("bge", "25.0 %", "0.4800", "96.0 %", "90.0 to 99.0 %", "e5", "75.0 %"):
        assert words in said
        assert words in html.render(report)
    assert "warning: the teacher e5 alone is above all together in nDCG@10" in said
    assert "teacher bge alone" not in said


def test_a_failed_export_is_said_and_not_boasted_with() -> None:
    report = _report()
    report["exports"]["onnx-int8"] |= {"passed": False, "reasons": ["overlap@10 is 0.8"]}
    assert "warning: export onnx-int8 failed its gate: overlap@10 is 0.8" in _terminal(report)
    report["exports"]["faiss"] = {"size_mb": 1.0, "passed": None}
    assert view.fastest(report) == "onnx"
    smallest = view.smallest(report)
    assert smallest is not None
    assert smallest[0] == "student"


def test_other_columns_of_a_component_are_shown() -> None:
    report = _report()
    report["quality"]["nDCG@10"]["first_stage"] = 0.4321
    assert "first_stage" in _terminal(report)
    assert "0.4321" in html.render(report)
    assert "0.4321" in card.render(report)


def test_terminal_output_is_plain_and_cuts_nothing_when_it_is_no_terminal() -> None:
    report = _report()
    name = "onnx-int8-per-channel-without-the-last-layer"
    report["exports"][name] = report["exports"].pop("onnx-int8")
    report["speed"][name] = report["speed"].pop("onnx-int8")
    text = _terminal(report, width=40)
    assert "\x1b" not in text
    assert "…" not in text
    row = next(line for line in text.splitlines() if line.startswith(name))
    assert row.split() == [
        name,
        "612",
        view.times(4.4),
        "1.92",
        "2.81",
        "3.40",
        "17.9",
        "98.8",
        "%",
        "passed",
    ]
    assert all(line == line.rstrip() for line in text.splitlines())


def test_card_front_matter_is_what_the_hub_reads() -> None:
    report = _report()
    report["student"] |= {"library": "sentence-transformers", "usage": "import this"}
    text = card.render(report, extra=schema.extra(state()))
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "sentence-transformers"
    metrics = {
        m["type"]: m["value"] for r in front["model-index"][0]["results"] for m in r["metrics"]
    }
    assert metrics["nDCG@10"] == 0.4967
    assert "```python\nimport this\n```" in text
    report["student"]["licence"] = "Secret Corp licence 2"
    front = yaml.safe_load(card.render(report).split("---")[1])
    assert (front["license"], front["license_name"]) == ("other", "Secret Corp licence 2")


PLOTS = (
    plots.retention, plots.quality_and_speed,
    curves.by_dimension, curves.learning, curves.latency,
)  # fmt: skip


def test_plots_take_their_colours_from_the_page() -> None:
    for svg in (plot(full()) for plot in PLOTS):
        assert svg.startswith("<svg viewBox=")
        assert "var(--student)" in svg
        assert not re.search(r"#0[1-9]0[1-9]0[1-9]", svg)
        assert "<metadata" not in svg
        assert "DejaVu" not in svg
    assert {plot(_bare()) for plot in PLOTS} == {""}


def test_curves_need_two_points_and_bear_unknown_ones() -> None:
    report = full()
    report["prefixes"] = {"64": report["prefixes"]["64"]}
    report["training"]["losses"] = [{"step": 1, "train": 0.5}, {"step": 1, "held_out": None}]
    for speed in report["speed"].values():
        speed["latencies_ms"] = [0.0]
    assert {curve(report) for curve in PLOTS[2:]} == {""}
    report["prefixes"]["32"] = {"quality": {"nDCG@10": {"retention": 0.9, "ci95": None}}}
    report["prefixes"]["16"] = {"quality": {}}
    report["training"]["losses"] += [{"step": 2, "train": 0.0}]
    report["speed"]["student"]["latencies_ms"] = [0.0, 0.1]
    assert all(curve(report).count("<svg") == 1 for curve in PLOTS[2:])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (view.times(3.72), "3.7\N{MULTIPLICATION SIGN}"),
        (view.times(12.4), "12\N{MULTIPLICATION SIGN}"),
        (view.figures(0.0), "0.0000"),
        (view.figures(2.4e-7), "2.4e-07"),
        (view.figures(1234.5), "1,234"),
        (view.parameters(8_190_735_360), "8.2 B"),
        (view.parameters(950), "950"),
        (view.duration(59.94), "59.9 s"),
        (view.duration(200), "3 min 20 s"),
        (view.duration(7500), "2 h 5 min"),
        (view.short("sha256:" + "ab" * 32), "abababababab"),
        (view.percent(0.98765), "98.8 %"),
        (view.count(1204113), "1,204,113"),
    ],
)
def test_figures_in_words(value: str, told: str) -> None:
    assert value == told


def test_verb_shows_and_renders_a_finished_run(tmp_path: Path) -> None:
    run, report = state(), _report()
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "report.json").write_text(json.dumps(report))
    shown = CliRunner().invoke(verb, ["show", str(tmp_path)])
    assert shown.exit_code == 0
    assert "verdict: go" in shown.stdout
    printed = CliRunner().invoke(verb, ["show", "--json", str(tmp_path)])
    assert json.loads(printed.stdout) == report
    written = CliRunner().invoke(verb, ["html", str(tmp_path)])
    assert written.stdout.strip() == str(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page == html.render(report, extra=schema.extra(run))
    (tmp_path / "report.json").unlink()
    missing = CliRunner().invoke(verb, ["show", str(tmp_path)])
    assert missing.exit_code == 2
    assert "holds no report.json" in missing.stderr
