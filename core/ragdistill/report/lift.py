"""What a teacher adds to what there was before it, in a sentence."""

from collections.abc import Mapping
from typing import Any

from ragdistill.report import view


def told(report: Mapping[str, Any]) -> str:
    """What a reranker's teacher adds to the first stage, or a rewriter's to the raw queries, and how much of
    that the student keeps; empty where neither is there.

    The share is told only if the interval of what the teacher adds lies above 0: divided by what may be
    nothing it may be anything.
    """
    measure = view.headline(report)
    found = report["quality"].get(measure, {}).get("lift")
    if not found:
        return ""
    bounds = found.get("teacher_ci95")
    between = f" ({bounds[0]:+.4f} to {bounds[1]:+.4f})" if bounds else ""
    said = f"the teacher adds {found['teacher']:+.4f}{between} to {view.before(report)} {measure}"
    if found.get("share") is None or not bounds or bounds[0] <= 0:
        why = "it may be nothing" if not bounds or bounds[1] >= 0 else "there is nothing to share"
        return f"{said}, the student {found['student']:+.4f}: what share of it that is cannot be told, for {why}"
    span = f" ({view.interval(found['share_ci95'])})" if found.get("share_ci95") else ""
    return f"{said}, and the student has {view.percent(found['share'])}{span} of that"
