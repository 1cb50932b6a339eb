"""Several teachers as one: where they place texts together is what the student learns.

A text's vector is that of each teacher, of length 1 and times the root of its weight, one behind the
other. Cosines of such vectors are the weighted mean of the teachers' cosines, so concatenation and
averaged similarities are one thing here. Each teacher is asked by itself, and what it says is stored
as its own: a run with it alone finds it there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ragdistill.encoder import Encoder, Prompts
from ragdistill.errors import UserError
from ragdistill.files import sha256_json
from ragdistill.metrics.retrieval import Vectors
from ragdistill.signals.codecs import Values
from ragdistill_embedder.teacher import Asked, Source


class Readable(Protocol):
    """What stored vectors are read from: a space, or several as one."""

    def get(self, keys: Sequence[bytes]) -> Values:
        """Vectors ``[n, d]`` of texts by their keys."""


class Joined:
    """The vectors of several teachers, read as one."""

    def __init__(self, parts: Sequence[Readable], weights: Sequence[float]) -> None:
        """``weights``: of the teachers' cosines, one for each of ``parts``; they sum to 1."""
        self._parts, self._weights = parts, weights

    def get(self, keys: Sequence[bytes]) -> Vectors:
        """Unit vectors ``[n, d]``, where d is the sum of the teachers' dimensions."""
        scaled = [
            unit(part.get(keys)) * np.float32(weight**0.5)
            for part, weight in zip(self._parts, self._weights, strict=True)
        ]
        return np.concatenate(scaled, axis=1)


def unit(vectors: Values) -> Vectors:
    """``vectors`` [n, d] as float32 of length 1; a text that says nothing at all keeps length 0."""
    found = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    made: Vectors = found / np.maximum(norms, np.finfo(np.float32).tiny)
    return made


class Panel:
    """Several teachers that teach together; see ``Teacher``. The first lends the student its prompts
    and its tokenizer for counting."""

    model = None
    encoder = None

    def __init__(self, sources: Sequence[Source]) -> None:
        """``sources``: two teachers or more.

        Raises:
            UserError: two of them are one.
        """
        self.sources = tuple(sources)
        seen: dict[str, str] = {}
        for source in sources:
            if source.digest in seen:
                raise UserError(
                    f"{source.name} and {seen[source.digest]} are one teacher",
                    where="--teacher",
                    mend="name each once; --teacher-weights says how much each counts",
                )
            seen[source.digest] = source.name

    @property
    def name(self) -> str:
        """See ``Teacher``."""
        return " + ".join(source.name for source in self.sources)

    @property
    def digest(self) -> str:
        """Of all digests, in their order."""
        return sha256_json([source.digest for source in self.sources])

    @property
    def asked(self) -> tuple[Asked, ...]:
        """See ``Teacher``."""
        each = [source.asked for source in self.sources]
        return tuple(one for part in each for one in part) if all(each) else ()

    @property
    def reader(self) -> Encoder:
        """See ``Teacher``."""
        return self.sources[0].reader

    @property
    def prompts(self) -> Prompts:
        """See ``Teacher``."""
        return self.sources[0].prompts

    @property
    def dimensions(self) -> int:
        """See ``Teacher``: those of all, or 0 while those of one are not known."""
        each = [source.dimensions for source in self.sources]
        return sum(each) if all(each) else 0

    @property
    def max_length(self) -> int | None:
        """See ``Teacher``: of the one that reads furthest."""
        each = [source.max_length for source in self.sources]
        return None if None in each else max(length for length in each if length)

    def describe(self) -> dict[str, Any]:
        """See ``Teacher``."""
        members = [source.describe() for source in self.sources]
        allowed = {member["outputs_may_train"] for member in members}
        return {
            "name": self.name,
            "digest": self.digest,
            "revision": None,
            "parameters": _total(members, "parameters"),
            "dimensions": self.dimensions,
            "size_mb": _total(members, "size_mb"),
            "licence": _all_of(members, "licence"),
            "outputs_may_train": next(
                (word for word in ("no", "unknown") if word in allowed), "yes"
            ),
            "terms": _all_of(members, "terms"),
        }


def _total(members: Sequence[Mapping[str, Any]], key: str) -> Any:
    """The sum; None where one is not known."""
    each = [member[key] for member in members]
    return None if None in each else round(sum(each), 3)


def _all_of(members: Sequence[Mapping[str, Any]], key: str) -> str | None:
    """What the members say, each once; None where none says anything."""
    said = dict.fromkeys(member[key] for member in members if member[key])
    return "; ".join(said) or None
