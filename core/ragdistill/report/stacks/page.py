"""All that the page of two stacks shows, from report.json and the run's folder."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ragdistill.rag import cells as kept
from ragdistill.rag.cells import RANKED
from ragdistill.report import curves, plots
from ragdistill.report.cascade import loads
from ragdistill.report.stacks import escalation, latency, matrix, queries, verdict
from ragdistill.report.stacks import plots as drawn

TEMPLATE = "stacks/page.html.j2"


def told(
    report: Mapping[str, Any], extra: Mapping[str, Any], folder: Path | None
) -> dict[str, Any]:
    """What ``TEMPLATE`` needs beside what every page has.

    Args:
        folder: the run's; without it the page has no won queries, no texts of documents, and neither
            intervals of the cells nor the spread of latencies, for report.json has none.
    """
    section, asked = report["rag"], report.get("escalation")
    at_hand = folder is not None and (folder / kept.FOLDER).is_dir()
    measured = kept.read(folder) if folder is not None and at_hand else {}
    taken = {
        side: kept.seconds(folder, cell)
        for side in latency.SIDES
        if folder is not None and (cell := matrix.pure(section, side)) in measured
    }
    return {
        "rag": section,
        "sentence": verdict.sentence(report),
        "criteria": verdict.criteria(report),
        "cells": matrix.cells(section, measured, extra.get("seed") or 0),
        "escalation": escalation.lines(asked) if asked else [],
        "timings": latency.stages(section, taken),
        "loads": loads(report),
        "explorer": queries.explorer(section, folder),
        "pure": {side: matrix.pure(section, side) for side in latency.SIDES},
        "again": _again(extra.get("config") or {}),
        "ranked": [measure for measure in report["quality"] if measure in RANKED],
        # Our own SVG; the names in it were escaped when it was written.
        "cells_plot": Markup(drawn.cells(report)),
        "effects_plots": {
            measure: Markup(drawn.effects(found)) for measure, found in section["effects"].items()
        },
        "escalation_plot": Markup(drawn.escalation(asked) if asked else ""),
        "stages_plot": Markup(drawn.stages(taken)),
        "latency_plot": Markup(curves.latency(latency.with_latencies(report, taken), "requests")),
        "retention_plot": Markup(plots.retention(report)),
    }


def _again(config: Mapping[str, Any]) -> str:
    """The command that compares the same again; empty where it is not known."""
    if not config.get("teacher") or not config.get("student"):
        return ""
    words = ["ragdistill", "rag", "compare", config["teacher"], config["student"]]
    for option in ("data", "swaps", "eval_queries", "seed", "concurrency"):
        if config.get(option) is not None:
            words += [f"--{option.replace('_', '-')}", str(config[option])]
    return shlex.join([*words, "--out", "again"])
