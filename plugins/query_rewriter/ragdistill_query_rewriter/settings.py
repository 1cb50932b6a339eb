"""What a student's folder says of how it rewrites, beside its weights: ``rewriter.json``."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ragdistill.errors import UserError
from ragdistill.files import write_json

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


def read(folder: Path) -> Settings:
    """The settings in ``folder``.

    Raises:
        UserError: there are none, they are damaged, or a newer ragdistill wrote them.
    """
    path = folder / FILE
    mend = "name a folder that ragdistill query-rewriter wrote, or write it again"
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = values.pop("schema")
        if schema == SCHEMA:
            return _checked(Settings(**values))
    except FileNotFoundError:
        raise UserError("not a query rewriter", where=path, mend=mend) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"damaged ({error})", where=path, mend=mend) from error
    raise UserError(
        f"schema {schema}, this ragdistill reads {SCHEMA}", where=path, mend="upgrade ragdistill"
    )


def _checked(settings: Settings) -> Settings:
    chances = (settings.threshold, settings.skip)
    known = all(0 <= chance <= 1 for chance in chances)
    if not (known and settings.window > 0 and settings.most >= 0):
        raise ValueError("a number is out of its range")
    return settings
