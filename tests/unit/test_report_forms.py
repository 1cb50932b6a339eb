"""Other forms of a report: the terminal's, the card's, plots, and the verb that shows them again."""

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from page_helpers import full
from ragdistill.cli.report import report as verb
from ragdistill.report import calibration, card, curves, html, plots, schema, view
from report_helpers import bare_report, made_report, on_terminal, state


def test_terminal_output_is_plain_and_cuts_nothing_when_it_is_no_terminal() -> None:
    report = made_report()
    name = "onnx-int8-per-channel-without-the-last-layer"
    report["exports"][name] = report["exports"].pop("onnx-int8")
    report["speed"][name] = report["speed"].pop("onnx-int8")
    text = on_terminal(report, width=40)
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
    report = made_report()
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
    curves.by_dimension, curves.learning, curves.latency, calibration.reliability,
)  # fmt: skip


def test_plots_take_their_colours_from_the_page() -> None:
    for svg in (plot(full()) for plot in PLOTS):
        assert svg.startswith("<svg viewBox=")
        assert "var(--student)" in svg
        assert not re.search(r"#0[1-9]0[1-9]0[1-9]", svg)
        assert "<metadata" not in svg
        assert "DejaVu" not in svg
    assert {plot(bare_report()) for plot in PLOTS} == {""}


def test_curves_need_two_points_and_bear_unknown_ones() -> None:
    report = full()
    report["prefixes"] = {"64": report["prefixes"]["64"]}
    report["training"]["losses"] = [{"step": 1, "train": 0.5}, {"step": 1, "held_out": None}]
    for speed in report["speed"].values():
        speed["latencies_ms"] = [0.0]
    assert {curve(report) for curve in PLOTS[2:5]} == {""}
    report["prefixes"]["32"] = {"quality": {"nDCG@10": {"retention": 0.9, "ci95": None}}}
    report["prefixes"]["16"] = {"quality": {}}
    report["training"]["losses"] += [{"step": 2, "train": 0.0}]
    report["speed"]["student"]["latencies_ms"] = [0.0, 0.1]
    assert all(curve(report).count("<svg") == 1 for curve in PLOTS[2:5])


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
    run, report = state(), made_report()
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
