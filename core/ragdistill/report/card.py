"""The student's README.md: a Hugging Face model card with what it is, how well, and how made."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from ragdistill.report import lift, view
from ragdistill.report.terminal import extra_columns

_LISTED = ("apache-2.0", "mit", "gemma", "llama", "cc-", "bsd", "gpl-", "lgpl", "openrail", "mpl-")
"""How the licences begin that a model card names by itself; others are "other", and named."""


@cache
def _templates() -> Environment:
    # Markdown, not HTML: HTML in names is made harmless by _inert.
    environment = Environment(
        loader=PackageLoader("ragdistill.report"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(view.FILTERS)
    return environment


def render(report: Mapping[str, Any], *, extra: Mapping[str, Any] | None = None) -> str:
    """The model card of ``report``'s student: YAML front matter and Markdown.

    A component tells how its student is loaded under ``student``: ``library``, ``pipeline_tag``,
    ``base_model`` (a Hub id) and ``usage`` (Python code); each may be missing.

    Args:
        report: report.json.
        extra: ``schema.extra`` of run.json: the recipe; None leaves it out.
    """
    told = _inert({"report": report, "extra": extra or {}})
    usage = report["student"].get("usage")
    body = _templates().get_template("card.md.j2")
    text = body.render(
        **told,
        view=view,
        systems=view.systems(told["report"]),
        measure=view.headline(told["report"]),
        warnings=view.warnings(told["report"]),
        lift=lift.told(told["report"]),
        others=extra_columns(told["report"]),
        usage=usage,
    )
    return f"---\n{_front_matter(report)}\n---\n\n{text}"


def _front_matter(report: Mapping[str, Any]) -> str:
    student = report["student"]
    licence = student.get("licence")
    listed = licence is not None and licence.casefold().startswith(_LISTED)
    named = {} if listed or licence is None else {"license": "other", "license_name": licence}
    data = ModelCardData(
        **({"license": licence.casefold()} if listed else named),
        base_model=student.get("base_model"),
        library_name=student.get("library"),
        pipeline_tag=student.get("pipeline_tag"),
        tags=["distillation", "rag", "ragdistill", report["component"]],
        model_name=_public(student["name"]),
        eval_results=_results(report) or None,
        ignore_metadata_errors=False,
    )
    return str(data.to_yaml())


def _results(report: Mapping[str, Any]) -> list[EvalResult]:
    data, name = report["data"], _public(report["data"]["name"])
    return [
        EvalResult(
            task_type=report["student"].get("pipeline_tag") or report["component"],
            dataset_type=name,
            dataset_name=name,
            dataset_split=data.get("split"),
            metric_type=measure,
            metric_value=round(row["student"], 4),
        )
        for measure, row in report["quality"].items()
        if row.get("student") is not None
    ]


def _public(text: str) -> str:
    """A path or address cut to its last part: a card is published, a machine's folders are not."""
    private = text.startswith(("/", "./", "../", "~")) or "://" in text
    return text.rstrip("/").rpartition("/")[2] if private else text


def _inert(value: Any) -> Any:
    """``value`` with every text public, and unable to start HTML, a table column or a line."""
    if isinstance(value, str):
        plain = " ".join(_public(value).split())
        for character, entity in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;")):
            plain = plain.replace(character, entity)
        return plain
    if isinstance(value, Mapping):
        return {_inert(key): _inert(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_inert(item) for item in value]
    return value
