"""YAML files that people write: read, and checked against a type, each fault in one line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ragdistill.errors import UserError, nearest

Checked = TypeVar("Checked")


def read_mapping(file: Path, of: str = "options", example: str = "seed: 1") -> dict[Any, Any]:
    """The keys and values of a YAML file.

    Args:
        of: what stands in such a file, for the faults; ``example`` is a line of one.

    Raises:
        UserError: missing or unreadable file, no YAML, no mapping.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=file, mend=f"name a YAML file of {of}"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot be read: not UTF-8 (at byte {error.start})",
            where=file,
            mend="convert it to UTF-8",
        ) from error
    return parse_mapping(text, file, of, example)


def parse_mapping(text: str, where: str | Path, of: str, example: str) -> dict[Any, Any]:
    """:func:`read_mapping` of what was read already."""
    import yaml

    try:
        loaded = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # 2026-99-99 is a ValueError
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"is not YAML: {problem}", where=f"{where}{line}") from error
    if not isinstance(loaded, dict):
        raise UserError(
            f"holds no mapping of {of} to values",
            where=where,
            mend=f"write one a line, as {example}",
        )
    return loaded


def checked(
    cls: type[Checked],
    values: Mapping[Any, Any],
    where: str | Path,
    typed: Mapping[str, str] | None = None,
) -> Checked:
    """``values`` as an instance of ``cls``, a dataclass that pydantic checks.

    Args:
        typed: the option by which a key was given, where it was not in ``where``.

    Raises:
        UserError: the first fault, with its place within ``where``; an unknown key with the nearest.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        fault = error.errors()[0]
        place = _place(values, fault["loc"])
        if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            known = getattr(cls, "__annotations__", {}) if "." not in place else {}
            hint = nearest(place, known)
            raise UserError(f"unknown key {place!r}{hint}", where=where) from error
        message = fault["msg"][:1].lower() + fault["msg"][1:]
        missing = fault["type"].startswith("missing")
        shown = "" if missing else f"{fault['input']!r} is not usable: "
        option = (typed or {}).get(place)
        raise UserError(f"{shown}{message}", where=option or f"{where}: {place}") from error


def _place(values: object, loc: tuple[int | str, ...]) -> str:
    """The keys of a fault's place; pydantic names the members of a union among them."""
    keys = []
    for number, part in enumerate(loc):
        if isinstance(values, Mapping) and part in values:
            values = values[part]
            keys.append(str(part))
        elif number == len(loc) - 1 and isinstance(values, Mapping):
            keys.append(str(part))  # a key that is missing
    return ".".join(keys)
