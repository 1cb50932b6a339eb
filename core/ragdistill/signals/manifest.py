"""``space.json``: what a space of the store holds, for people and for the check of names."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ragdistill.errors import UserError
from ragdistill.signals.fingerprint import Fingerprint

FILE = "space.json"
SCHEMA_VERSION = 1
_ID_DIGITS = 32


def space_id(fingerprint: Fingerprint) -> str:
    """Name of a space's folder: the first 32 hexadecimal digits of its fingerprint's id."""
    return fingerprint.id[:_ID_DIGITS]


def space_path(fingerprint: Fingerprint) -> str:
    """Folder of a space in its store: ``kind/id``."""
    return f"{fingerprint.kind}/{space_id(fingerprint)}"


@dataclass(frozen=True)
class Manifest:
    """The content of one ``space.json``."""

    fingerprint: Fingerprint
    teachers: tuple[str, ...]
    """The names under which people have called this teacher, sorted."""
    codec: str

    def dumps(self) -> str:
        """As JSON text."""
        content = {
            "schema": SCHEMA_VERSION,
            "id": self.fingerprint.id,
            "teachers": list(self.teachers),
            "codec": self.codec,
            "fingerprint": self.fingerprint.as_json(),
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, content: bytes, where: str) -> "Manifest":
        """Read a ``space.json`` that lies at ``where``.

        Raises:
            UserError: it is damaged, or of a newer version than this code knows.
        """
        try:
            value = json.loads(content)
            version = value["schema"]
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise UserError(
                    f"written by a newer ragdistill (signal store version {version}, this one"
                    f" reads up to {SCHEMA_VERSION})",
                    where=where,
                    mend="upgrade ragdistill, or choose another --store",
                )
            if version != SCHEMA_VERSION:
                raise ValueError(f"version {version!r} is unknown")
            return cls._checked(value)
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"damaged ({error})" if str(error) else "damaged",
                where=where,
                mend="restore it from a copy, or remove the space:"
                f" ragdistill signals prune --space {where.split('/')[-2]}",
            ) from error

    @classmethod
    def _checked(cls, value: dict[str, Any]) -> "Manifest":
        fingerprint = Fingerprint.from_json(value["fingerprint"])
        teachers = value["teachers"]
        if not isinstance(teachers, list) or not all(isinstance(name, str) for name in teachers):
            raise TypeError("teachers is no list of names")
        if fingerprint.id != value["id"]:
            raise ValueError("its fingerprint does not give its id")
        return cls(fingerprint, tuple(teachers), str(value["codec"]))

    def called(self, teacher: str) -> "Manifest":
        """The same with one more name of the teacher."""
        names = tuple(sorted({*self.teachers, teacher}))
        return Manifest(self.fingerprint, names, self.codec)


def same_model(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether two fingerprints are of the same weights and the same tokenizer."""
    return (one.weights, one.tokenizer) == (other.weights, other.tokenizer)


def refuse_impostor(
    known: Iterable[Manifest], asked: Fingerprint, teacher: str, where: str
) -> None:
    """Refuse another model under a name that the store knows.

    A model that the store already knows under that name, because its change was accepted once, is
    let through.

    Raises:
        UserError: shows both fingerprints and the fields in which they differ.
    """
    named = [item.fingerprint for item in known if teacher in item.teachers]
    if not named or any(same_model(item, asked) for item in named):
        return
    closest = min(named, key=lambda item: len(item.differences(asked)))
    raise UserError(
        f"the store knows teacher {teacher!r} as {closest.describe()}, but this one is"
        f" {asked.describe()}: they differ in {', '.join(closest.differences(asked))}",
        where=where,
        mend="give the right model, or choose another --store, or accept that the teacher has"
        " changed with --accept-teacher-change (the old signals stay, and are never mixed in)",
    )
