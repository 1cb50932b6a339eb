"""``ragdistill diagnose``: what is wrong with a run, and what to change."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ragdistill.errors import UserError


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--show",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Print what the teacher says of each token of N answers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def diagnose(run: Path, show: int, as_json: bool) -> None:
    """Say what is wrong with the run in folder RUN, and what to change.

    The student is held against its teacher on what was held out of its training: nothing is trained, and
    nothing is written.
    """
    found = examined(run, show)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
        return
    for line in lines(found):
        click.echo(line)


def examined(folder: Path, show: int) -> dict[str, Any]:
    """What is found of the run in ``folder``.

    Raises:
        UserError: it has trained nothing yet, or its component has nothing to say of it.
    """
    from ragdistill import diagnosis
    from ragdistill.cli.component import choose_method, config_of
    from ragdistill.config import resolve
    from ragdistill.run import read_manifest

    state = read_manifest(folder)
    trained = state.get("stages", {}).get("train", {})
    if trained.get("state") != "done":
        raise UserError(
            "has trained no student yet, so there is nothing to diagnose",
            where=folder,
            mend="give the command of the run again, and it goes on",
        )
    component = str(state.get("component"))
    cls = config_of(component)
    config = resolve(cls, None, state["config"])
    method = choose_method(component, str(state["method"]))
    training = (trained.get("result") or {}).get("training") or {}
    losses = training.get("losses") or []
    found = dict(method.load()(config, folder).diagnose(show))
    if not found and not losses:
        raise UserError(f"of {component} there is nothing to diagnose yet", where=folder)
    findings = [each.as_json() for each in diagnosis.of_curve(losses)] + found.pop("findings", [])
    return {
        "run": str(folder),
        "component": component,
        "findings": findings,
        "losses": losses,
        **found,
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """It in words: figures, what differs most, what the teacher said, and what to change last."""
    told = [_row(name, found[name]) for name in ("agreement", "coverage") if found.get(name)]
    told += [_row(name, row) for name, row in (found.get("calibration") or {}).items()]
    for title, rows in (found.get("most_different") or {}).items():
        told += ["", f"{title} that differ most:", *(f"  {_pairs(row)}" for row in rows)]
    for each in found.get("shown") or []:
        told += ["", each["question"], *(f"  {_said(token)}" for token in each["tokens"])]
    told.append("")
    if not found["findings"]:
        told.append("Nothing that these figures show is wrong.")
    for each in found["findings"]:
        told += [f"- {each['what']}", f"  -> {each['change']}"]
    return told if told[0] else told[1:]


def _row(name: str, row: Mapping[str, Any]) -> str:
    return f"{name}: {_pairs({key: said for key, said in row.items() if not isinstance(said, (dict, list))})}"


def _pairs(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {_value(said)}" for key, said in row.items())


def _value(said: Any) -> str:
    if isinstance(said, list):
        return " ".join(f"{token!r} {prob:.2f}" for token, prob in said)
    if isinstance(said, float):
        return f"{said:.4g}"
    return "unknown" if said is None else repr(said) if isinstance(said, str) else str(said)


def _said(token: Mapping[str, Any]) -> str:
    return f"{token['token']!r} {token['probability']:.3f} (entropy {token['entropy']:.2f}): {_value(token['top'])}"
