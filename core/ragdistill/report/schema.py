"""report.json: what stands in it, how it comes out of run.json, and how it is read back.

Every figure is there with what it was measured on; what is unknown is null, never 0. A component
may add keys; those named here have the types given here.
"""

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from ragdistill.errors import UserError
from ragdistill.report.compared import Frontier
from ragdistill.report.escalated import Escalation
from ragdistill.report.measured import Calibration, Speed
from ragdistill.report.queries import QualityBy, Worst
from ragdistill.report.section import Count, NonNegative, Quality
from ragdistill.report.section import Section as _Section

SCHEMA = 1


class Endpoint(_Section):
    """What a teacher over HTTP was asked and billed so far, and how long its requests took."""

    url: str
    requests: Count
    texts: Count
    tokens: Count
    usd: NonNegative | None = None
    request_p50_ms: NonNegative | None = None
    request_p95_ms: NonNegative | None = None
    request_p99_ms: NonNegative | None = None


class PanelMember(_Section):
    """One of several teachers: the share of its cosines, and what it finds by itself (``student`` in
    its rows) against all together."""

    name: str
    weight: NonNegative
    rankings: str
    quality: dict[str, Quality] = Field(default_factory=dict)


class Model(_Section):
    """Teacher or student. ``size_mb`` (10^6 bytes), what its licence allows, and where it was asked
    are optional."""

    name: str
    digest: str | None = None
    parameters: Count | None = None
    licence: str | None = None
    size_mb: NonNegative | None = None
    outputs_may_train: Literal["yes", "no", "unknown"] | None = None
    endpoint: Endpoint | None = None
    panel: list[PanelMember] = Field(default_factory=list)


class Data(_Section):
    """What was measured on. ``near_duplicates`` is ``ragdistill.data.leakage.audit``'s."""

    name: str
    digest: str | None = None
    documents: Count | None = None
    queries: Count | None = None
    split: str | None = None
    near_duplicates: Count | dict[str, Any] | None = None


class Export(_Section):
    """One format the student was written in, and whether it passed its gates."""

    quality: dict[str, Quality] = Field(default_factory=dict)
    max_abs_diff: NonNegative | None = None
    size_mb: NonNegative | None = None
    passed: bool | None = None


class Prefix(_Section):
    """The student's vectors cut after so many dimensions: quality against the whole teacher."""

    quality: dict[str, Quality]
    bytes_per_document: Count | None = None
    search_ms: NonNegative | None = None


class ReEmbedding(_Section):
    """What embedding the documents with the student takes on this machine."""

    documents: Count
    tokens: Count
    seconds: NonNegative
    usd: NonNegative | None = None


class Asymmetric(_Section):
    """Queries by the student, documents by the teacher; ``both_student`` is with both by it."""

    index: str
    documents: Count
    dimensions: Count
    both_student: dict[str, Quality]
    re_embedding: ReEmbedding


class Storage(_Section):
    """One way to keep and search the student's vectors, by ``ragdistill.metrics.storage``; where it
    cannot be had of so few documents, the ``reason``."""

    vectors: str
    index: str
    dimensions: Count
    documents: Count
    bytes_per_document: NonNegative | None = None
    quality: dict[str, Quality] = Field(default_factory=dict)
    ndcg_difference: float | None = None
    recall_of_exact: NonNegative | None = None
    search_ms: NonNegative | None = None
    reason: str | None = None


class MtebTask(_Section):
    """What mteb measured in one of its tasks, by the task's main score."""

    main_score: str
    splits: list[str] = Field(default_factory=list)
    teacher: float | None = None
    student: float | None = None
    retention: float | None = None


class Trial(_Section):
    """One run of a sweep: the options it had, its best held-out loss, and all its losses by step."""

    values: dict[str, str]
    held_out: float
    seconds: NonNegative | None = None
    losses: list[dict[str, float]] = Field(default_factory=list)


class Sweep(_Section):
    """Runs that differ in training options; the one of the lowest ``held_out`` is this run."""

    measure: str
    trials: list[Trial]


class Loss(_Section):
    """The mean loss since the last entry, or that of the held-out texts, after so many steps."""

    step: Count
    train: float | None = None
    held_out: float | None = None


class Training(_Section):
    """What happened while the student learnt."""

    steps: Count | None = None
    held_out_items: Count | None = None
    losses: list[Loss] = Field(default_factory=list)


class StageFigures(_Section):
    """What a stage took and worked through."""

    seconds: NonNegative | None = None
    items: Count | None = None
    tokens: Count | None = None


class Judgment(_Section):
    """See ``ragdistill.metrics.verdict.Verdict``."""

    decision: Literal["go", "no-go", "inconclusive"]
    margin: float | None = None
    reason: str
    queries_needed: Count | None = None


