"""``--via``: teachers in between, where the student is too small to follow the teacher (teacher assistants,
arXiv:1902.03393).

The last of them is the student of a run of its own, ``RUN/via/NAME``, which is this run with another student and
those before it as its own teachers in between. So each resumes as every run does, has its own report, and shares
the signal store.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ragdistill.cli.component import choose_method
from ragdistill.cli.runs import Base, advanced, varied, write_report
from ragdistill.distiller import Plan, Stage
from ragdistill.errors import UserError
from ragdistill.run import read_manifest
from ragdistill_generator.config import GeneratorConfig

FOLDER = "via"
_STAGES: tuple[Stage, ...] = ("collect", "train")


def is_number(name: str) -> bool:
    """Whether one in between is the teacher with so many of its layers; else it is a model."""
    return name.isdecimal()


def leg(config: GeneratorConfig, folder: Path) -> Base:
    """The run whose student teaches in ``folder``'s."""
    *before, last = config.via or ()
    options = {
        "via": tuple(before) or None,
        "student": None if is_number(last) else last,
        "student_layers": last if is_number(last) else None,
        "gate": None,
    }
    method = choose_method("generator", config.method or "logits")
    name = re.sub(r"[^\w.-]+", "-", last).strip(".-") or "teacher"
    return Base("generator", method, varied(config, options), folder / FOLDER / name)  # type: ignore[arg-type]


def student_of(config: GeneratorConfig, folder: Path) -> Path:
    """Where it leaves it."""
    return leg(config, folder).folder / "student"


def check(config: GeneratorConfig, folder: Path) -> None:
    """Refuse what a run of those in between would refuse, before anything is done.

    Raises:
        UserError: it would.
    """
    if config.via:
        base = leg(config, folder)
        with _told_of(config.via[-1]):
            base.distiller().inputs()


def teach(config: GeneratorConfig, folder: Path) -> None:
    """Carry out what is not done yet of the runs of those in between."""
    if not config.via:
        return
    base = leg(config, folder)
    if ready(config, folder):
        return
    click.echo(f"teach {config.via[-1]}, which teaches then", err=True)
    with _told_of(config.via[-1]), advanced(base, _STAGES) as (run, _):
        write_report(run, {})


def ready(config: GeneratorConfig, folder: Path) -> bool:
    """Whether the last of those in between has learnt; where there is none, there is nothing to wait for."""
    if not config.via:
        return True
    below = leg(config, folder).folder
    if not all((below / name).exists() for name in ("student/config.json", "run.json")):
        return False
    stages = read_manifest(below).get("stages", {})
    return all(stages.get(stage, {}).get("state") == "done" for stage in _STAGES)


def planned(config: GeneratorConfig, folder: Path) -> Plan | None:
    """What those in between take; None where there are none."""
    if not config.via:
        return None
    base = leg(config, folder)
    with _told_of(config.via[-1]):
        return base.distiller().plan()


def steps(config: GeneratorConfig, plan: Plan) -> list[str]:
    """What of ``plan``, of the last of those in between, is a step of the run that it teaches in: its answers
    are asked for once, and it is neither measured nor exported."""
    name = f"via {(config.via or ('',))[-1]}: "
    return [step if step.startswith("via ") else f"{name}{step}" for step in plan.steps[1:-2]]


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Say of which one an option is wrong: it was not typed."""
    try:
        yield
    except UserError as error:
        if not error.message.startswith(("--student", "--student-layers")):
            raise
        raise UserError(error.message, where=f"--via {name}") from error
