"""The swap matrix of two stacks on the terminal: cells, calls, and where quality is lost."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from ragdistill.report import view
from ragdistill.report.tables import put, table

MEASURES = ("F1", "EM", "groundedness", "nDCG@10", "retrieval nDCG@10", "overlap@10")
"""What a summary tells of a cell, where it is measured."""
_TOLD = 5


def render(report: Mapping[str, Any], console: Console) -> None:
    """Print ``rag`` of report.json, and how the stacks do under load."""
    section = report["rag"]
    if under := loads(report):
        put(_under_load(under), console)
    put(_cells(section), console)
    put(_calls(section), console)
    if section["effects"]:
        put(_effects(section["effects"]), console)
    for measure, found in section["effects"].items():
        console.print(f"{measure}: {found['sentence']}", soft_wrap=True, markup=False)
    if section["effects"]:
        console.print()
    if section["faults"]["worse"]:
        put(_faults(section["faults"]), console)
        put(_queries(section["faults"]), console)
    failed = {name: cell for name, cell in section["cells"].items() if cell["errors"]}
    for name, cell in failed.items():
        line = f"{name}: {cell['errors']} queries failed, first {cell['first_error']}"
        console.print(line, soft_wrap=True, markup=False)


def loads(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By stack, how it did with several requests at once, where that was measured."""
    return {side: speed["load"] for side, speed in report["speed"].items() if speed.get("load")}


def _under_load(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """The stacks with several requests at once."""
    many = next(iter(found.values()))["concurrency"]
    columns = ("requests/s", "p50 ms", "p95 ms", "p99 ms", "errors", "peak MB", "on GPU")
    made = table(f"{many} at once", *columns)
    for name, load in found.items():
        memory = load.get("memory") or {}
        made.add_row(
            name,
            *(view.figures(load.get(key)) for key in ("per_second", "p50_ms", "p95_ms", "p99_ms")),
            str(load["errors"]),
            *(view.figures(memory.get(key)) for key in ("rise_mb", "gpu_mb")),
        )
    return made


def _cells(section: Mapping[str, Any]) -> Table:
    """A cell a line: who plays each part, what it reaches, how long it takes."""
    cells, swapped = section["cells"], section["swapped"]
    measures = [key for key in MEASURES if any(key in cell["quality"] for cell in cells.values())]
    made = table("cell", *swapped, *measures, "p50 ms", "p95 ms", "errors")
    for name, cell in cells.items():
        total = cell["latency"].get("total", {})
        made.add_row(
            name,
            *(cell["parts"][role] for role in swapped),
            *(view.number(cell["quality"].get(key)) for key in measures),
            *(view.figures(total.get(key)) for key in ("p50_ms", "p95_ms")),
            str(cell["errors"]),
        )
    return made


def _calls(section: Mapping[str, Any]) -> Table:
    """What the matrix asks of each part, and what the two stacks alone would."""
    made = table("part", "of", "asked by the matrix", "by the stacks alone", "times")
    for role, sides in section["calls"]["parts"].items():
        for side, work in sides.items():
            shared = "both" if len(sides) == 1 and role not in section["swapped"] else side
            more = work["matrix"] / work["alone"] if work["alone"] else None
            counts = (f"{work[key]:,}" for key in ("matrix", "alone"))
            made.add_row(role, shared, *counts, view.times(more))
    seconds = section["calls"]["seconds"]
    told = (f"{seconds[key]:,.1f} s" for key in ("matrix", "alone"))
    made.add_row("in all", "", *told, view.times(seconds["times"]))
    return made


def _effects(found: Mapping[str, Any]) -> Table:
    """What each student changes, and what two do beyond that."""
    made = table("student of", "measure", "change", "95 % interval", "certain")
    for measure, effects in found.items():
        for effect in (*effects["main"], *effects["interactions"]):
            low, high = effect["ci95"] or (None, None)
            told = view.UNKNOWN if low is None else f"{low:+.3f} to {high:+.3f}"
            names = " with ".join(effect["parts"])
            sure = "yes" if effect["certain"] else "no"
            made.add_row(names, measure, f"{effect['value']:+.3f}", told, sure)
    return made


def _faults(faults: Mapping[str, Any]) -> Table:
    measure = faults["measure"]
    made = table("part at fault", "queries", f"{measure} lost in them")
    for part, row in faults["parts"].items():
        made.add_row(part, str(row["queries"]), f"{row['lost']:.3f}")
    return made


def _queries(faults: Mapping[str, Any]) -> Table:
    made = table("lost query", "at fault", "teacher", "student")
    for row in faults["queries"][:_TOLD]:
        cells = list(row["cells"].values())
        text = row["text"] if len(row["text"]) <= 60 else f"{row['text'][:59]}…"
        made.add_row(text, row["fault"], view.number(cells[0]), view.number(cells[1]))
    return made