class Report(_Section):
    """All of report.json."""

    schema_version: int = Field(alias="schema")
    component: str
    teacher: Model
    student: Model
    data: Data
    quality: dict[str, Quality]
    exports: dict[str, Export]
    speed: dict[str, Speed]
    stages: dict[str, StageFigures]
    prefixes: dict[str, Prefix] = Field(default_factory=dict)
    asymmetric: Asymmetric | None = None
    quality_by: QualityBy | None = None
    worst: Worst | None = None
    training: Training | None = None
    replies: dict[str, dict[str, Count]] = Field(default_factory=dict)
    calibration: dict[str, Calibration] = Field(default_factory=dict)
    storage: list[Storage] = Field(default_factory=list)
    mteb: dict[str, MtebTask] = Field(default_factory=dict)
    sweep: Sweep | None = None
    frontier: Frontier | None = None
    escalation: Escalation | None = None
    verdict: Judgment | None
    warnings: list[str] = Field(default_factory=list)


def build(state: Mapping[str, Any]) -> dict[str, Any]:
    """report.json from run.json: what the finished stages found, merged; the rest null.

    A stage's ``items`` and ``tokens`` go to its own entry under ``stages``.

    Raises:
        ValueError: two stages say different things of one figure, or a figure is not valid.
    """
    config, inputs = state.get("config", {}), state.get("inputs", {})
    report = _empty(state["component"])
    for stage, entry in state.get("stages", {}).items():
        if entry.get("state") == "done":
            result = dict(entry.get("result", {}))
            own = {key: result.pop(key, None) for key in ("items", "tokens")}
            merge(report, {"stages": {stage: {"seconds": entry.get("seconds")} | own}})
            merge(report, result)
    evaluated = "eval_data" if config.get("eval_data") else "data"
    for key, source in (("teacher", "teacher"), ("student", "student"), ("data", evaluated)):
        name = config.get(source) or (config.get("teacher") if key == "student" else None)
        # The digest that run.json has of the student is of what it was before training.
        digest = None if key == "student" else inputs.get(source)
        known = {"name": name or "unknown", "digest": digest}
        report[key] = dict.fromkeys(_named(key)) | known | report[key]
    validate(report)
    return report


def _empty(component: str) -> dict[str, Any]:
    """A report that knows nothing yet, its keys in the order in which they are written."""
    sections = ("teacher", "student", "data", "quality", "exports", "speed", "stages")
    return {
        "schema": SCHEMA,
        "component": component,
        **{section: {} for section in sections},
        "verdict": None,
    }


def _named(section: str) -> tuple[str, ...]:
    """The keys that report.json always has in ``section``, known or null."""
    if section == "data":
        return ("name", "digest", "documents", "queries", "split", "near_duplicates")
    return ("name", "digest", "parameters", "licence")


def merge(report: dict[str, Any], section: Mapping[str, Any], path: str = "") -> None:
    """Add ``section`` to ``report``, in place, level by level; null gives way to a value.

    Raises:
        ValueError: both have another value for one key.
    """
    for key, value in section.items():
        known = report.get(key)
        if isinstance(known, dict) and isinstance(value, Mapping):
            merge(known, value, f"{path}{key}.")
        elif known is None:
            report[key] = copy.deepcopy(value)  # run.json's own stays as it is
        elif value is not None and value != known:
            raise ValueError(f"report: {path}{key} is both {known!r} and {value!r}")


def validate(report: Mapping[str, Any]) -> None:
    """Check that every figure named by the schema has its type, and that none is NaN.

    Raises:
        ValueError: naming the first figure at fault.
    """
    _refuse_nan(report, "report")
    try:
        Report.model_validate(report)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise ValueError(f"report: {place}: {fault['msg']}, not {fault['input']!r}") from error


def _refuse_nan(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} is {value}; unknown is null")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_nan(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_nan(item, f"{path}[{index}]")


def extra(state: Mapping[str, Any]) -> dict[str, Any]:
    """What the page and the card also tell: the recipe, which only run.json holds."""
    return {key: state.get(key) for key in ("method", "config", "inputs", "versions", "seed")}


def read(folder: Path) -> dict[str, Any]:
    """``folder/report.json``.

    Raises:
        UserError: it is missing, damaged, or written by a newer ragdistill.
    """
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        begun = (folder / "run.json").exists()
        raise UserError(
            "holds no report.json" + (", for its run has not ended" if begun else ""),
            where=folder,
            mend="give the command of the run again, and it goes on"
            if begun
            else "name the folder of a finished run",
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error}", where=path, mend="run it again") from error
    if not isinstance(report, dict) or not isinstance(report.get("schema"), int):
        raise UserError("is no report of ragdistill", where=path, mend="run it again")
    if report["schema"] > SCHEMA:
        raise UserError(
            f"was written by a newer ragdistill (schema {report['schema']}, known {SCHEMA})",
            where=path,
            mend="upgrade ragdistill",
        )
    try:
        validate(report)
    except ValueError as error:
        raise UserError(f"is damaged: {error}", where=path, mend="run it again") from error
    return report
