"""A component's run from the resolved config to the report: lock, resume, stages, summary."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ragdistill import joint, plugins, processes
from ragdistill.cli import frontier, sweeping
from ragdistill.cli.component import exit_status, plan_json
from ragdistill.cli.runs import Base, advanced, write_report
from ragdistill.config import RunConfig
from ragdistill.distiller import Distiller, Method, Plan, Section, Stage
from ragdistill.errors import UserError
from ragdistill.hookspecs import hookimpl
from ragdistill.pipeline import parse_stages


@dataclass(frozen=True, slots=True)
class Sweep:
    """What ``--sweep`` and ``--sweep-trials`` say."""

    texts: tuple[str, ...] = ()
    trials: int = 8


@dataclass(frozen=True, slots=True)
class Frontier:
    """What ``--frontier`` says, and how the component reads it."""

    text: str
    read: frontier.Read


@dataclass(frozen=True, slots=True)
class Request:
    """One start of a component's command."""

    component: str
    method: Method
    config: RunConfig
    out: Path | None
    stages: str | None
    sweep: Sweep
    frontier: Frontier | None
    dry_run: bool
    as_json: bool


def execute(request: Request) -> int:
    """Run what ``request`` asks for, with all processes that were started for it; return the exit
    status."""
    if processes.launched() == 1:
        return _lead(request)
    if request.dry_run:
        return _lead(request) if processes.rank() == 0 else 0
    try:
        folder = _common_folder(request)

        def make() -> Distiller[Any]:
            return request.method.load()(request.config, folder)

        make().check_joint()
    except UserError as error:
        if processes.rank():  # the first says it
            raise SystemExit(error.exit_code) from None
        raise
    return joint.launch(
        lambda: _lead(request),
        lambda: joint.follow(make, request.config, folder),
        request.config.device,
    )


def _common_folder(request: Request) -> Path:
    """The run folder of several processes.

    Raises:
        UserError: it is not named, or something is asked that one process does.
    """
    for asked, where in ((request.sweep.texts, "--sweep"), (request.frontier, "--frontier")):
        if asked:
            raise UserError("runs in one process", where=where, mend="start it without torchrun")
    if request.out is None:
        raise UserError(
            f"{processes.launched()} processes need a run folder that all of them reach",
            where="--out",
            mend="name one",
        )
    return request.out


def _lead(request: Request) -> int:
    stages = parse_stages(request.stages)
    folder = request.out or default_folder(request.component, request.config)
    base = Base(request.component, request.method, request.config, folder)
    space = sweeping.parse(request.sweep.texts, request.config)
    members = _members(request)
    if space and "train" not in stages:
        raise UserError("trains", where=sweeping.OPTION, mend="name train among --stages")
    if space:
        sweeping.refuse_points(base, space)
    if request.dry_run:
        show_plan(_planned(base, request, space, members), as_json=request.as_json)
        return 0
    if not members:
        frontier.refuse_plain(folder)
    if space:
        config = sweeping.sweep(base, space, request.sweep.trials)
        base = dataclasses.replace(base, config=config)
    judgment: Section | None = None
    with stage_lines():
        if members:
            base, judgment = frontier.frontier(base, members)
        with advanced(base, stages) as (run, distiller):
            if judgment is None:
                judgment = distiller.judge() if run.done("evaluate") else {}
            report = write_report(run, judgment)
    _show_report(report, folder, as_json=request.as_json)
    return exit_status(report, request.config.gate)


def _members(request: Request) -> frontier.Members:
    """What ``--frontier`` lists; nothing where it is not given."""
    asked = request.frontier
    if asked is None:
        return {}
    others = {sweeping.OPTION: request.sweep.texts, "--stages": request.stages}
    return frontier.parse(asked.text, asked.read, request.config, others)


def _planned(
    base: Base, request: Request, space: sweeping.Space, members: frontier.Members
) -> Plan:
    if members:
        return frontier.planned(base, members)
    plan = base.distiller().plan()
    return sweeping.planned(plan, space, request.sweep.trials) if space else plan


@contextmanager
def stage_lines() -> Iterator[None]:
    """Tell of stages on stderr, and that a run that is stopped can go on."""
    pm, watcher = plugins.manager(), StageLines()
    pm.register(watcher)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nStopped; the same command goes on where this one was.", err=True)
        raise
    finally:
        pm.unregister(watcher)


def default_folder(component: str, config: RunConfig) -> Path:
    """``runs/COMPONENT-TEACHER-DATA``, from the last parts of their names."""
    parts = (component, config.teacher_name, Path(config.data).stem)
    return Path("runs") / "-".join(part.replace(":", "-") for part in parts)


class StageLines:
    """One line on stderr when a stage begins, one when it has ended."""

    @hookimpl
    def ragdistill_stage_started(self, method: str, stage: Stage, folder: Path) -> None:
        click.secho(f"{stage} ({method})", err=True, bold=sys.stderr.isatty())

    @hookimpl
    def ragdistill_stage_finished(self, stage: Stage, seconds: float) -> None:
        clock = time.strftime("%M:%S", time.gmtime(seconds))
        click.echo(f"{stage} done in {clock} min", err=True)


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """Print what a dry run found."""
    if as_json:
        click.echo(plan_json(plan))
        return
    for number, step in enumerate(plan.steps, 1):
        click.echo(f"{number}. {step}")
    rows = (
        (plan.unit, plan.items, "{:,}"),
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
        click.echo(f"{label:>28}: {'unknown' if value is None else form.format(value)}")
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
