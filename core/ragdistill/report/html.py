"""report.html: one file for people, with everything in it, that asks nothing of the network."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ragdistill.report import calibration, curves, frontier, lift, plots, storage, view

_SCRIPTS = ("page.js", "explorer.js")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("ragdistill.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(view.FILTERS)
    return environment


@cache
def _script() -> Markup:
    """The page's one script; lines end as a browser reads them, whatever the files have."""
    folder = files("ragdistill.report") / "templates"
    return Markup("".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS))


def _source(script: str) -> str:
    """How a Content-Security-Policy names the only script that may run (CSP3, section 2.3.1)."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def render(
    report: Mapping[str, Any],
    *,
    extra: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> str:
    """The page of ``report``; every text in it is escaped.

    Args:
        report: report.json.
        extra: ``schema.extra`` of run.json: the recipe and the versions; None leaves them out.
        folder: the run's, for what the page of two stacks shows of single queries.
    """
    template = "page.html.j2"
    if report.get("rag"):
        from ragdistill.report.stacks import page as stacks

        template, own = stacks.TEMPLATE, stacks.told(report, extra or {}, folder)
    else:
        own = _of_a_component(report)
    page = _templates().get_template(template)
    return page.render(
        report=report,
        extra=extra or {},
        view=view,
        systems=view.systems(report),
        measure=view.headline(report),
        warnings=view.warnings(report),
        lift=lift.told(report),
        looks=plots.looks(report),
        script=_script(),
        script_source=Markup(_source(_script())),
        **own,
    )


def _of_a_component(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        # Our own SVG; the names in it were escaped when it was written.
        "retention_plot": Markup(plots.retention(report)),
        "sweep_plot": Markup(curves.trials(report)),
        "speed_plot": Markup(plots.quality_and_speed(report)),
        "dimension_plot": Markup(curves.by_dimension(report)),
        "latency_plot": Markup(curves.latency(report)),
        "learning_plot": Markup(curves.learning(report)),
        "storage": storage.stored(report),
        "calibration": calibration.calibrated(report),
        "frontier": frontier.compared(report),
    }
