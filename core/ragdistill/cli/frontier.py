"""``--frontier``: several students of one teacher, and the cheapest that passes made the run itself.

Each member is an ordinary run folder below ``RUN/frontier/`` with its own report, so that it resumes
as every run does; all share the signal store. Unlike a sweep it chooses by the judged queries, for
the gate is about them. So each of the k systems compared is tested at 0.05 / k (Bonferroni; Dunn:
Multiple Comparisons among Means, 1961): whichever is chosen, a wrong *go* is no more frequent than
of a single student.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ragdistill.cli.runs import Base, adopt, advanced, refuse_strangers, write_report
from ragdistill.config import RunConfig, flag
from ragdistill.distiller import STAGES, Plan, Section
from ragdistill.errors import UserError
from ragdistill.files import writing
from ragdistill.run import locked, read_manifest

OPTION = "--frontier"
FOLDER = "frontier"
Members = Mapping[str, Mapping[str, str | None]]
"""Name to the options that make it, the same options for each; the name is that of its folder."""
Read = Callable[[str], Members]
"""A component's reading of what ``--frontier`` lists; raises UserError."""


def parse(text: str, read: Read, config: RunConfig, others: Mapping[str, object]) -> Members:
    """The members that ``text`` lists.

    Args:
        text: as typed.
        read: the component's own reading.
        config: what all have in common.
        others: options that do not go with it, and what they say.

    Raises:
        UserError: what ``read`` refuses; an option that the members differ in, or one of
            ``others``, is given too.
    """
    members = read(text)
    default = {field.name: field.default for field in dataclasses.fields(config)}
    own = {key for options in members.values() for key in options}
    clash = [flag(key) for key in sorted(own) if getattr(config, key) != default[key]]
    for option in [*clash, *(name for name, said in others.items() if said)]:
        raise UserError(
            f"does not go with {option}", where=OPTION, mend=f"leave {option} or {OPTION} out"
        )
    return members


def refuse_plain(folder: Path) -> None:
    """Never go on as an ordinary run with what was chosen among several: its verdict would forget
    that it was.

    Raises:
        UserError: the run in ``folder`` is one.
    """
    if (folder / "run.json").exists() and _section(read_manifest(folder)):
        raise UserError(
            f"was chosen by {OPTION}",
            where=folder,
            mend=f"give {OPTION} again, or choose another --out",
        )


def planned(base: Base, members: Members) -> Plan:
    """The plan of all members together; what they ask the teacher for is asked once."""
    plans = {}
    for name, part in _parts(base, members).items():
        with _told_of(name, members[name]):
            plans[name] = part.distiller().plan()
    first = f"make {len(members)} students, {', '.join(members)}; what one asks for, all have"
    found = list(plans.values())
    asked = [plan.items for plan in found]
    alone = [plan.seconds for plan in found if plan.seconds is not None]
    # The seconds of a plan are of collecting and of training: known are those of training alone.
    seconds = sum(alone) if len(alone) == len(found) and not any(asked) else None
    return Plan(
        steps=(first, *_steps(plans)),
        items=_most(asked),
        tokens=_most([plan.tokens for plan in found]),
        store_bytes=_most([plan.store_bytes for plan in found]),
        seconds=seconds,
        usd=_most([plan.usd for plan in found]),
        extra={"members": {name: dataclasses.asdict(plan) for name, plan in plans.items()}},
        unit=found[0].unit,
    )


def _most(values: list[Any]) -> Any:
    """The largest, for the members ask for the same; unknown where one is."""
    return None if None in values else max(values)


def _steps(plans: Mapping[str, Plan]) -> list[str]:
    """The members' steps in order; one that several have is told once, with their names."""
    told: dict[tuple[int, str], list[str]] = {}
    for name, plan in plans.items():
        for place, step in enumerate(plan.steps):
            told.setdefault((place, step), []).append(name)
    return [
        step if len(names) == len(plans) else f"{', '.join(names)}: {step}"
        for (_, step), names in sorted(told.items(), key=lambda item: item[0][0])
    ]


def frontier(base: Base, members: Members) -> tuple[Base, Section]:
    """Carry out what is not done yet of the members, make the chosen one the run in
    ``base.folder``; return it, and its judgment as one of several.

    Raises:
        UserError: the folder holds something else; whatever a member refuses.
    """
    refuse_strangers(base.folder, FOLDER)
    parts = _parts(base, members)
    _refuse_to_forget(base.folder, parts)
    for name, part in parts.items():  # all that can be refused is refused before anything is done
        with _told_of(name, members[name]):
            part.distiller().inputs()
    reports = {}
    with writing(base.folder), locked(base.folder / FOLDER):
        for number, (name, part) in enumerate(parts.items(), 1):
            click.echo(f"frontier {number} of {len(parts)}: {name}", err=True)
            with advanced(part, STAGES) as (run, distiller):
                reports[name] = write_report(run, distiller.judge())
        section, judgment = compare(parts, members, reports)
        winner = parts[next(entry["name"] for entry in section["entries"] if entry["chosen"])]
        _adopt(winner.folder, base.folder, section)
    return dataclasses.replace(winner, folder=base.folder), judgment


