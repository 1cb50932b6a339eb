"""ONNX graphs against the models they were made from."""

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    ModernBertConfig,
    MPNetConfig,
    PretrainedConfig,
    XLMRobertaConfig,
)

from ragdistill.errors import UserError
from ragdistill.export.folder import EmbedderRecord, atomic_folder, read_record
from ragdistill.export.onnx import POOLINGS, export_embedder
from ragdistill.export.runtime import OnnxEmbedder
from tiny_models import make_tokenizer, save_tiny, texts

TEXTS = [*texts(30), "", "?", " ".join(texts(12)), *texts(3)]
"""Short, long, beyond the longest sequence, empty and repeated texts."""

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.3,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return SentenceTransformer(str(save_tiny(tmp_path_factory.mktemp("tiny"))), device="cpu")


@pytest.fixture(scope="module")
def exported(tiny: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "onnx"
    export_embedder(tiny, folder, source_digest="ab")
    return folder


def made_of(
    folder: Path, config: PretrainedConfig, *heads: torch.nn.Module, token_types: bool = False
) -> SentenceTransformer:
    """A tiny model of any architecture, of random weights."""
    tokenizer = make_tokenizer()
    config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    encoder = Transformer(str(folder), max_seq_length=40)
    if token_types:
        encoder.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return SentenceTransformer(modules=[encoder, *heads], device="cpu")


def difference(model: SentenceTransformer, folder: Path) -> float:
    """Greatest difference of a component, as a share of the greatest component."""
    expected = model.encode(TEXTS, batch_size=5, show_progress_bar=False)
    found = OnnxEmbedder(folder, threads=1).encode(TEXTS)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def operators(folder: Path) -> set[str]:
    return {node.op_type for node in onnx.load(folder / "model.onnx").graph.node}


def test_vectors_equal_those_of_the_model(tiny, exported):
    assert difference(tiny, exported) < 1e-5


def test_any_batch_gives_the_same_vectors(exported):
    embedder = OnnxEmbedder(exported, threads=2)
    alone = np.concatenate([embedder.encode([text]) for text in TEXTS])
    for budget in (1, 64, 100_000):
        np.testing.assert_allclose(embedder.encode(TEXTS, token_budget=budget), alone, atol=1e-6)


def test_prompts_come_before_the_text_and_no_texts_give_no_vectors(tiny, exported):
    embedder = OnnxEmbedder(exported)
    expected = tiny.encode(TEXTS[:3], prompt="the city: ", show_progress_bar=False)
    np.testing.assert_allclose(embedder.encode(TEXTS[:3], prompt="the city: "), expected, atol=1e-5)
    assert embedder.encode([]).shape == (0, 32)


def test_attention_is_one_operator_and_layer_norms_stay_fast(exported):
    graph = onnx.load(exported / "model.onnx").graph
    made_by = {node.output[0]: node.op_type for node in graph.node}
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    assert sum(node.op_type == "MultiHeadAttention" for node in graph.node) == 4
    assert {made_by[node.input[0]] for node in norms} == {"Sum"}
    assert not {"Softmax", "Erf"} & operators(exported)


def test_the_folder_is_laid_out_for_optimum(exported):
    graph = onnx.load(exported / "model.onnx").graph
    assert [item.name for item in graph.input] == ["input_ids", "attention_mask"]
    assert [item.name for item in graph.output] == ["last_hidden_state", "sentence_embedding"]
    assert all(axis.dim_param for item in graph.input for axis in item.type.tensor_type.shape.dim)
    assert json.loads((exported / "config.json").read_text())["model_type"] == "bert"
    assert "TokenizersBackend" not in (exported / "tokenizer_config.json").read_text()
    ids = AutoTokenizer.from_pretrained(str(exported))(TEXTS[0])["input_ids"]
    assert ids == make_tokenizer()(TEXTS[0])["input_ids"]


def weights_of(model):
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


def test_an_export_is_quiet_repeatable_and_leaves_the_model_as_it_was(
    tiny, exported, tmp_path, capfd, caplog
):
    before = weights_of(tiny), tiny[0].model.config._attn_implementation, tiny.training
    with caplog.at_level(logging.INFO):
        record = export_embedder(tiny, tmp_path / "again", source_digest="ab")
    assert before == (
        weights_of(tiny),
        tiny[0].model.config._attn_implementation,
        tiny.training,
    )
    assert record.source_digest == "ab"
    assert capfd.readouterr() == ("", "")
    assert {entry.name for entry in caplog.records} == {"ragdistill.export.onnx"}
    for file in sorted(exported.iterdir()):
        data = file.read_bytes()
        assert data == (tmp_path / "again" / file.name).read_bytes(), file.name
        for path in (str(Path(torch.__file__).parent), str(exported.parent.parent)):
            assert path.encode() not in data


def test_every_pooling_token_types_and_normalisation_on_demand(tmp_path):
    pooling = Pooling(32, POOLINGS)
    model = made_of(tmp_path / "model", BertConfig(**SIZES), pooling, token_types=True)
    record = export_embedder(model, tmp_path / "onnx", source_digest="ab")
    assert (record.pooling, record.dimensions) == ("+".join(POOLINGS), 32 * len(POOLINGS))
    assert difference(model, tmp_path / "onnx") < 1e-5
    graph = onnx.load(tmp_path / "onnx" / "model.onnx").graph
    assert [item.name for item in graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
    embedder = OnnxEmbedder(tmp_path / "onnx")
    plain, unit = embedder.encode(TEXTS), embedder.encode(TEXTS, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(
        unit * np.linalg.norm(plain, axis=1, keepdims=True), plain, atol=1e-4
    )


@pytest.mark.parametrize(
    ("config", "fused"),
    [
        (XLMRobertaConfig(**SIZES, max_position_embeddings=66), True),
        (MPNetConfig(**SIZES, max_position_embeddings=66), False),
        (
            ModernBertConfig(
                **SIZES,
                local_attention=8,
                global_attn_every_n_layers=2,
                bos_token_id=2,
                cls_token_id=2,
                eos_token_id=3,
                sep_token_id=3,
            ),
            True,
        ),
    ],
    ids=lambda value: getattr(value, "model_type", str(value)),
)
def test_other_architectures(tmp_path, config, fused):
    """Position ids from the padding, relative positions, and windows of attention; a projection
    after the pooling."""
    with torch.random.fork_rng():
        heads = [Pooling(32, "mean"), Dense(32, 12), Normalize()]
    model = made_of(tmp_path / "model", config, *heads)
    record = export_embedder(model, tmp_path / "onnx", source_digest="ab")
    assert (record.dimensions, record.normalised) == (12, True)
    assert ("MultiHeadAttention" in operators(tmp_path / "onnx")) == fused
    assert difference(model, tmp_path / "onnx") < 1e-5


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tiny, tmp_path):
    without_pooling = SentenceTransformer(modules=[tiny[0]], device="cpu")
    forgetful = SentenceTransformer(
        modules=[tiny[0], Pooling(32, "mean", include_prompt=False)], device="cpu"
    )
    for model, reason in ((without_pooling, "modules Transformer"), (forgetful, "prompt")):
        with pytest.raises(UserError, match=reason):
            export_embedder(model, tmp_path / "out" / "onnx", source_digest="ab")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("ragdistill.json", None, "not an exported embedder"),
        ("ragdistill.json", "{", "damaged"),
        ("ragdistill.json", '{"schema": 1}', "damaged"),
        ("ragdistill.json", '{"schema": 2}', "upgrade ragdistill"),
        ("tokenizer.json", None, "missing"),
        ("tokenizer.json", "[]", "damaged"),
        ("model.onnx", "nothing", "ONNX Runtime cannot load it"),
        ("model.onnx", None, "ONNX Runtime cannot load it"),
    ],
)
def test_a_spoilt_folder_is_refused_in_one_line(exported, tmp_path, file, content, reason):
    with atomic_folder(tmp_path / "spoilt") as folder:
        for item in exported.iterdir():
            (folder / item.name).write_bytes(item.read_bytes())
        if content is None:
            (folder / file).unlink()
        else:
            (folder / file).write_text(content)
    with pytest.raises(UserError, match=reason) as caught:
        OnnxEmbedder(tmp_path / "spoilt")
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_survives_the_disk(tmp_path):
    record = EmbedderRecord(8, 4, 0, True, False, "cls", "ab", "int8", {"query": "q: "})
    record.write(tmp_path)
    assert read_record(tmp_path) == record
