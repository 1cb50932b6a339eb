"""The parts of a stack as they are to be distilled: what the user says of them, which component teaches each,
and the stack that comes of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragdistill.errors import UserError, nearest
from ragdistill.mappings import read_mapping
from ragdistill.rag.init import as_yaml
from ragdistill.rag.parts import EXPORTS, announced, of_scheme, relative, understand
from ragdistill.rag.retrieval import KINDS
from ragdistill.rag.serving import ROLES, Role, Serving
from ragdistill.rag.stack import Slot, Stack

ORDER: tuple[Role, ...] = ("embedder", "reranker", "rewriter", "generator")
"""Each part after those that it builds on."""
COMPONENT = "component"
SET = "--set"
Given = Mapping[Role, Mapping[str, Any]]
"""What the user says of the student of each part."""


def given(file: Path | None, sets: Sequence[str]) -> Given:
    """What stands in ``file`` by part and option, and over it the ``sets``, each ``PART.OPTION=VALUE``.

    Raises:
        UserError: unreadable file, unknown part, or no such form.
    """
    found: dict[Role, dict[str, Any]] = {role: {} for role in ROLES}
    for part, options in (read_mapping(file, "parts", _EXAMPLE) if file else {}).items():
        role = role_of(str(part), str(file))
        if not isinstance(options, dict):
            raise UserError(
                "holds no mapping of options to values",
                where=f"{file}: {part}",
                mend=f"write {_EXAMPLE}",
            )
        found[role] |= {_key(key): value for key, value in options.items()}
    for text in sets:
        name, equals, value = text.partition("=")
        part, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise UserError(
                f"{text!r} is not PART.OPTION=VALUE", where=SET, mend="as embedder.student_layers=3"
            )
        found[role_of(part, SET)][_key(key)] = value.strip()
    return found


_EXAMPLE = "embedder: {student_layers: 3}"


def _key(key: object) -> str:
    return str(key).replace("-", "_")


def role_of(part: str, where: str) -> Role:
    """The role called ``part``.

    Raises:
        UserError: there is none.
    """
    for role in ROLES:
        if role == part:
            return role
    raise UserError(
        f"no part {part!r}{nearest(part, ROLES)}",
        where=where,
        mend=f"there are: {', '.join(ROLES)}",
    )


def component_of(slot: Slot, options: Mapping[str, Any]) -> Serving:
    """What teaches a student of the part: the component that is named for it, or else the one that knows
    such models.

    Raises:
        UserError: no installed plugin does, or several do.
    """
    servings = announced().get(slot.role, [])
    teaching = [each for each in servings if each.distils]
    names = sorted({each.component for each in teaching})
    asked = options.get(COMPONENT) or slot.settings.component
    schemed = of_scheme(slot, servings)
    if asked is not None:
        found = [each for each in teaching if each.component == asked]
    elif schemed is not None:
        found = [each for each in teaching if each.component == schemed.component]
    else:
        found = [each for each in teaching if each.models]
    if not found:
        what = f"component {str(asked)!r}" if asked is not None else "installed plugin"
        raise UserError(
            f"no {what} distils it{nearest(str(asked), names) if asked is not None else ''}",
            where=slot.where,
            mend=f"keep the teacher's: --keep {slot.role}; or name one that does with {SET} "
            f"{slot.role}.{COMPONENT}=NAME ({', '.join(names) or 'none is installed'})",
        )
    if len({each.component for each in found}) > 1:
        raise UserError(
            f"could be distilled by {', '.join(sorted(each.component for each in found))}",
            where=slot.where,
            mend=f"name one of them: {SET} {slot.role}.{COMPONENT}=NAME",
        )
    return found[0]


def teacher_of(slot: Slot, stack: Stack) -> str:
    """The model of a part, as ``--teacher`` takes it."""
    model = slot.settings.model
    if of_scheme(slot, announced().get(slot.role, [])) is not None:
        return model
    path = understand(model, stack.file.parent).path
    return model if path is None else str(path)


def write(
    file: Path, stack: Stack, students: Mapping[Role, Path], *, without: Sequence[Role] = ()
) -> None:
    """Leave in ``file`` what ``stack`` says, with ``students`` (runs, or exports of theirs) in the place of
    their teachers, and no part that is to be ``without``."""
    from ragdistill.files import write_text

    said = stack.as_json()
    told: dict[str, Any] = {}
    if stack.name != stack.file.stem and not students:
        told["name"] = stack.name
    if stack.device != "auto":
        told["device"] = stack.device
    for role in (role for role in ROLES if role in stack.slots and role not in without):
        made = students.get(role)
        told[role] = (
            _kept(stack.slots[role], stack, file.parent, said[role])
            if made is None
            else _student(stack.slots[role], made, file.parent, said[role])
        )
    told |= {key: said[key] for key in ("bm25", "fusion") if key in said}
    write_text(file, as_yaml(told))


def _kept(slot: Slot, stack: Stack, out: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """The part as it is, named from the folder ``out``."""
    told = {key: value for key, value in said.items() if value is not None}
    told["model"] = _moved(teacher_of(slot, stack), out)
    if "index" in told and told["index"] not in KINDS:
        beside = stack.file.parent / Path(told["index"]).expanduser()
        told["index"] = _moved(str(beside if beside.exists() else told["index"]), out)
    return told


def _moved(name: str, out: Path) -> str:
    path = Path(name).expanduser()
    return relative(path, out) if path.exists() else name


def _student(slot: Slot, made: Path, out: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """The student in the part's place: it brings what the teacher had to be told."""
    told = {key: said[key] for key in said if key not in slot.options and said[key] is not None}
    told.pop(COMPONENT, None)
    told["model"] = relative(made, out)
    if "fuse" in told:  # it has learnt the fused order
        told["fuse"] = "none"
    if "index" in told and told["index"] not in KINDS:
        told["index"] = "flat"
    return told


def served(run: Path) -> Path:
    """What of a finished run serves: the fastest export that passed its gate, else the student."""
    from ragdistill.report.exports import fastest
    from ragdistill.report.schema import read

    export = fastest(read(run))
    return run if export is None else run / EXPORTS / export