def _refuse_to_forget(folder: Path, members: Mapping[str, object]) -> None:
    """A verdict has to allow for all that were compared, those that did badly, too.

    Raises:
        UserError: a student that was measured here is not among the ``members``.
    """
    for path in sorted((folder / FOLDER).glob("*/run.json")):
        name = path.parent.name
        measured = read_manifest(path.parent).get("stages", {}).get("evaluate", {})
        if name not in members and measured.get("state") == "done":
            raise UserError(
                f"compared {name!r}, too, and a verdict without it would forget that",
                where=folder,
                mend=f"list it in {OPTION}, or choose another --out",
            )


def _parts(base: Base, members: Members) -> dict[str, Base]:
    return {
        name: base.varied(options, base.folder / FOLDER / name) for name, options in members.items()
    }


@contextmanager
def _told_of(name: str, options: Mapping[str, object]) -> Iterator[None]:
    """Say of which member an option is wrong: it was not typed."""
    try:
        yield
    except UserError as error:
        if not error.message.startswith(tuple(flag(key) for key in options)):
            raise
        raise UserError(error.message, where=f"{OPTION} {name}") from error


def compare(
    parts: Mapping[str, Base], members: Members, reports: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Any], Section]:
    """The section ``frontier`` of the report, one entry marked as chosen, and its judgment.

    Speeds count as multiples of the teacher's in the same run, which took turns with it; where no
    teacher runs here, as they were measured.
    """
    from ragdistill.metrics.frontier import Candidate, choose

    entries, verdicts = _entries(parts, members, reports)
    speed = "faster" if all(entry["faster"] for entry in entries) else "per_second"
    # An export that is not like its student is never served, however well it does here.
    served = [place for place, entry in enumerate(entries) if entry["passed"] is not False]
    candidates = [
        Candidate(
            speed=entry[speed] or 0.0,
            size_mb=entry["size_mb"] or float("inf"),
            quality=entry["quality"].get("retention") or 0.0,
            passes=entry["decision"] == "go",
        )
        for entry in (entries[place] for place in served)
    ]
    place = served[choose(candidates)]
    entries[place]["chosen"] = True
    verdict = verdicts[place] | {"system": entries[place]["system"]}
    section = {
        "measure": verdict["measure"],
        "gate": verdict["gate"],
        "compared": len(entries),
        "speed": speed,
        "passed": verdict["decision"] == "go",
        "entries": entries,
    }
    return section, {"verdict": verdict}


def _entries(
    parts: Mapping[str, Base], members: Members, reports: Mapping[str, Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """An entry for each system that was measured, the members in their order, and its verdict."""
    from ragdistill.report import view

    found = [
        (name, system)
        for name, report in reports.items()
        for system in view.systems(report)
        if system.role != "teacher" and system.speed and system.quality
    ]
    entries, verdicts = [], []
    for name, system in found:
        verdict = dict(parts[name].distiller().judge_system(system.key, len(found)))
        entries.append(
            {
                "name": name,
                "values": {key: said for key, said in members[name].items() if said is not None},
                "system": system.key,
                "per_second": system.speed.get("per_second"),
                "faster": view.ratio(reports[name], system.key),
                "size_mb": system.size_mb,
                "quality": dict(system.quality[verdict["measure"]]),
                "interval": verdict.pop("retention_interval", None),
                "decision": verdict["decision"],
                "passed": system.passed,
                "chosen": False,
            }
        )
        verdicts.append(verdict)
    return entries, verdicts


def _adopt(member: Path, folder: Path, section: Mapping[str, Any]) -> None:
    """Make ``member`` the run of ``folder``, unless it is that already. The section stands with the
    last stage that it was measured in: where that is void, it is."""
    state = read_manifest(member)
    same = False
    if (folder / "run.json").exists():
        known = read_manifest(folder)
        _section(known, drop=True)
        same = known.get("stages") == state["stages"] and all(
            (folder / path.relative_to(member)).exists()
            for path in member.rglob("*")
            if not path.name.startswith(".")
        )
    state["stages"]["export"]["result"]["frontier"] = dict(section)
    adopt(member, folder, state, copy=not same)


def _section(state: dict[str, Any], *, drop: bool = False) -> Any:
    """What a run.json tells of a frontier; None where it tells nothing."""
    result = state.get("stages", {}).get("export", {}).get("result") or {}
    return result.pop("frontier", None) if drop else result.get("frontier")
