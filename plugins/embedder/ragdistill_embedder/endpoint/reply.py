"""What an endpoint answers, checked before anybody believes it.

The form is that of https://platform.openai.com/docs/api-reference/embeddings, as far as the servers
that follow it agree: ``data`` with an ``index`` and an ``embedding`` each, ``usage`` where they count.
"""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.endpoint.reply import Content, Reply, Unusable, by_index, read

Vectors = NDArray[np.float32]


def parse(body: bytes, texts: int) -> Reply[Vectors]:
    """The vectors of as many ``texts``, put in order by ``index``: ``[b, d]``, finite and none of them
    zero.

    Raises:
        Unusable: no JSON, or not one finite vector of one length for each text.
    """
    return read(body, lambda content: _vectors(content, texts))


def _vectors(content: Content, texts: int) -> Vectors:
    items = by_index(content.get("data"), texts, "vectors")
    rows = [_vector(item.get("embedding")) for item in items]
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
