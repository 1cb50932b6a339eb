"""What a student's folder says of how it rewrites, beside its weights: ``rewriter.json``."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from ragdistill.errors import UserError
from ragdistill.files import write_json

Combine = Literal["append", "rrf", "append-rrf"]
"""How expansions are searched with; see ``ways``."""
FILE = "rewriter.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """How a term selector is used."""

    window: int
    """Tokens that it reads."""
    threshold: float = 0.5
    """The chance above which a word is added."""
    most: int = 24
    """Words that are added, at most."""
    skip: float = 0.0
    """The chance that a turn lacks something, up to which it is left alone."""
    task: str = "rewrite"
    student: str = "terms"

    def with_threshold(self, threshold: float) -> "Settings":
        """The same with another threshold."""
        return replace(self, threshold=threshold)

    def with_skip(self, skip: float) -> "Settings":
        """The same with another chance up to which turns are left alone."""
        return replace(self, skip=skip)

    def write(self, folder: Path) -> None:
        """Write them into ``folder``."""
        write_json(folder / FILE, {"schema": SCHEMA, **asdict(self)})


@dataclass(frozen=True, slots=True)
class SequenceSettings:
    """How a student that writes is used."""

    window: int
    """Tokens of a query that it reads."""
    new_tokens: int
    """Tokens that it writes, at most."""
    student: Literal["seq2seq", "causal"] = "seq2seq"
    combine: Combine = "append"
    """How its expansions are searched with."""
    original_weight: float = 0.5
    """Weight of the query's own words, where others are appended."""
    task: str = "expand"

    def write(self, folder: Path) -> None:
        """Write them into ``folder``."""
        write_json(folder / FILE, {"schema": SCHEMA, **asdict(self)})


Kind = TypeVar("Kind", Settings, SequenceSettings)


def task_of(folder: Path) -> str:
    """``rewrite`` or ``expand``, as the settings in ``folder`` say; ``rewrite`` where they say nothing that can
    be read, which reading them says of."""
    try:
        return str(json.loads((folder / FILE).read_text(encoding="utf-8"))["task"])
    except (OSError, ValueError, KeyError, TypeError):
        return "rewrite"


def read(folder: Path) -> Settings:
    """The settings of a term selector in ``folder``.

    Raises:
        UserError: there are none, they are damaged, or a newer ragdistill wrote them.
    """
    return _read(folder, Settings)


def read_sequence(folder: Path) -> SequenceSettings:
    """Those of a student that writes; see :func:`read`."""
    return _read(folder, SequenceSettings)


def _read(folder: Path, kind: type[Kind]) -> Kind:
    path = folder / FILE
    mend = "name a folder that ragdistill query-rewriter wrote, or write it again"
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = values.pop("schema")
        if schema == SCHEMA:
            return _checked(kind(**values))
    except FileNotFoundError:
        raise UserError("not a query rewriter", where=path, mend=mend) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"damaged ({error})", where=path, mend=mend) from error
    raise UserError(
        f"schema {schema}, this ragdistill reads {SCHEMA}", where=path, mend="upgrade ragdistill"
    )


def _checked(settings: Kind) -> Kind:
    if isinstance(settings, Settings):
        chances = (settings.threshold, settings.skip)
        right = all(0 <= chance <= 1 for chance in chances) and settings.most >= 0
    else:
        right = settings.new_tokens > 0 and 0 < settings.original_weight < 1
        right = right and settings.student in ("seq2seq", "causal")
        right = right and settings.combine in get_args(Combine)
    if not (right and settings.window > 0):
        raise ValueError("a value is out of its range")
    return settings
