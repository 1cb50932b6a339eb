"""Rerankers of MiniLM's weights as graphs: the same in fp32, close and smaller in int8."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ragdistill.data.pydocs import load
from ragdistill.errors import UserError
from ragdistill.export.gates import FP32, INT8, GateResult, Limits, check_scores
from ragdistill.export.int8 import quantise
from ragdistill.export.rerankers import export_cross_encoder, export_multi_vector
from ragdistill.export.runtime import OnnxCrossEncoder, OnnxMultiVector
from ragdistill.files import folder_bytes
from ragdistill.models.resolve import resolve
from ragdistill_reranker.late_interaction import make_late_interaction

pytestmark = pytest.mark.e2e

QUERIES, DOCUMENTS = 5, 16


@pytest.fixture(scope="module")
def minilm() -> Path:
    try:
        return resolve("MiniLM").path
    except UserError as error:
        pytest.skip(f"MiniLM cannot be had here: {error.format_message()}")


@pytest.fixture(scope="module")
def queries() -> list[str]:
    return [query.text for query in load().judged("test")][:QUERIES]


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return [document.text for document in load().documents][: 40 * DOCUMENTS : 40]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def held(expected: np.ndarray, found: np.ndarray, limits: Limits) -> GateResult:
    """A gate on scores [q, n]."""

    def ranked(scores: np.ndarray) -> dict[str, list[tuple[str, float]]]:
        return {
            str(query): [(str(place), float(row[place])) for place in np.argsort(-row)]
            for query, row in enumerate(scores)
        }

    there = np.ones(expected.shape, bool)
    return check_scores(expected, found, there, ranked(expected), ranked(found), {}, limits)


def test_a_cross_encoder(
    minilm: Path, queries: list[str], documents: list[str], tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoModelForSequenceClassification.from_pretrained(str(minilm), num_labels=1)
    network.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(str(minilm)).save_pretrained(tmp_path / "model")
    model = CrossEncoder(str(tmp_path / "model"), device="cpu", max_length=192)
    export_cross_encoder(model, tmp_path / "onnx", source_digest="ab")
    quantise(tmp_path / "onnx", tmp_path / "int8")
    pairs = [(query, document) for query in queries for document in documents]
    expected = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    for name, limits in (("onnx", FP32), ("int8", INT8)):
        found = OnnxCrossEncoder(tmp_path / name, threads=1).scores(pairs)
        result = held(*(scores.reshape(QUERIES, -1) for scores in (expected, found)), limits)
        assert result.passed, result
    assert folder_bytes(tmp_path / "int8") < 0.35 * folder_bytes(tmp_path / "onnx")


def test_a_late_interaction_model(
    minilm: Path, queries: list[str], documents: list[str], tmp_path: Path
) -> None:
    model = make_late_interaction(minilm, 96, documents, "cpu")
    model[0].query_expansion = {"strategy": "fixed", "length": 32}
    export_multi_vector(model, tmp_path / "onnx", source_digest="ab")
    quantise(tmp_path / "onnx", tmp_path / "int8")
    asked = model.encode_query(queries, convert_to_numpy=True)
    told = model.encode_document(documents, convert_to_numpy=True)
    for name, limits in (("onnx", FP32), ("int8", INT8)):
        runtime = OnnxMultiVector(tmp_path / name, threads=1)
        mine = runtime.encode_queries(queries), runtime.encode_documents(documents)
        if name == "onnx":
            for one, two in zip([*asked, *told], [*mine[0], *mine[1]], strict=True):
                np.testing.assert_allclose(one, two, atol=1e-4)
        result = held(maxsim(asked, told), maxsim(*mine), limits)
        assert result.passed, result


def maxsim(queries: list[np.ndarray], documents: list[np.ndarray]) -> np.ndarray:
    """Scores [q, n] of vectors [tokens, d] each."""
    return np.array([[(a @ b.T).max(1).sum() for b in documents] for a in queries], np.float32)
