"""What people see: the same figures everywhere, whatever is unknown, and nothing from outside."""

import base64
import hashlib
import re
from typing import Any

import pytest

from page_helpers import HOSTILE, Parsed, full
from ragdistill.report import card, html, plots, schema, view
from report_helpers import bare_report, made_report, on_terminal, state


def test_page_is_whole_and_tells_the_figures() -> None:
    report, run = made_report(), state()
    page = Parsed(html.render(report, extra=schema.extra(run)))
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


def test_page_tells_what_was_taught() -> None:
    counts = (
        "queries",
        "better",
        "good",
        "no_better",
        "worse",
        "unjudged",
        "fault",
        "yield",
        "words",
    )
    row: dict[str, Any] = {**dict.fromkeys(counts, 1), "faults": {}, "dropped": {}}
    told = {"filtered": False, **row, "made": None}
    page = Parsed(html.render(made_report() | {"filter": told}))
    assert "Every expansion that is whole was taught" in page.text
    assert "made from documents" not in page.text
    page = Parsed(html.render(made_report() | {"filter": told | {"made": row}}))
    assert "Every expansion of the data's queries that is whole" in page.text
    assert "still find their document among the first hundred" in page.text


@pytest.mark.parametrize("told", [{"kept": 3}, [1], "near", 0.5, {"student": 0.1}, {}])
def test_sections_of_other_components_may_have_these_names(told: object) -> None:
    page = Parsed(html.render(made_report() | {"filter": told, "harm": told}))
    assert not {"filter", "harm"} & {attrs.get("id") for _, attrs in page.tags}


def test_page_asks_nothing_of_the_network_and_runs_its_own_script_alone() -> None:
    text = html.render(made_report(), extra=schema.extra(state()))
    page = Parsed(text)
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
    assert html.render(made_report()) == html.render(made_report())


def test_names_cannot_break_the_page_or_the_card() -> None:
    report = made_report()
    hostile = '</title><script>alert(1)</script>|`"\n# x'
    for section in ("teacher", "student", "data"):
        report[section]["name"] = hostile
    report["exports"][hostile] = report["exports"].pop("onnx")
    report["speed"][hostile] = report["speed"].pop("onnx")
    report["quality"][hostile] = report["quality"]["AP@100"]
    page = html.render(report)
    assert page.count("<script") == 1
    Parsed(page)
    text = card.render(report)
    assert "<script" not in text.split("---", 2)[2]
    assert "\n# x" not in text.split("---", 2)[2]


def test_texts_of_the_data_cannot_break_the_page() -> None:
    page = html.render(full())
    tags = {tag for tag, _ in Parsed(page).tags}
    assert not {"img", "b"} & tags
    assert page.count("<script") == 1
    assert "{{ 7 * 7 }}" in page
    told = Parsed(page).text
    for text in HOSTILE.values():
        assert " ".join(text.split()) in told
    assert "first five of 7" in told


def test_queries_are_told_apart_on_the_page() -> None:
    told = Parsed(html.render(full())).text
    for said in (
        "1 to 4 words", "5 words", "like a training text", "how many", "below its teacher in 61 of 412",
        "2 of 7, those that cost most", "1.00 → 0.00", "41", ">100", "(not in the corpus)",
    ):  # fmt: skip
        assert said in told, said
    report = full()
    report["worst"]["queries"] = []
    report["quality_by"] |= {"length": None, "near_duplicate": None, "asks": None}
    page = Parsed(html.render(report))
    assert "details" not in {tag for tag, _ in page.tags}
    assert "groups" not in {attrs.get("id") for _, attrs in page.tags}


def test_what_writes_is_told_in_tokens() -> None:
    report = made_report()
    for speed in report["speed"].values():
        wait = {"p50_ms": 41.5, "p95_ms": None, "p99_ms": None}
        memory = {"rise_mb": 123.4, "gpu_mb": None}
        speed |= {"unit": "tokens", "first_token": wait, "token": wait, "memory": memory}
        speed |= {"prompt_tokens": 310.0, "new_tokens": 64.0}
    schema.validate(report)
    page = Parsed(html.render(report)).text
    for said in (
        "Tokens a second",
        "as many tokens a second",
        "310 tokens, 64 written",
        "41.5",
        "123",
    ):
        assert said in page, said
    assert "exts a second" not in page + card.render(report)
    assert "tokens/s" in on_terminal(report)
    report["speed"]["teacher"] = {"unit": "tokens"}
    Parsed(html.render(report))


def test_calibration_is_told_before_and_after() -> None:
    page = Parsed(html.render(full())).text
    for entry in full()["calibration"].values():
        assert view.percent(entry["equal_width"]["ece"], 2) in page
    assert "before" in page


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
    report = made_report()
    report["verdict"] |= {"decision": decision, "reason": "because of this"}
    assert f"verdict: {decision}, because of this" in on_terminal(report)
    assert decision in html.render(report).casefold()
    assert f"**{decision}**; because of this" in card.render(report)


