"""From what a stack names to the part itself: which run or model it is, and which plugin opens it."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ragdistill import plugins
from ragdistill.errors import UserError, nearest
from ragdistill.rag.serving import (
    Embedder,
    Generator,
    Part,
    Reference,
    Reranker,
    Rewriter,
    Role,
    Serving,
)
from ragdistill.rag.stack import Slot, Stack, options
from ragdistill.run import read_manifest

STUDENT, EXPORTS = "student", "export"
Announced = Mapping[Role, list[Serving]]


@dataclass(frozen=True)
class Parts:
    """The parts of a stack, opened; none has loaded anything yet."""

    stack: Stack
    rewriter: Rewriter | None = None
    embedder: Embedder | None = None
    reranker: Reranker | None = None
    generator: Generator | None = None

    def of(self, role: Role) -> Part | None:
        """The part that plays ``role``."""
        found: Part | None = getattr(self, role)
        return found


def open_parts(stack: Stack) -> Parts:
    """Every part of ``stack``.

    Raises:
        UserError: one is not there, unfinished, of another role, or not opened by any plugin.
    """
    known = announced()
    found = {role: _opened(slot, stack, known) for role, slot in stack.slots.items()}
    return Parts(
        stack,
        cast("Rewriter | None", found.get("rewriter")),
        cast("Embedder | None", found.get("embedder")),
        cast("Reranker | None", found.get("reranker")),
        cast("Generator | None", found.get("generator")),
    )


def announced() -> Announced:
    """What the installed plugins open, by role."""
    found: dict[Role, list[Serving]] = {}
    for serving in plugins.announced(plugins.manager(), "ragdistill_serving"):
        found.setdefault(serving.role, []).append(serving)
    return found


def _opened(slot: Slot, stack: Stack, known: Announced) -> Part:
    with told_of(slot.where):
        servings = known.get(slot.role, [])
        schemed = of_scheme(slot, servings)
        if schemed is not None:
            (serving, reference) = (schemed, Reference(slot.settings.model.partition(":")[2]))
        else:
            reference = understand(slot.settings.model, stack.file.parent)
            serving = _chosen(slot, reference, servings)
    asked: Any = options(slot, serving.options)
    with told_of(slot.where):
        return serving.open(reference, asked, stack.device)


def of_scheme(slot: Slot, servings: Iterable[Serving]) -> Serving | None:
    """What opens the part because of what its model begins with."""
    scheme, colon, _ = slot.settings.model.partition(":")
    return next((each for each in servings if colon and each.scheme == scheme), None)


@contextmanager
def told_of(where: str) -> Iterator[None]:
    """Say which part of which stack an error is about."""
    try:
        yield
    except UserError as error:
        raise UserError(error.message, where=where) from error


def _chosen(slot: Slot, reference: Reference, servings: list[Serving]) -> Serving:
    """What opens ``reference``."""
    names = sorted({each.component for each in servings})
    asked = slot.settings.component
    if reference.manifest is not None:
        component = str(reference.manifest.get("component"))
        fitting = [each for each in servings if each.component == component]
        if not fitting:
            raise UserError(
                f"{reference.run} is a run of {component}, which no {slot.role} is made of",
                mend=f"name a run of {' or '.join(names) or 'a plugin that serves one'}",
            )
        return fitting[0]
    if asked is not None and asked not in names:
        raise UserError(
            f"no component {asked!r} opens this part{nearest(asked, names)}",
            mend=f"there are: {', '.join(names) or 'none'}",
        )
    fitting = [each for each in servings if each.models and asked in (None, each.component)]
    if not fitting:
        raise UserError(
            f"no installed plugin opens {reference.text!r} as a {slot.role}",
            mend=f"name a run of {', '.join(names)}" if names else "install one",
        )
    if len(fitting) > 1:
        said = ", ".join(sorted(each.component for each in fitting))
        raise UserError(f"could be opened by {said}", mend="name one of them as its component")
    return fitting[0]


def understand(text: str, beside: Path) -> Reference:
    """What ``text`` names: a folder is looked for beside the stack file first, then where the command
    runs; what is neither is the name of a model.

    Raises:
        UserError: a run that has no such student or export yet.
    """
    for path in (beside / Path(text).expanduser(), Path(text).expanduser()):
        if path.exists():
            return _found(text, path)
        if (run := _run_around(path)) is not None:
            raise _missing(path, run)
    return Reference(text)


def _found(text: str, path: Path) -> Reference:
    if (path / "run.json").is_file():
        return _of_run(text, path / STUDENT, path)
    run = _run_around(path)
    if run is not None:
        return _of_run(text, path, run)
    exported = (path / "ragdistill.json").is_file()
    return Reference(text, path, exported=exported)


def _of_run(text: str, path: Path, run: Path) -> Reference:
    manifest, exported = read_manifest(run), path.parent.name == EXPORTS
    stage = manifest.get("stages", {}).get("export" if exported else "train", {})
    if not path.is_dir() or stage.get("state") != "done":
        raise _missing(path, run)
    return Reference(text, path, run, manifest, exported)


def _run_around(path: Path) -> Path | None:
    """The run that a student or an export would belong to."""
    student = path.parent if path.name == STUDENT else None
    export = path.parent.parent if path.parent.name == EXPORTS else None
    return next((run for run in (student, export) if run and (run / "run.json").is_file()), None)


def _missing(path: Path, run: Path) -> UserError:
    if path.name == STUDENT:
        return UserError(
            f"{run} has not trained its student yet", mend="give the command of the run again"
        )
    exports = sorted(item.name for item in (run / EXPORTS).glob("[!.]*") if item.is_dir())
    return UserError(
        f"{run} has no finished export {path.name!r}{nearest(path.name, exports)}",
        mend=f"there are: {', '.join(exports)}" if exports else "run its export stage",
    )


def relative(path: Path, folder: Path) -> str:
    """``path`` as a stack file in ``folder`` names it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
