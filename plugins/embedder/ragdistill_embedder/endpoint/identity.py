"""Whether an endpoint is still the one whose answers are stored.

Nobody outside sees its weights, and what answers behind a name can change. So the first time it is
asked about a few fixed texts, and their vectors are kept beside the spaces of the store; whenever it
is to be asked again, it has to place those texts as it did. One that does not is refused, or, where
the change is accepted, begins another *generation*, whose vectors have spaces of their own.

::

    STORE/.endpoints/<id>/generation-0001.safetensors   ``vectors`` [texts, d]; url, model, texts
    STORE/.endpoints/<id>/spend.sqlite                  what was asked of it, and billed
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ragdistill.errors import UserError
from ragdistill.files import atomic_path, sha256_json, writing
from ragdistill.signals.places import Place
from ragdistill_embedder.endpoint.address import Address

PROBES = (
    "How do I read a file line by line?",
    "Der Vertrag verlängert sich um ein Jahr.",
    "sum(values) / len(values)",
)
"""Texts of several kinds: a model that places all of them as before is the same for all we can see."""
LEAST_COSINE = 0.999
"""Below it a text has moved. Servers that batch in half precision answer within about 1e-4; models
that were trained further, or quantised to four bits, differ by more than 1e-3."""
_FILE = re.compile(r"generation-(\d{4,})\.safetensors")

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Generation:
    """The endpoint between two changes."""

    number: int
    """From 1."""
    texts: tuple[str, ...]
    vectors: Vectors
    """``[texts, d]``"""

    @property
    def dimensions(self) -> int:
        """Length of its vectors."""
        return int(self.vectors.shape[1])

    def cosine(self, vectors: Vectors) -> float | None:
        """The smallest cosine of a text's vector with that in ``vectors``; None where dimensions
        differ."""
        if vectors.shape != self.vectors.shape:
            return None
        mine, theirs = (
            item / np.linalg.norm(item, axis=1, keepdims=True) for item in (self.vectors, vectors)
        )
        return float((mine * theirs).sum(axis=1).min())

    def gave(self, texts: Sequence[str], vectors: Vectors) -> bool:
        """Whether ``vectors`` of ``texts`` may be its own."""
        cosine = self.cosine(vectors) if self.texts == tuple(texts) else None
        return cosine is not None and cosine >= LEAST_COSINE


class Records:
    """What a store remembers of one endpoint."""

    def __init__(self, place: Place, address: Address) -> None:
        self._place = place
        self._address = address
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

    def _read(self, name: str) -> tuple[tuple[str, ...], Vectors]:
        path = self._place.fetch(f"{self._folder}/{name}")
        try:
            with safe_open(str(path), framework="numpy") as content:
                texts = tuple(json.loads(content.metadata()["texts"]))
                vectors: Vectors = content.get_tensor("vectors")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"this record of an endpoint is damaged ({error})",
                where=path,
                mend="restore it from a copy; without it nobody knows whether the endpoint has changed",
            ) from error
        return texts, vectors

    def begin(self, number: int, texts: Sequence[str], vectors: Vectors) -> Generation:
        """Keep ``vectors`` of ``texts`` as those that a new generation is known by.

        Raises:
            UserError: the store cannot be written.
        """
        name = f"{self._folder}/generation-{number:04d}.safetensors"
        told = {"url": self._address.url, "model": self._address.model, "texts": json.dumps(texts)}
        path = self._place.work / name
        with writing(path), atomic_path(path) as temporary:
            save_file({"vectors": vectors}, str(temporary), metadata=told)
        self._place.publish(name)
        return Generation(number, tuple(texts), vectors)


def digest(address: Address, generation: int) -> str:
    """What stands for the weights of an endpoint: where it is, what it is called there, and how often
    a change of it was accepted."""
    known = {"endpoint": address.url, "model": address.model, "generation": generation}
    return sha256_json(known)
