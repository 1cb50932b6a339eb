"""Every part of a stack by its component, in the order in which they build on each other, and then the stacks
against each other: what ``ragdistill distill-all`` does."""

import dataclasses
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ragdistill import processes
from ragdistill.cli.cascade import COMPARED, Asked, Cascade
from ragdistill.cli.running import stage_lines
from ragdistill.cli.runs import advanced, write_report
from ragdistill.config import flag
from ragdistill.distiller import STAGES, Plan
from ragdistill.errors import UserError
from ragdistill.files import write_json, writing
from ragdistill.rag.parts import told_of
from ragdistill.rag.serving import Role
from ragdistill.run import locked, read_manifest, refuse_strangers, versions

NAME = "distill-all"
_DONE = Plan(steps=("is finished",), items=0, tokens=0, store_bytes=0, seconds=0.0, usd=0.0)


def run(asked: Asked) -> tuple[dict[Role, dict[str, Any]], dict[str, Any]]:
    """Do what is not done yet; the reports of the parts, and that of the comparison.

    Raises:
        UserError: whatever a part, its data or the comparison is refused for; what can be refused at once
            leaves nothing behind.
    """
    if processes.launched() > 1:
        raise UserError(
            "runs in one process",
            where=NAME,
            mend="start it without torchrun; a part's own command, as its config.yaml has it, takes several",
        )
    refuse_strangers(asked.out, NAME)
    cascade = Cascade(asked)
    manifest = _manifest(cascade)
    _refuse_other(asked.out, manifest)
    _refuse_early(cascade)
    reports: dict[Role, dict[str, Any]] = {}
    with writing(asked.out), locked(asked.out), stage_lines():
        write_json(asked.out / "run.json", manifest)
        cascade.divide()
        for number, role in enumerate(cascade.roles, 1):
            click.echo(f"{role}, {number} of {len(cascade.roles)}", err=True)
            with _noted(asked.out, manifest, role):
                reports[role] = _distilled(cascade, role)
        click.echo("compare", err=True)
        with _noted(asked.out, manifest, COMPARED):
            compared = cascade.compare()
    return reports, compared


def _distilled(cascade: Cascade, role: Role) -> dict[str, Any]:
    """One part, to its report."""
    new = not cascade.finished(role)
    if role == "generator" and cascade.wants_contexts():
        cascade.retrieve()
    base = cascade.base(role)
    with told_of(role), advanced(base, STAGES) as (run, distiller):
        report = write_report(run, distiller.judge())
    del run, distiller
    if new:
        gc.collect()  # the models of one part make room for those of the next
    return report


def planned(asked: Asked) -> Plan:
    """What all parts together would take; of a part whose forerunners are not there yet, by what stands in for
    them."""
    cascade = Cascade(asked)
    plans: dict[Role, Plan] = {}
    with cascade.divided_for_now():
        for role, base in cascade.bases().items():
            with told_of(role):
                plans[role] = _DONE if cascade.finished(role) else base.distiller().plan()
    steps = [step for role, plan in plans.items() for step in _steps(cascade, role, plan)]
    if cascade.divides:
        steps.insert(
            0, "divide the judged queries in three, by document and conversation (80/10/10 %)"
        )
    mixes = 2 ** len(cascade.roles)
    steps.append(
        f"compare the two stacks and every mix of their parts, {mixes} in all (not reckoned)"
    )
    return Plan(
        steps=tuple(steps),
        unit="texts, pairs and answers asked of teachers",
        items=_sum([plan.items for plan in plans.values()]),
        tokens=_sum([plan.tokens for plan in plans.values()]),
        store_bytes=_sum([plan.store_bytes for plan in plans.values()]),
        seconds=_sum([plan.seconds for plan in plans.values()]),
        usd=_sum([plan.usd for plan in plans.values()]),
        extra={"parts": {role: dataclasses.asdict(plan) for role, plan in plans.items()}},
    )


def _steps(cascade: Cascade, role: Role, plan: Plan) -> Iterator[str]:
    awaited = [] if plan is _DONE else cascade.awaited(role)
    if role == "generator" and not cascade.asked.independent and plan is not _DONE:
        yield f"{role}: have the students before it find contexts"
    for step in plan.steps:
        yield f"{role}: {step}"
    if awaited:
        yield f"{role}: reckoned without {' and '.join(awaited)}, not there yet"
    if plan.seconds:
        yield f"{role}: about {plan.seconds / 60:.1f} minutes to collect and train"


def _sum(values: Sequence[Any]) -> Any:
    """Their sum; None where one is not known."""
    return None if None in values else sum(values)


def _refuse_early(cascade: Cascade) -> None:
    """Refuse at once what a part would refuse when its turn comes, as far as that can be seen."""
    with cascade.divided_for_now():
        for role, base in cascade.bases().items():
            if not cascade.finished(role):
                with told_of(role):
                    base.distiller().inputs()


def _manifest(cascade: Cascade) -> dict[str, Any]:
    asked = cascade.asked
    return {
        "schema": 1,
        "component": NAME,
        "method": NAME,
        "config": {
            "stack": str(asked.stack),
            "data": asked.data,
            "keep": sorted(asked.keep),
            "independent": asked.independent,
            "eval_queries": asked.eval_queries,
            "seed": asked.seed,
            "parts": {role: dict(asked.given[role]) for role in cascade.roles},
        },
        "inputs": {"data": cascade.collection.digest},
        "versions": versions(),
        "seed": asked.seed,
        "stages": {},
    }


def _refuse_other(folder: Path, manifest: Mapping[str, Any]) -> None:
    """What the parts cannot see of a folder that was begun otherwise."""
    if not (folder / "run.json").is_file():
        return
    found = read_manifest(folder)
    former, config = found.get("config", {}), manifest["config"]
    if former.get("independent", False) != config["independent"]:
        was = "with" if former.get("independent") else "without"
        raise UserError(
            f"was started {was} --independent", where=folder, mend="choose another --out"
        )
    for key in ("seed", "eval_queries"):
        if former.get(key, config[key]) != config[key]:
            was, now = ("unset" if each[key] is None else each[key] for each in (former, config))
            raise UserError(
                f"was started with {flag(key)} {was}, not {now}",
                where=folder,
                mend="give the former value, or choose another --out",
            )
    digest = found.get("inputs", {}).get("data")
    if digest not in (None, manifest["inputs"]["data"]):
        raise UserError(
            f"the data are not those that it was started with: then {digest[:16]}, now "
            f"{manifest['inputs']['data'][:16]}",
            where=folder,
            mend="bring the former back, or choose another --out",
        )


@contextmanager
def _noted(folder: Path, manifest: dict[str, Any], name: str) -> Iterator[None]:
    """Have run.json say that ``name`` is under way, and then that it is done."""
    started = time.perf_counter()
    manifest["stages"][name] = {"state": "running"}
    write_json(folder / "run.json", manifest)
    yield
    manifest["stages"][name] = {"state": "done", "seconds": time.perf_counter() - started}
    write_json(folder / "run.json", manifest)
