"""One run from its config to its report, and runs below a run: what a plain start, a sweep and a
frontier share."""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragdistill import joint, plugins
from ragdistill.config import RunConfig, as_dict, resolve
from ragdistill.distiller import Distiller, Method, Section, Stage
from ragdistill.errors import UserError
from ragdistill.files import write_json, writing
from ragdistill.pipeline import require_earlier, run_stages
from ragdistill.run import Run, locked, read_manifest


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """A run by what it is made of, or what several runs have in common."""

    component: str
    method: Method
    config: RunConfig
    folder: Path

    def varied(self, options: Mapping[str, str | None], folder: Path) -> "Base":
        """The same with other ``options``, in another folder."""
        return dataclasses.replace(self, config=varied(self.config, options), folder=folder)

    def distiller(self) -> Distiller[Any]:
        """What carries it out."""
        return self.method.load()(self.config, self.folder)


def varied(config: RunConfig, options: Mapping[str, str | None]) -> RunConfig:
    """``config`` with other ``options``, their values as they would be typed."""
    return resolve(type(config), None, as_dict(config) | dict(options))


@contextmanager
def advanced(base: Base, stages: Sequence[Stage]) -> Iterator[tuple[Run, Distiller[Any]]]:
    """Run what is not done yet of ``stages``; the run is held until the block ends.

    Raises:
        UserError: whatever the run refuses; what can be refused at once leaves nothing behind.
    """
    distiller = base.distiller()
    inputs = distiller.inputs()
    run = Run(base.folder, base.component, base.method.name, base.config)
    run.resume(inputs)
    for stage in stages:
        require_earlier(run, distiller, stage, stages)
    joint.meet(base.config, inputs)
    with writing(base.folder), locked(base.folder):
        run.resume(inputs)  # again: another process may have gone on with it meanwhile
        run.save()
        run_stages(base.method, distiller, run, stages, plugins.manager().hook)
        yield run, distiller


def write_report(run: Run, judgment: Section) -> dict[str, Any]:
    """report.json and report.html from what the finished stages left in run.json."""
    from ragdistill.files import write_text
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


def refuse_strangers(folder: Path, below: str) -> None:
    """Never let a run that is chosen from those in ``folder / below`` take the place of something
    else."""
    held = {item.name for item in folder.iterdir()} if folder.is_dir() else set()
    if not {name for name in held if name[0] != "."} - {below}:
        return
    known = read_manifest(folder) if "run.json" in held else None
    results = [stage.get("result") or {} for stage in (known or {}).get("stages", {}).values()]
    chosen = known is None or any(below in result for result in results)
    if not chosen or not any((folder / below).glob("*/run.json")):
        raise UserError(f"holds no {below}", where=folder, mend="choose another --out")


def adopt(source: Path, folder: Path, state: Mapping[str, Any], *, copy: bool) -> None:
    """Make the run in ``source`` that of ``folder``: what it left, if ``copy``, in place of what a
    former one left, and ``state`` as its run.json."""
    if copy:
        (folder / "run.json").unlink(missing_ok=True)
        for name in {path.name for path in source.parent.glob("*/[!.]*")}:
            former = folder / name
            shutil.rmtree(former) if former.is_dir() else former.unlink(missing_ok=True)
        hidden = shutil.ignore_patterns(".*", "run.json")
        shutil.copytree(source, folder, ignore=hidden, dirs_exist_ok=True)
    write_json(folder / "run.json", state)  # last: without it the folder is no run
