"""Aliases: the field's models by their short names, as data that plugins bring.

A plugin's TOML file holds one ``[[model]]`` table for each model, its keys the fields of
:class:`Alias`. TOML has no null: a fact that is not sure is left out, and reads as None, unknown.
"""

import dataclasses
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from ragdistill.errors import UserError, nearest

Kind = Literal["embedder", "cross-encoder", "late-interaction", "causal-lm", "seq2seq"]
MayTrain = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on the package index that carries a model's weights as data.

    ``requirement`` pins the version (``name==1.2``), ``sha256`` the file. The model is the folder
    ``folder`` inside, or the single GGUF file ``file``: exactly one of the two.
    """

    requirement: str
    sha256: str
    folder: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", self.requirement):
            raise ValueError(f"wheel.requirement {self.requirement!r} must be NAME==VERSION")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("wheel.sha256 must be 64 lower-case hexadecimal digits")
        if (self.folder is None) == (self.file is None):
            raise ValueError("wheel needs exactly one of folder and file")


@dataclass(frozen=True, slots=True)
class Alias:
    """What is known of one model; None is unknown, the empty string a known "none"."""

    name: str
    kind: Kind
    hub: str | None = None
    """Hub id (``owner/name``)."""
    revision: str | None = None
    """The Hub revision to take by default, where the main branch has no safetensors."""
    also: tuple[str, ...] = ()
    """Further names; all names are looked up whatever their case."""
    api: str | None = None
    """Name at an OpenAI-compatible endpoint, for a model whose weights are not published."""
    dimensions: int | None = None
    """Length of its vectors (for late interaction: of one token's vector)."""
    query_prompt: str | None = None
    passage_prompt: str | None = None
    pooling: str | None = None
    """``cls``, ``mean``, ``lasttoken``, or the model's own way of making one vector."""
    parameters: int | None = None
    """About how many weights, all of them counted."""
    licence: str | None = None
    """SPDX id where there is one, else the licence's name."""
    outputs_may_train: MayTrain = "unknown"
    """Whether the licence lets the model's outputs train another model."""
    terms: str | None = None
    """The condition or the doubt behind ``licence`` and ``outputs_may_train``, one sentence."""
    remote_code: bool = False
    """Loads only with the publisher's own Python code, which ragdistill does not run."""
    wheel: Wheel | None = None
    gguf_file: str | None = None
    """The GGUF file to take from the Hub repository, where it holds GGUF weights."""

    def __post_init__(self) -> None:
        for key, allowed in (("kind", get_args(Kind)), ("outputs_may_train", get_args(MayTrain))):
            if (value := getattr(self, key)) not in allowed:
                raise ValueError(f"{key} {value!r} must be one of {', '.join(allowed)}")
        for name in self.names:  # it becomes part of a path, and "@" separates a revision
            if not re.fullmatch(r"[\w.-]+", name):
                raise ValueError(f"the name {name!r} may hold letters, digits, '.', '_', '-' only")
        if self.hub is None and self.api is None and self.wheel is None:
            raise ValueError("it needs one of hub, api and wheel")

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it goes by, its own first."""
        return (self.name, *self.also)


def known() -> dict[str, Alias]:
    """The aliases of all installed plugins, by name."""
    from ragdistill import plugins

    return load_all(map(Path, plugins.announced(plugins.manager(), "ragdistill_models")))


def find(name: str, aliases: Mapping[str, Alias]) -> Alias | None:
    """The alias that goes by ``name`` (whatever the case), or whose Hub id ``name`` is."""
    sought = name.casefold()
    for alias in aliases.values():
        if sought in {known_as.casefold() for known_as in alias.names}:
            return alias
    return next((a for a in aliases.values() if a.hub and a.hub.casefold() == sought), None)


def served(name: str, aliases: Mapping[str, Alias]) -> Alias | None:
    """The alias of what an endpoint calls ``name``."""
    return next((a for a in aliases.values() if a.api == name), None) or find(name, aliases)


def suggestion(name: str, aliases: Mapping[str, Alias]) -> str:
    """``", did you mean 'x'?"`` for the nearest of all names, or ``""``."""
    return nearest(name, [known_as for alias in aliases.values() for known_as in alias.names])


def load_all(paths: Iterable[Path]) -> dict[str, Alias]:
    """Read alias files: name to alias, in the order of the files.

    Raises:
        UserError: a file is missing or no such table, or a name is taken twice (both files named).
    """
    aliases: dict[str, Alias] = {}
    origin: dict[str, Path] = {}
    for path in paths:
        for alias in _load(path):
            for name in {known_as.casefold(): known_as for known_as in alias.names}.values():
                if (first := origin.get(name.casefold())) is not None:
                    raise UserError(
                        f"the model name {name!r} is already taken by {first}",
                        where=path,
                        mend="rename one of them, or uninstall one of the two plugins",
                    )
                origin[name.casefold()] = path
            aliases[alias.name] = alias
    return aliases


def _load(path: Path) -> list[Alias]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read this alias file ({error})", where=path) from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not a TOML file ({error})", where=path) from error
    rows = content.pop("model", [])
    if content or not isinstance(rows, list):
        extra = ", ".join(sorted(content)) or "model"
        raise UserError(
            f"unexpected entry {extra}", where=path, mend="write one [[model]] table per model"
        )
    return [_parse(row, path, number) for number, row in enumerate(rows, start=1)]


def _parse(row: Any, path: Path, number: int) -> Alias:
    label = row.get("name", f"number {number}") if isinstance(row, dict) else f"number {number}"
    try:
        return _build(Alias, row)
    except (TypeError, ValueError) as error:
        raise UserError(f"model {label}: {error}", where=path) from error


_T = TypeVar("_T", Alias, Wheel)
_TYPES: Mapping[str, type] = {
    "dimensions": int, "parameters": int, "remote_code": bool, "also": list, "wheel": dict,
}  # fmt: skip


def _build(target: type[_T], row: Any) -> _T:
    if not isinstance(row, dict):
        raise TypeError("must be a table")
    fields = {field.name: field for field in dataclasses.fields(target)}
    for key, value in row.items():
        if key not in fields:
            raise ValueError(f"unknown key {key!r}{nearest(key, fields)}")
        wanted = _TYPES.get(key, str)
        if type(value) is not wanted:
            raise TypeError(f"{key} must be of type {wanted.__name__}, not {type(value).__name__}")
    required = [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in row]
    if required:
        raise ValueError(f"lacks {', '.join(required)}")
    values = dict(row)
    if "also" in values:
        values["also"] = tuple(str(name) for name in values["also"])
    if "wheel" in values:
        values["wheel"] = _build(Wheel, values["wheel"])
    return target(**values)