def test_what_keeps_nothing_is_drawn() -> None:
    report = made_report(exports={})
    report["quality"] = {
        "nDCG@10": {"teacher": 0.5, "student": 0.0, "retention": 0.0, "ci95": [0.0, 0.0]}
    }
    assert "nDCG@10" in plots.retention(report)


def test_what_is_unknown_is_a_dash_and_never_a_zero() -> None:
    report = bare_report()
    page = Parsed(html.render(report))
    assert "not yet measured" in page.text
    assert view.UNKNOWN in page.text
    text = on_terminal(report)
    assert "None" not in text + page.text + card.render(report)
    assert "nan" not in text.casefold()
    assert "Not measured." in card.render(report)


@pytest.mark.parametrize("section", ["quality", "exports", "speed", "stages"])
def test_any_section_may_be_missing(section: str) -> None:
    report = made_report(**{section: {}})
    Parsed(html.render(report))
    on_terminal(report)
    card.render(report)


def test_any_figure_may_be_unknown() -> None:
    report = made_report()
    report["quality"]["nDCG@10"] = dict.fromkeys(report["quality"]["nDCG@10"])
    report["speed"]["teacher"] = dict.fromkeys(report["speed"]["teacher"])
    report["exports"]["onnx"] = {"passed": None}
    report["stages"]["train"] = dict.fromkeys(report["stages"]["train"])
    report["data"]["near_duplicates"] = None
    Parsed(html.render(report))
    assert f"nDCG@10        {view.UNKNOWN}" in on_terminal(report)
    card.render(report)


def test_a_student_above_its_teacher_is_a_warning() -> None:
    report = made_report()
    report["quality"]["nDCG@10"] |= {"retention": 1.02, "ci95": [0.99, 1.05]}
    assert "warning: the student is above its teacher in nDCG@10" in on_terminal(report)
    assert "read it as no loss seen" in on_terminal(report)
    report["quality"]["nDCG@10"]["ci95"] = [1.01, 1.05]
    assert "look for leaks" in on_terminal(report)
    assert "above its teacher" in html.render(report)
    assert "above its teacher" in card.render(report)


def test_speeds_of_few_calls_are_rough() -> None:
    report = made_report()
    report["speed"]["teacher"]["calls"] = 3
    report["speed"]["student"]["calls"] = 200
    assert "speeds are of few calls (3 of the teacher)" in on_terminal(report, width=200)
    report["speed"]["teacher"]["calls"] = view.FEW_CALLS
    assert "few calls" not in on_terminal(report, width=200)


def test_several_teachers_are_told_apart() -> None:
    report = made_report()
    row = {"teacher": 0.5, "student": 0.48, "retention": 0.96, "ci95": [0.9, 0.99]}
    better = {"teacher": 0.5, "student": 0.55, "retention": 1.1, "ci95": [1.0, 1.2]}
    report["teacher"]["panel"] = [
        {"name": name, "weight": share, "rankings": "x", "quality": {"nDCG@10": quality}}
        for name, share, quality in (("bge", 0.25, row), ("e5", 0.75, better))
    ]
    schema.validate(report)
    said = on_terminal(report, width=120)
    for words in ("bge", "25.0 %", "0.4800", "96.0 %", "90.0 to 99.0 %", "e5", "75.0 %"):
        assert words in said
        assert words in html.render(report)
    assert "warning: the teacher e5 alone is above all together in nDCG@10" in said
    assert "teacher bge alone" not in said


def test_a_failed_export_is_said_and_not_boasted_with() -> None:
    report = made_report()
    report["exports"]["onnx-int8"] |= {"passed": False, "reasons": ["overlap@10 is 0.8"]}
    assert "warning: export onnx-int8 failed its gate: overlap@10 is 0.8" in on_terminal(report)
    report["exports"]["faiss"] = {"size_mb": 1.0, "passed": None}
    assert view.fastest(report) == "onnx"
    smallest = view.smallest(report)
    assert smallest is not None
    assert smallest[0] == "student"


def test_other_columns_of_a_component_are_shown() -> None:
    report = made_report()
    report["quality"]["nDCG@10"]["first_stage"] = 0.4321
    assert "first_stage" in on_terminal(report)
    assert "0.4321" in html.render(report)
    assert "0.4321" in card.render(report)


@pytest.mark.parametrize("interval", [[-0.01, 0.013], [-0.02, -0.001], None])
def test_no_share_is_told_of_a_lift_that_may_be_none(interval: list[float] | None) -> None:
    report = made_report()
    lift = {"teacher": 0.0012, "student": -0.0087, "share": -7.212, "teacher_ci95": interval}
    report["quality"]["nDCG@10"] |= {"first_stage": 0.5, "lift": lift | {"share_ci95": None}}
    for said in (on_terminal(report), html.render(report), card.render(report)):
        assert "the teacher adds +0.0012" in said.replace("The teacher", "the teacher")
        assert "cannot be told" in said
        assert "721.2" not in said
        assert "?." not in said
    report["quality"]["nDCG@10"]["lift"] |= {"teacher_ci95": [0.0005, 0.002], "share": 0.5}
    for said in (on_terminal(report), html.render(report), card.render(report)):
        assert "the student has 50.0 % of that" in said
