"""What an endpoint answers about texts: read with care, and compared with what it answered before."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_helpers import in_base64
from ragdistill.endpoint.reply import Unusable
from ragdistill_embedder.endpoint.identity import difference
from ragdistill_embedder.endpoint.reply import parse

_VECTORS = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.lists(st.floats(0.125, 2.0**90, width=32), min_size=width, max_size=width),
        min_size=1,
        max_size=6,
    )
)


def body(vectors: list[Any], order: list[int] | None = None, **more: Any) -> bytes:
    rows = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    return json.dumps({"data": [rows[at] for at in order or range(len(rows))], **more}).encode()


@given(vectors=_VECTORS, data=st.data())
def test_an_answer_is_read_by_index_as_numbers_or_base64(
    vectors: list[list[float]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(vectors))))
    wanted = np.asarray(vectors, dtype=np.float32)
    for form in (vectors, [in_base64(row) for row in wanted]):
        said = parse(body(form, order, usage={"total_tokens": 7}), len(vectors))
        assert np.array_equal(said.found, wanted)
        assert said.tokens == 7


@given(vectors=_VECTORS, data=st.data())
def test_a_piece_of_an_answer_is_no_answer(vectors: list[list[float]], data: st.DataObject) -> None:
    whole = body(vectors)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Unusable):
        parse(whole[:cut], len(vectors))


GOOD: list[Any] = [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"<html>", "not whole JSON"),
        (b"[" * 100_000, "not whole JSON"),
        (b"[]", "no JSON object"),
        (b'{"error": {"message": "no"}}', "no list of vectors"),
        (b'{"data": [1, 2]}', "no list of vectors"),
        (body(GOOD[:1]), "1 of 2 vectors"),
        (body([*GOOD, [5.0, 6.0]]), "3 of 2 vectors"),
        (body(GOOD, [0, 0]), "an index is missing"),
        (body(GOOD).replace(b'"index": 0', b'"index": false'), "an index is missing"),
        (body([[1.0, 2.0], [3.0]]), "differ in length"),
        (body([[], []]), "differ in length"),
        (body([[1.0, float("nan")], [3.0, 4.0]]), "not whole JSON"),
        (body([[1.0, 1e300], [3.0, 4.0]]), "NaN or infinity"),
        (body([in_base64(np.array([np.nan, 1])), [3.0, 4.0]]), "NaN or infinity"),
        (body([[0.0, 0.0], [3.0, 4.0]]), "zero"),
        (body([["1", "2"], [3.0, 4.0]]), "no list of numbers"),
        (body([[True, False], [3.0, 4.0]]), "no list of numbers"),
        (body([[1.0, None], [3.0, 4.0]]), "no list of numbers"),
        (body([[[1.0], [2.0, 3.0]], [3.0, 4.0]]), "no list of numbers"),
        (body([None, [3.0, 4.0]]), "no list of numbers"),
        (body(["AAA=", "?"]), "no list of numbers"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(said: bytes, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        parse(said, 2)


def test_what_was_billed_for_an_unusable_answer_is_known() -> None:
    with pytest.raises(Unusable) as refused:
        parse(body(GOOD, [0, 0], usage={"prompt_tokens": 9, "total_tokens": 9}), 2)
    assert refused.value.tokens == 9
    for odd in ({"total_tokens": 0}, {"total_tokens": -4}, {"total_tokens": True}, "12", None):
        assert parse(body(GOOD, usage=odd), 2).tokens is None


def test_a_model_is_known_by_where_it_places_texts() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 64)).astype(np.float32)
    half = vectors.astype(np.float16).astype(np.float32)
    assert difference(vectors, 7 * half) is None
    assert "32 dimensions, not 64" in (difference(vectors, vectors[:, :32]) or "")
    moved = vectors.copy()
    moved[2] += 0.1 * rng.normal(size=64)
    assert "elsewhere" in (difference(vectors, moved) or "")
