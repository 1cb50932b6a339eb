"""What an endpoint answers, checked before anybody believes it.

The form is that of https://platform.openai.com/docs/api-reference/embeddings, as far as the servers
that follow it agree: ``data`` with an ``index`` and an ``embedding`` each, ``usage`` where they count.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

_MOST_TOKENS = 1_000_000_000
"""No request has more; a larger figure is no count."""


class Unusable(Exception):
    """An answer that cannot be used; another try may bring a better one."""

    def __init__(self, reason: str, tokens: int | None = None) -> None:
        super().__init__(reason)
        self.tokens = tokens
        """What it says to have billed for it all the same."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    vectors: Vectors
    """``[b, d]``, finite and none of them zero, in the order of the texts."""
    tokens: int | None
    """What the endpoint says to have billed; None where it does not say."""


def parse(body: bytes, texts: int) -> Reply:
    """The vectors of as many ``texts``, put in order by ``index``.

    Raises:
        Unusable: no JSON, or not one finite vector of one length for each text.
    """
    try:
        content = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"it is not whole JSON ({len(body):,} bytes)") from error
    if not isinstance(content, dict):
        raise Unusable("it is no JSON object")
    tokens = _billed(content.get("usage"))
    try:
        return Reply(_vectors(content, texts), tokens)
    except Unusable as error:
        raise Unusable(str(error), tokens) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _billed(usage: Any) -> int | None:
    """``usage.total_tokens``; some servers always say 0, which no text costs."""
    if not isinstance(usage, Mapping):
        return None
    count = usage.get("total_tokens", usage.get("prompt_tokens"))
    return count if type(count) is int and 0 < count <= _MOST_TOKENS else None


def _vectors(content: Mapping[str, Any], texts: int) -> Vectors:
    data = content.get("data")
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise Unusable("it holds no list of embeddings")
    if len(data) != texts:
        raise Unusable(f"it holds {len(data)} of {texts} vectors")
    by_index = {item["index"]: item for item in data if type(item.get("index")) is int}
    if by_index.keys() != set(range(texts)):
        raise Unusable("an index is missing, or there twice")
    rows = [_vector(by_index[place].get("embedding")) for place in range(texts)]
    if len({len(row) for row in rows}) != 1 or not len(rows[0]):
        raise Unusable("its vectors differ in length")
    vectors = np.stack(rows)
    if not np.isfinite(vectors).all():
        raise Unusable("a vector holds NaN or infinity")
    if not vectors.any(axis=1).all():
        raise Unusable("a vector is zero")
    return vectors


def _vector(value: Any) -> NDArray[np.float32]:
    """A list of numbers; or, where a server sends that, float32 in base64, little-endian."""
    try:
        if isinstance(value, str):
            raw = np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
            return raw.astype(np.float32)
        found = np.asarray(value)
        if found.ndim != 1 or found.dtype.kind not in "fiu":
            raise ValueError("no list of numbers")
        with np.errstate(over="ignore"):  # what float32 cannot hold is told as infinity
            return found.astype(np.float32)
    except ValueError as error:
        raise Unusable("an embedding is no list of numbers") from error
