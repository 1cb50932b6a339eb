"""What makes two teacher signals the same: the teacher's content and the text's content."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from ragdistill.files import sha256_json

KEY_BYTES = 16
"""Bytes of a text's key: half a SHA-256, so 2**64 texts before a collision is to be expected."""

_SHOWN = 12

Parameter = str | int | float | bool | None


def text_key(text: str) -> bytes:
    """The key of an input text: the first 16 bytes of the SHA-256 of its UTF-8 form.

    A lone surrogate, which UTF-8 cannot write, is kept as its three bytes, so every ``str`` has a
    key.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES]


def pair_key(query: str, document: str) -> bytes:
    """The key of a query with a document, as :func:`text_key` makes keys: of both, and of where the one
    ends."""
    return text_key(f"{len(query)} {query}{document}")


@dataclass(frozen=True)
class Fingerprint:
    """Everything that changes what a teacher says about a text, and nothing else.

    The model's *name* is not part of it: two checkpoints under one name have two fingerprints, one
    checkpoint under two names has one.
    """

    kind: str
    """What is stored: ``vector``, ``windows``, ``score``, ``text`` or ``logits``. It chooses the codec."""
    weights: str
    """Digest of the teacher's weights and of the configuration that changes its function."""
    tokenizer: str
    """Digest of the tokenizer's files."""
    prompt: str = ""
    """The prompt or template put around each text, in full."""
    pooling: str = ""
    max_length: int | None = None
    """Tokens after which a text is cut."""
    dtype: str = "float16"
    """How the signal is kept on disk: ``float16`` or ``float32``, ``utf8`` of text, and ``packed`` of
    logits."""
    dimensions: int | None = None
    """Components of each vector; of logits the ids of the vocabulary."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict, hash=False)
    """Whatever else changes the signal: normalisation, precision of computation, ..."""

    @cached_property
    def id(self) -> str:
        """SHA-256 (64 hexadecimal digits) of the canonical JSON of all fields."""
        return sha256_json(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {"parameters": dict(self.parameters)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Fingerprint":
        """The inverse of ``as_json``.

        Raises:
            TypeError: a field is unknown or missing.
        """
        return cls(**value)

    def describe(self) -> str:
        """One line for people: every field, digests cut to 12 digits."""
        shown = {name: value for name, value in self.as_json().items() if name != "parameters"}
        shown |= {"weights": self.weights[:_SHOWN], "tokenizer": self.tokenizer[:_SHOWN]}
        shown |= dict(sorted(self.parameters.items()))
        told = ", ".join(f"{name}={value!r}" for name, value in shown.items() if value is not None)
        return f"{self.id[:_SHOWN]} ({told})"

    def differences(self, other: "Fingerprint") -> list[str]:
        """Names of the fields in which two fingerprints differ."""
        mine, theirs = self.as_json(), other.as_json()
        return [name for name in mine if mine[name] != theirs[name]]
