"""The summary on the terminal: quality, speed and size, verdict, warnings."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ragdistill.report import cascade, lift, view
from ragdistill.report.stacks import escalation
from ragdistill.report.tables import put as _print
from ragdistill.report.tables import table as _table

_STYLES = {"go": "bold green", "no-go": "bold red", "inconclusive": "bold yellow"}


def render(report: Mapping[str, Any], console: Console) -> None:
    """Print ``report`` on ``console``; without a terminal plain text, no line broken."""
    console.print(_title(report), soft_wrap=True)
    if report["quality"]:
        _print(_quality(report), console)
    if line := lift.told(report):
        console.print(f"{line}\n", soft_wrap=True)
    if report["teacher"].get("panel"):
        _print(_panel(report), console)
    if report.get("prefixes"):
        _print(_prefixes(report), console)
    if report.get("mteb"):
        _print(_mteb(report), console)
    if report.get("sweep"):
        _print(_sweep(report), console)
    if report.get("asymmetric"):
        console.print(_asymmetric(report), soft_wrap=True)
    if report["speed"] or report["exports"]:
        _print(_systems(report), console)
    if report.get("frontier"):
        _print(_frontier(report), console)
    if report.get("rag"):
        cascade.render(report, console)
    for line in escalation.lines(report["escalation"]) if report.get("escalation") else []:
        console.print(f"escalation: {line}", soft_wrap=True, markup=False)
    for line in view.warnings(report):
        console.print(Text.assemble(("warning: ", "bold yellow"), line), soft_wrap=True)
    if verdict := report.get("verdict"):
        words = (f"verdict: {verdict['decision']}", _STYLES[verdict["decision"]])
        console.print(Text.assemble(words, f", {verdict['reason']}"), soft_wrap=True)


def in_a_line(report: Mapping[str, Any]) -> str:
    """What a student keeps, and the verdict."""
    measure, verdict = view.headline(report), report.get("verdict")
    row = report["quality"].get(measure, {})
    kept = f"keeps {view.percent(row.get('retention'))} of {measure}" if measure else "not measured"
    decided = f", {verdict['decision']}" if verdict else ""
    return f"{kept} ({view.interval(row.get('ci95'))}){decided}"


def _title(report: Mapping[str, Any]) -> Text:
    teacher, student, data = report["teacher"], report["student"], report["data"]
    return Text.assemble(
        (report["component"], "bold"),
        f": {teacher['name']} ({view.parameters(teacher['parameters'])} parameters) -> ",
        f"{student['name']} ({view.parameters(student['parameters'])}), on {data['name']}",
        f" {data['split']}" if data.get("split") else "",
        f", {data['queries']:,} queries" if data.get("queries") is not None else "",
    )


def _quality(report: Mapping[str, Any]) -> Table:
    others = extra_columns(report)
    table = _table("measure", "teacher", *others, "student", "kept", "95 % interval")
    for measure, row in report["quality"].items():
        table.add_row(
            measure,
            view.number(row.get("teacher")),
            *(view.number(row.get(key)) for key in others),
            view.number(row.get("student")),
            view.percent(row.get("retention")),
            view.interval(row.get("ci95")),
        )
    return table


def _panel(report: Mapping[str, Any]) -> Table:
    measure = view.headline(report) or ""
    table = _table("teacher", "weight", f"{measure} alone", "of all together", "95 % interval")
    for member in report["teacher"]["panel"]:
        row = member.get("quality", {}).get(measure, {})
        table.add_row(
            member["name"],
            view.percent(member["weight"]),
            view.number(row.get("student")),
            view.percent(row.get("retention")),
            view.interval(row.get("ci95")),
        )
    return table


def _prefixes(report: Mapping[str, Any]) -> Table:
    measure = view.headline(report) or ""
    columns = ("bytes/document", "search ms", measure, "kept", "95 % interval")
    table = _table("dimensions", *columns)
    for length, prefix in report["prefixes"].items():
        row = prefix["quality"].get(measure, {})
        table.add_row(
            length,
            view.figures(prefix.get("bytes_per_document")),
            view.figures(prefix.get("search_ms")),
            view.number(row.get("student")),
            view.percent(row.get("retention")),
            view.interval(row.get("ci95")),
        )
    return table


def _mteb(report: Mapping[str, Any]) -> Table:
    table = _table("mteb task", "main score", "teacher", "student", "kept")
    for name, row in report["mteb"].items():
        scores = (view.number(row.get(key)) for key in ("teacher", "student"))
        table.add_row(name, row["main_score"], *scores, view.percent(row.get("retention")))
    return table


def _sweep(report: Mapping[str, Any]) -> Table:
    trials = report["sweep"]["trials"]
    best = min(trial["held_out"] for trial in trials)
    names = list(trials[0]["values"])
    table = _table(*names, "held-out loss", "")
    for trial in trials:
        chosen = "this run" if trial["held_out"] == best else ""
        values = (trial["values"].get(name, "") for name in names)
        table.add_row(*values, f"{trial['held_out']:.4f}", chosen)
    return table


def _asymmetric(report: Mapping[str, Any]) -> str:
    section, measure = report["asymmetric"], view.headline(report) or ""
    both = section["both_student"].get(measure, {})
    spared = section["re_embedding"]
    cost = f" and {spared['usd']:.4g} USD" if spared.get("usd") is not None else ""
    return (
        f"for queries alone, on {section['index']} ({section['documents']:,} documents): embedding "
        f"{spared['documents']:,} again would take {spared['seconds']:,.1f} s here{cost}, and keep "
        f"{view.percent(both.get('retention'))}"
    )


def extra_columns(report: Mapping[str, Any]) -> list[str]:
    """What a component measures beside teacher and student: ``first_stage``, ``raw``, ``human``."""
    rows = report["quality"].values()
    return [key for key in ("first_stage", "raw", "human") if any(key in row for row in rows)]


def _systems(report: Mapping[str, Any]) -> Table:
    measure = view.headline(report)
    columns = (
        f"{view.unit(report)}/s",
        "faster",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "MB",
        "kept",
        "gate",
    )
    table = _table("system", *columns)
    for system in view.systems(report):
        speed = system.speed
        if system.role == "export" and not speed:
            continue  # an index: it embeds nothing
        table.add_row(
            system.key,
            view.figures(speed.get("per_second")),
            view.times(view.ratio(report, system.key)),
            *(view.figures(speed.get(key)) for key in ("p50_ms", "p95_ms", "p99_ms")),
            view.figures(system.size_mb),
            view.percent(system.quality.get(measure or "", {}).get("retention")),
            "" if system.passed is None else "passed" if system.passed else "failed",
        )
    return table


def _frontier(report: Mapping[str, Any]) -> Table:
    """The fastest first; the first column marks the one that is the run."""
    section = report["frontier"]
    columns = ("served as", "faster", "texts/s", "MB", "kept", "95 % interval of all", "gate")
    table = _table("frontier", *columns)
    for entry in sorted(section["entries"], key=lambda one: -(one.get(section["speed"]) or 0)):
        failed = entry.get("passed") is False
        table.add_row(
            f"> {entry['name']}" if entry["chosen"] else f"  {entry['name']}",
            entry["system"],
            view.times(entry.get("faster")),
            view.figures(entry.get("per_second")),
            view.figures(entry.get("size_mb")),
            view.percent(entry["quality"].get("retention")),
            view.interval(entry.get("interval")),
            "export failed" if failed else entry["decision"],
        )
    return table
