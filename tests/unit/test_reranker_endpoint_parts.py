"""What an endpoint answers about pairs: read with care, and compared with what it answered before."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdistill.endpoint.reply import Unusable
from ragdistill.endpoint.spend import Ask
from ragdistill_reranker.endpoint.asking import by_query
from ragdistill_reranker.endpoint.identity import difference
from ragdistill_reranker.endpoint.reply import parse


def body(scores: list[Any], order: list[int] | None = None, **more: Any) -> bytes:
    rows = [{"index": place, "relevance_score": score} for place, score in enumerate(scores)]
    return json.dumps({"results": [rows[at] for at in order or range(len(rows))], **more}).encode()


@given(scores=st.lists(st.floats(-1e30, 1e30) | st.integers(-99, 99), min_size=1), data=st.data())
def test_an_answer_is_read_by_index_and_a_piece_of_it_is_none(
    scores: list[float], data: st.DataObject
) -> None:
    whole = body(scores, data.draw(st.permutations(range(len(scores)))), usage={"total_tokens": 7})
    said = parse(whole, len(scores))
    assert np.array_equal(said.found, np.asarray(scores, dtype=np.float32))
    assert said.tokens == 7
    with pytest.raises(Unusable):
        parse(whole[: data.draw(st.integers(0, len(whole) - 1))], len(scores))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"[]", "no JSON object"),
        (b'{"message": "no"}', "no list of scores"),
        (b'{"results": [0.1, 0.2]}', "no list of scores"),
        (body([0.5]), "1 of 2 scores"),
        (body([0.5, 0.4, 0.3]), "3 of 2 scores"),
        (body([0.5, 0.4], [1, 1]), "an index is missing"),
        (body([0.5, 0.4]).replace(b'"index": 1', b'"index": 2'), "an index is missing"),
        (body([0.5, None]), "no number"),
        (body([0.5, "0.4"]), "no number"),
        (body([0.5, True]), "no number"),
        (body([0.5, float("nan")]), "not whole JSON"),
        (body([0.5, 1e300]), "NaN or infinity"),
        (body([0.5, 10**400]), "NaN or infinity"),
        (body([0.5, 0.4]).replace(b"0.4", b"1e999"), "NaN or infinity"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(said: bytes, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        parse(said, 2)


def test_a_request_is_never_thought_smaller_than_it_can_be() -> None:
    (whole,) = by_query([("é?", "12345"), ("é?", "")])
    assert whole.ask == Ask(2, 4, 5 + 2 * (3 + 4))
    first, second = whole.halves()
    assert [first.texts, second.texts, first.beside, second.beside] == [["12345"], [""], "é?", "é?"]


def test_a_model_is_known_by_its_scores() -> None:
    odds = np.array([6.1, 2.0, -0.4, -4.4, -10.9], dtype=np.float32)
    sure = 1 / (1 + np.exp(-odds))

    def half(scores: np.ndarray) -> np.ndarray:
        """With eight significant bits."""
        told = np.ascontiguousarray(scores, np.float32).view(np.uint32) + 0x8000 & 0xFFFF0000
        return told.astype(np.uint32).view(np.float32)

    for known in (odds, sure, -np.abs(odds), odds / 11):
        assert difference(known, known) is None
        assert difference(known, half(known)) is None
        moved = known.copy()
        moved[1] *= 1.2
        assert "otherwise" in (difference(known, moved) or "")
    assert difference(sure, 1 / (1 + np.exp(-odds - 0.3))) is not None
    assert difference(sure, odds) is not None
    unsure = np.array([1.5, 0.3, -0.4], dtype=np.float32)
    assert difference(unsure, unsure + np.float32(0.125)) is None  # a step of bfloat16 from 16 on
    assert difference(unsure, unsure + np.float32(0.3)) is not None
