"""int8: right on every CPU, smaller, close, and given up where it is not close."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from sentence_transformers import SentenceTransformer

from ragdistill.export.folder import read_record
from ragdistill.export.gates import INT8, GateResult, check, with_fallback
from ragdistill.export.graph import save
from ragdistill.export.int8 import RECIPES, _scale_tokens, ladder, quantise
from ragdistill.export.onnx import export_embedder
from ragdistill.export.runtime import OnnxEmbedder
from ragdistill.metrics.ranking import search
from tiny_models import save_tiny, texts

TEXTS = texts(60)


def export(folder: Path, outlier: float = 1.0) -> Path:
    """A tiny model as fp32 ONNX; ``outlier`` times the weights that make one activation."""
    model = SentenceTransformer(str(save_tiny(folder / "model", layers=2)), device="cpu")
    with torch.no_grad():
        for layer in model[0].model.encoder.layer:
            layer.intermediate.dense.weight[0] *= outlier
            layer.output.dense.weight[:, 0] /= outlier
    export_embedder(model, folder / "onnx", source_digest="ab")
    return folder / "onnx"


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("int8"))


def constants(folder: Path) -> dict[int, list[np.ndarray]]:
    """Element type to the matrices and larger constants of that type."""
    found: dict[int, list[np.ndarray]] = {}
    for item in onnx.load(folder / "model.onnx").graph.initializer:
        if len(item.dims) == 2:
            found.setdefault(item.data_type, []).append(numpy_helper.to_array(item))
    return found


def cosines(folder: Path, other: Path) -> np.ndarray:
    a, b = (OnnxEmbedder(path, threads=1).encode(TEXTS) for path in (folder, other))
    return np.einsum("nd,nd->n", a, b)


def test_weights_cannot_saturate_sixteen_bits(fp32, tmp_path):
    """AVX2's kernel adds two products of an unsigned activation and a weight in 16 bits."""
    quantise(fp32, tmp_path / "int8")
    table, *weights = sorted(constants(tmp_path / "int8")[TensorProto.INT8], key=len, reverse=True)
    assert len(weights) == 12
    assert 2 * 255 * max(int(np.abs(weight.astype(int)).max()) for weight in weights) <= 32_767
    assert np.abs(table.astype(int)).max() == 127


def test_an_int8_folder_is_whole_smaller_and_close(fp32, tmp_path):
    quantise(fp32, tmp_path / "int8")
    names = {item.name for item in fp32.iterdir()}
    assert {item.name for item in (tmp_path / "int8").iterdir()} == names
    record = read_record(tmp_path / "int8")
    assert record.precision == "int8"
    assert record.source_digest == read_record(fp32).source_digest
    # The constants that stay float32 are the position and token type embeddings.
    kept = constants(tmp_path / "int8")[TensorProto.FLOAT]
    assert sorted(len(item) for item in kept if item.shape[1] > 1) == [2, 64]
    assert cosines(fp32, tmp_path / "int8").min() > 0.95


def test_the_mixed_recipe_leaves_feed_forward_outputs_alone(fp32, tmp_path):
    quantise(fp32, tmp_path / "mixed", RECIPES[2])
    kept = constants(tmp_path / "mixed")[TensorProto.FLOAT]
    assert sum(item.shape == (64, 32) for item in kept) >= 2
    assert cosines(fp32, tmp_path / "mixed").mean() > 0.99


def test_scaling_tokens_does_not_change_the_function(fp32, tmp_path):
    graph = onnx.load(fp32 / "model.onnx")
    names = {node.name for node in graph.graph.node if node.op_type == "MatMul"}
    _scale_tokens(graph, names)
    save(graph, tmp_path / "scaled.onnx")
    rng = np.random.default_rng(0)
    feed = {
        "input_ids": rng.integers(5, 60, (3, 9)),
        "attention_mask": np.ones((3, 9), np.int64),
    }
    plain, scaled = (
        onnxruntime.InferenceSession(path).run(["last_hidden_state"], feed)[0]
        for path in (fp32 / "model.onnx", tmp_path / "scaled.onnx")
    )
    np.testing.assert_allclose(plain, scaled, atol=1e-4)


def test_where_int8_fails_its_gate_a_gentler_recipe_is_kept(tmp_path):
    """One activation two hundred times the others leaves them no steps of the 256."""
    source = export(tmp_path, outlier=200.0)
    reference = OnnxEmbedder(source, threads=1).encode(TEXTS)
    ids = [str(number) for number in range(50)]

    def ranked(vectors: np.ndarray) -> dict[str, list[tuple[str, float]]]:
        found = search(vectors[50:], vectors[:50], ids, 10)
        return {str(number): ranking for number, ranking in enumerate(found)}

    def measure(folder: Path) -> GateResult:
        vectors = OnnxEmbedder(folder, threads=1).encode(TEXTS)
        return check(reference, vectors, ranked(reference), ranked(vectors), {}, INT8)

    outcome = with_fallback(ladder(source, tmp_path / "int8"), measure)
    assert [name for name, _ in outcome.failed][:1] == ["int8"]
    assert outcome.result.passed
    assert read_record(tmp_path / "int8").precision == outcome.name
    last = ladder(source, tmp_path / "last")[-1]
    assert (last.name, cosines(last.build(), source).min()) == ("fp32", pytest.approx(1))
