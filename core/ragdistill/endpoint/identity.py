"""Whether an endpoint is still the one whose answers are stored.

Nobody outside sees its weights, and what answers behind a name can change. So the first time it is
asked about a few fixed texts, its *probes*, and what it says is kept beside the spaces of the store;
whenever it is to be asked again, it has to say of them what it said. One that does not is refused, or,
where the change is accepted, begins another *generation*, whose answers have spaces of their own.

::

    STORE/.endpoints/<id>/generation-0001.safetensors   ``vectors``, ``scores`` or ``code_points``; url, model,
                                                        texts
    STORE/.endpoints/<id>/spend.sqlite                  what was asked of it, and billed
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ragdistill.endpoint.address import Address
from ragdistill.errors import UserError
from ragdistill.files import atomic_path, sha256_json, writing
from ragdistill.signals.places import Place

_FILE = re.compile(r"generation-(\d{4,})\.safetensors")

Answers = NDArray[np.float32]
Difference = Callable[[Answers, Answers], str | None]
"""What was said of the probes and what is said now, to how they differ: None where one model may have
said both."""


@dataclass(frozen=True, slots=True)
class Probes:
    """What an endpoint is known by."""

    texts: tuple[str, ...]
    """Of several kinds: a model that says of all of them what it said is the same for all we can see."""
    difference: Difference
    tensor: str
    """What its answers are called in the store: ``vectors``, ``scores`` or ``code_points``."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The endpoint between two changes."""

    number: int
    """From 1."""
    texts: tuple[str, ...]
    answers: Answers


class Records:
    """What a store remembers of one endpoint."""

    def __init__(self, place: Place, address: Address, tensor: str) -> None:
        """``tensor``: see ``Probes``."""
        self._place = place
        self._address = address
        self._tensor = tensor
        self._folder = f".endpoints/{digest(address, 1)[:32]}"

    @property
    def spend(self) -> Path:
        """Where is kept what was billed; of a remote store on this machine."""
        return self._place.work / self._folder / "spend.sqlite"

    def generations(self) -> list[Generation]:
        """All that were ever met, the latest first.

        Raises:
            UserError: a file is damaged.
        """
        found = [
            Generation(int(match[1]), *self._read(name))
            for name in self._place.names(self._folder)
            if (match := _FILE.fullmatch(name))
        ]
        return sorted(found, key=lambda item: -item.number)

    def _read(self, name: str) -> tuple[tuple[str, ...], Answers]:
        path = self._place.fetch(f"{self._folder}/{name}")
        try:
            with safe_open(str(path), framework="numpy") as content:
                texts = tuple(json.loads(content.metadata()["texts"]))
                answers: Answers = content.get_tensor(self._tensor)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"this record of an endpoint is damaged ({error})",
                where=path,
                mend="restore it from a copy; without it nobody knows whether the endpoint has changed",
            ) from error
        return texts, answers

    def begin(self, number: int, texts: Sequence[str], answers: Answers) -> Generation:
        """Keep ``answers`` about ``texts`` as those that a new generation is known by.

        Raises:
            UserError: the store cannot be written.
        """
        name = f"{self._folder}/generation-{number:04d}.safetensors"
        told = {"url": self._address.url, "model": self._address.model, "texts": json.dumps(texts)}
        path = self._place.work / name
        with writing(path), atomic_path(path) as temporary:
            save_file({self._tensor: answers}, str(temporary), metadata=told)
        self._place.publish(name)
        return Generation(number, tuple(texts), answers)


class Identity:
    """Which generation of an endpoint answers."""

    def __init__(
        self, address: Address, records: Records, probes: Probes, *, accept_change: bool
    ) -> None:
        self._address = address
        self._records = records
        self._probes = probes
        self._accept_change = accept_change
        self.met = False
        self.generation = next(iter(records.generations()), None)
        """The latest, until it was met; None of one that was never asked."""

    @property
    def digest(self) -> str:
        """Of where it is and what it is called there, for nobody sees its weights."""
        return digest(self._address, self.generation.number if self.generation else 1)

    def meet(self, ask: Callable[[tuple[str, ...]], Answers]) -> None:
        """``ask`` it about its probes, and find out which generation it is.

        Raises:
            UserError: none that is known, and a change is not accepted; ``ask``'s.
        """
        known = self._records.generations()
        texts = known[0].texts if known else self._probes.texts
        answers = ask(texts)
        found = next((item for item in known if self._said(item, texts, answers)), None)
        if found is None and known and not self._accept_change:
            raise self._changed(self._probes.difference(known[0].answers, answers))
        if found is None:
            found = self._records.begin(known[0].number + 1 if known else 1, texts, answers)
        self.generation, self.met = found, True

    def _said(self, known: Generation, texts: tuple[str, ...], answers: Answers) -> bool:
        return known.texts == texts and self._probes.difference(known.answers, answers) is None

    def _changed(self, how: str | None) -> UserError:
        return UserError(
            f"{self._address.model!r} is not the model that the store knows from there: {how}",
            where=self._address.url,
            mend="bring the former back, or accept that it has changed with --accept-teacher-change "
            "and another --out (the old signals stay, and are never mixed in)",
        )


def digest(address: Address, generation: int) -> str:
    """What stands for the weights of an endpoint: where it is, what it is called there, and how often
    a change of it was accepted."""
    known = {"endpoint": address.url, "model": address.model, "generation": generation}
    if address.service.task:
        known["task"] = address.service.task
    return sha256_json(known)
