"""A component's run from the resolved config to the report: lock, resume, stages, summary."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ragdistill import plugins
from ragdistill.cli import sweeping
from ragdistill.cli.component import exit_status, plan_json
from ragdistill.config import RunConfig
from ragdistill.distiller import Method, Plan, Section, Stage
from ragdistill.files import writing
from ragdistill.hookspecs import hookimpl
from ragdistill.pipeline import parse_stages, require_earlier, run_stages
from ragdistill.run import Run, locked


@dataclass(frozen=True, slots=True)
class Sweep:
    """What ``--sweep`` and ``--sweep-trials`` say."""

    texts: tuple[str, ...] = ()
    trials: int = 8


@dataclass(frozen=True, slots=True)
class Request:
    """One start of a component's command."""

    component: str
    method: Method
    config: RunConfig
    out: Path | None
    stages: str | None
    sweep: Sweep
    dry_run: bool
    as_json: bool


def execute(request: Request) -> int:
    """Run what ``request`` asks for; return the exit status."""
    stages = parse_stages(request.stages)
    folder = request.out or default_folder(request.component, request.config)
    space = sweeping.parse(request.sweep.texts, request.config)
    config = request.config
    if space and not request.dry_run:
        base = sweeping.Base(request.component, request.method, config, folder)
        config = sweeping.sweep(base, space, request.sweep.trials)
    distiller = request.method.load()(config, folder)
    if request.dry_run:
        plan = distiller.plan()
        told = sweeping.planned(plan, space, request.sweep.trials) if space else plan
        _show_plan(told, as_json=request.as_json)
        return 0
    # All that can be refused is refused before the folder exists: it leaves nothing behind.
    inputs = distiller.inputs()
    run = Run(folder, request.component, request.method.name, config)
    run.resume(inputs)
    for stage in stages:
        require_earlier(run, distiller, stage, stages)
    pm = plugins.manager()
    watcher = StageLines()
    pm.register(watcher)
    try:
        with writing(folder), locked(folder):
            run.resume(inputs)  # again: another process may have gone on with it meanwhile
            run.save()
            run_stages(request.method, distiller, run, stages, pm.hook)
            report = write_report(run, distiller.judge() if run.done("evaluate") else {})
    finally:
        pm.unregister(watcher)
    _show_report(report, folder, as_json=request.as_json)
    return exit_status(report, request.config.gate)


def default_folder(component: str, config: RunConfig) -> Path:
    """``runs/COMPONENT-TEACHER-DATA``, from the last parts of their names."""
    parts = (component, Path(config.teacher).name, Path(config.data).stem)
    return Path("runs") / "-".join(part.replace(":", "-") for part in parts)


def write_report(run: Run, judgment: Section) -> dict[str, Any]:
    """report.json and report.html from what the finished stages left in run.json."""
    from ragdistill.files import write_json, write_text
    from ragdistill.report import card, html, schema

    report = schema.build(run.state)
    schema.merge(report, judgment)
    schema.validate(report)
    write_json(run.folder / "report.json", report)
    write_text(run.folder / "report.html", html.render(report, extra=schema.extra(run.state)))
    student = run.folder / "student"
    if student.is_dir():
        write_text(student / "README.md", card.render(report, extra=schema.extra(run.state)))
    return report


class StageLines:
    """One line on stderr when a stage begins, one when it has ended."""

    @hookimpl
    def ragdistill_stage_started(self, method: str, stage: Stage, folder: Path) -> None:
        click.secho(f"{stage} ({method})", err=True, bold=sys.stderr.isatty())

    @hookimpl
    def ragdistill_stage_finished(self, stage: Stage, seconds: float) -> None:
        clock = time.strftime("%M:%S", time.gmtime(seconds))
        click.echo(f"{stage} done in {clock} min", err=True)


_MINUTES = "about {:.1f}, evaluation and export not counted"


def _show_plan(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        click.echo(plan_json(plan))
        return
    for number, step in enumerate(plan.steps, 1):
        click.echo(f"{number}. {step}")
    rows = (
        ("texts", plan.items, "{:,}"),
        ("teacher tokens", plan.tokens, "{:,}"),
        ("bytes on disk", plan.store_bytes, "{:,}"),
        (
            "minutes to collect and train",
            None if plan.seconds is None else plan.seconds / 60,
            "about {:.1f}",
        ),
        # A price below a cent is no price of 0.00.
        ("US dollars", plan.usd, "{:.1g}" if plan.usd and plan.usd < 0.01 else "{:,.2f}"),
    )
    for label, value, form in rows:
        click.echo(f"{label:>16}: {'unknown' if value is None else form.format(value)}")
    click.echo("Nothing was done: this was a dry run.")


def _show_report(report: Mapping[str, Any], folder: Path, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    from ragdistill.report import terminal

    terminal.render(report, Console())
    click.echo(f"report: {folder / 'report.html'}")
    if (folder / "student").is_dir():
        click.echo(f"student: {folder / 'student'}")
