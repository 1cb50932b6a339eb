"""What a model was when it was fetched, so that a later change of its files is seen."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ragdistill.errors import UserError
from ragdistill.files import sha256_file, write_json
from ragdistill.models.digest import Digests, digests
from ragdistill.models.folder import classify

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Record:
    """The identity of a model at the time of its fetching."""

    name: str
    source: str
    revision: str
    digests: Digests
    files: dict[str, str]
    """Each file's SHA-256, by its name relative to the model folder."""

    def changed(self, model: Path) -> list[str]:
        """The recorded files of ``model`` that are gone or differ now; reads them all."""
        root = _root(model)
        return [
            name
            for name, digest in sorted(self.files.items())
            if not (root / name).is_file() or sha256_file(root / name) != digest
        ]


def write(path: Path, model: Path, *, name: str, source: str, revision: str) -> None:
    """Note in the file ``path`` what ``model`` (a folder or a GGUF file) now is."""
    root = _root(model)
    files = {file.relative_to(root).as_posix(): sha256_file(file) for file in _members(model)}
    made = Record(name, source, revision, digests(model), files)
    write_json(path, {"schema": SCHEMA, **asdict(made)})


def read(path: Path) -> Record | None:
    """The record in the file ``path``; None where there is none.

    Raises:
        UserError: it is damaged, or of a newer ragdistill.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("schema") > SCHEMA:
            raise UserError("written by a newer ragdistill", where=path, mend="upgrade ragdistill")
        made = Record(**{**content, "digests": Digests(**content["digests"])})
        made.files.items()
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(
            "this record of a fetched model is damaged",
            where=path,
            mend="remove it, and the model is fetched again",
        ) from error
    return made


def _root(model: Path) -> Path:
    return model if model.is_dir() else model.parent


def _members(model: Path) -> Iterator[Path]:
    if model.is_file():
        yield model
        return
    files = classify(model)
    yield from (*files.weights, *files.pickles, *files.configs, *files.tokenizer)
