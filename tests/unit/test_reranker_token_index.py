"""Token vectors in codes: what is read back is what was kept, and scores are MaxSim of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ragdistill.errors import UserError
from ragdistill.losses import maxsim
from ragdistill_reranker.token_index import (
    CODINGS,
    TokenCoding,
    TokenIndex,
    Vectors,
    why_not,
    write_token_index,
)

DIMENSIONS = 16
LENGTHS = [int(n) for n in np.random.default_rng(1).integers(10, 60, 320)]
IDS = [f"d{number}" for number in range(len(LENGTHS))]


def unit(values: NDArray[np.float64]) -> Vectors:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def documents() -> list[Vectors]:
    """Tokens around some centres, as those of words are."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(100, DIMENSIONS))
    return [
        unit(centres[random.integers(0, 100, n)] + random.normal(size=(n, DIMENSIONS)) / 3)
        for n in LENGTHS
    ]


@pytest.fixture(scope="module")
def query() -> Vectors:
    return unit(np.random.default_rng(2).normal(size=(7, DIMENSIONS)))


def reference(query: Vectors, documents: list[Vectors]) -> Vectors:
    """The scores that training has."""
    lengths = [[len(document) for document in documents]]
    told = torch.from_numpy(np.concatenate(documents))
    scored: Vectors = maxsim(torch.from_numpy(query), told, [len(query)], lengths)[0].numpy()
    return scored


@pytest.mark.parametrize("coding", CODINGS)
def test_scores_are_maxsim_of_what_is_decoded(
    coding: TokenCoding, documents: list[Vectors], query: Vectors, tmp_path: Path
) -> None:
    write_token_index(tmp_path / "index", IDS, documents, coding, encoder_digest="abc")
    index = TokenIndex.read(tmp_path / "index")
    assert (index.ids, index.encoder_digest) == (tuple(IDS), "abc")
    assert isinstance(index.codes, np.memmap)
    places = [index.places[name] for name in ("d7", "d300", "d7", "d0")]
    decoded = [index.document(place) for place in places]
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(decoded), axis=1), 1, atol=1e-5)
    expected = reference(query, decoded)
    np.testing.assert_allclose(index.scores(query, places), expected, atol=1e-5)


def test_codes_take_what_they_promise_and_keep_accordingly(
    documents: list[Vectors], tmp_path: Path
) -> None:
    lost = {}
    for coding in CODINGS:
        write_token_index(tmp_path / coding, IDS, documents, coding)
        index = TokenIndex.read(tmp_path / coding)
        found = np.concatenate([index.document(place) for place in range(len(IDS))])
        lost[coding] = 1 - float((found * np.concatenate(documents)).sum(axis=1).mean())
        kept = sum(file.stat().st_size for file in (tmp_path / coding).glob("*.npy"))
        kept += (tmp_path / coding / "codec.faiss").stat().st_size
        assert index.bytes_per_document * len(IDS) == pytest.approx(kept, abs=300)  # heads of .npy
        bits = {"float32": 32, "float16": 16, "int8": 8, "binary": 1, "pq": 2}
        cells = 1  # byte of the number of a centroid
        assert index.codes.shape[1] == bits.get(coding, 2) * DIMENSIONS // 8 + cells * (
            coding == "residual"
        )
    assert lost["float32"] == pytest.approx(0, abs=1e-6)
    assert lost["float32"] <= lost["float16"] + 1e-6 < lost["int8"] + 2e-6 < 1e-3
    assert lost["int8"] < lost["residual"] < lost["pq"] < lost["binary"] < 0.3


def test_signs_are_all_that_binary_keeps(documents: list[Vectors], tmp_path: Path) -> None:
    write_token_index(tmp_path, IDS, documents, "binary")
    found = TokenIndex.read(tmp_path).document(3)
    np.testing.assert_allclose(found, np.where(documents[3] > 0, 1, -1) / DIMENSIONS**0.5)


def test_documents_and_queries_without_tokens_score_nothing(
    documents: list[Vectors], query: Vectors, tmp_path: Path
) -> None:
    none = np.empty((0, DIMENSIONS), np.float32)
    few = [none, documents[0], none, documents[1], none]
    write_token_index(tmp_path, IDS[:5], few, "float32")
    index = TokenIndex.read(tmp_path)
    expected = [0, *reference(query, few[1:2]), 0, *reference(query, few[3:4]), 0]
    np.testing.assert_allclose(index.scores(query, range(5)), expected, atol=1e-5)
    assert index.document(2).shape == (0, DIMENSIONS)
    assert not index.scores(query, [0, 2]).any()
    assert not index.scores(query[:0], [1]).any()
    assert index.scores(query, []).shape == (0,)


def test_what_cannot_be_kept_is_said(documents: list[Vectors], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pq is learnt from 9,984 tokens or more, not "):
        write_token_index(tmp_path, IDS[:9], documents[:9], "pq")
    assert "parts of 4" in why_not("pq", 1 << 20, 30)
    broken = [documents[0].copy(), documents[1]]
    broken[0][2, 3] = np.nan
    with pytest.raises(UserError, match="NaN"):
        write_token_index(tmp_path / "nan", IDS[:2], broken, "float16")
    assert not (tmp_path / "nan").exists()
    with pytest.raises(UserError, match="no documents"):
        write_token_index(tmp_path, [], [], "float32")
    for ids in (IDS[:1], ["a", "a"]):
        with pytest.raises(ValueError, match="1 ids for 2"):
            write_token_index(tmp_path, ids, documents[:2], "float32")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def of_others(path: Path) -> None:
    path.write_text(json.dumps(IDS[:5]))


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("codes.npy", cut),
        ("starts.npy", cut),
        ("codec.faiss", cut),
        ("codec.faiss", Path.unlink),
        ("ids.json", of_others),
        ("ragdistill.json", cut),
    ],
)
def test_a_damaged_folder_is_refused(
    name: str, harm: object, documents: list[Vectors], tmp_path: Path
) -> None:
    write_token_index(tmp_path, IDS, documents, "int8")
    assert callable(harm)
    harm(tmp_path / name)
    with pytest.raises(UserError, match="no whole index of tokens"):
        TokenIndex.read(tmp_path)
