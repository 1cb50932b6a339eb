"""Rerankers' graphs against the models they were made from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from sentence_transformers import CrossEncoder, MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from tokenizers import processors
from transformers import (
    AutoModelForSequenceClassification,
    ModernBertConfig,
    PretrainedConfig,
    XLMRobertaConfig,
)

from ragdistill.errors import UserError
from ragdistill.export.folder import MultiVectorRecord, Side, read_any_record
from ragdistill.export.int8 import ladder, quantise
from ragdistill.export.rerankers import export_cross_encoder, export_multi_vector
from ragdistill.export.runtime import OnnxCrossEncoder, OnnxEmbedder, OnnxMultiVector
from ragdistill_reranker.late_interaction import make_late_interaction
from tiny_models import make_tokenizer, save_tiny, texts
from tiny_scorers import save_cross_encoder

TEXTS = [*texts(12), "", "?", " ".join(texts(12)), *texts(3)]
"""Short, beyond the longest sequence, empty and repeated texts."""

PAIRS = [*zip(TEXTS, TEXTS[::-1], strict=True), (" ".join(texts(6)), texts(1)[0]), ("", "")]
"""Pairs of which either text, or both, must be cut, or is empty."""


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    return CrossEncoder(str(save_cross_encoder(tmp_path_factory.mktemp("tiny"))), device="cpu")


@pytest.fixture(scope="module")
def scoring(scorer: CrossEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "onnx"
    export_cross_encoder(scorer, folder, source_digest="ab")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "model", layers=2)


def late(base: Path, **settings: Any) -> MultiVectorEncoder:
    """A model with a vector for each token, whose mask and prompts are given; other settings are its
    transformer's."""
    made = make_late_interaction(base, 8, TEXTS, "cpu")
    mask = MultiVectorMask(
        settings.pop("skiplist_words", None),
        skiplist_tasks=settings.pop("skiplist_tasks", None),
        keep_only_token_ids=settings.pop("keep_only_token_ids", None),
    )
    modules = [made[0], made[1], mask, made[3]]
    model = MultiVectorEncoder(modules=modules, device="cpu", prompts=settings.pop("prompts", None))
    for name, value in settings.items():
        setattr(model[0], name, value)
    return model


def logits(model: CrossEncoder) -> np.ndarray:
    told: np.ndarray = model.predict(
        PAIRS, batch_size=3, activation_fn=torch.nn.Identity(), show_progress_bar=False
    )
    return told


def weights_of(model: torch.nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


def outputs(folder: Path) -> list[str]:
    return [item.name for item in onnx.load(folder / "model.onnx").graph.output]


def test_scores_are_the_models_logits_in_any_batch(scorer, scoring):
    expected = logits(scorer)
    assert expected.std() > 0.1
    found = OnnxCrossEncoder(scoring, threads=2).scores(PAIRS)
    assert (found.shape, found.dtype) == ((len(PAIRS),), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for budget in (1, 100_000):
        again = OnnxCrossEncoder(scoring, threads=1).scores(PAIRS, token_budget=budget)
        np.testing.assert_allclose(again, expected, atol=1e-5)
    assert OnnxCrossEncoder(scoring).scores([]).shape == (0,)


def test_the_folder_of_a_cross_encoder_is_laid_out_for_optimum(scorer, scoring, tmp_path):
    before = weights_of(scorer), scorer[0].model.config._attn_implementation
    export_cross_encoder(scorer, tmp_path / "again", source_digest="ab")
    assert before == (weights_of(scorer), scorer[0].model.config._attn_implementation)
    assert outputs(scoring) == ["logits"]
    shape = onnx.load(scoring / "model.onnx").graph.output[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param != "", shape[1].dim_value) == (True, 1)
    config = json.loads((scoring / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert len(config["id2label"]) == 1
    for file in sorted(scoring.iterdir()):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_token_types_and_a_prompt_before_the_query(tmp_path):
    save_cross_encoder(tmp_path / "model")
    model = CrossEncoder(
        str(tmp_path / "model"),
        device="cpu",
        max_length=30,
        prompts={"ask": "the city: "},
        default_prompt_name="ask",
    )
    plain = logits(model)
    ends = [(token, model.tokenizer.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]")]
    model.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    model.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    record = export_cross_encoder(model, tmp_path / "onnx", source_digest="ab")
    assert (record.max_seq_length, record.prompt) == (30, "the city: ")
    assert np.abs(logits(model) - plain).max() > 0.01
    found = OnnxCrossEncoder(tmp_path / "onnx").scores(PAIRS)
    np.testing.assert_allclose(found, logits(model), atol=1e-5)


SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.3,
    "max_position_embeddings": 66,
    "num_labels": 1,
}


@pytest.mark.parametrize(
    "config",
    [
        XLMRobertaConfig(**SIZES),
        ModernBertConfig(
            **SIZES,
            classifier_pooling="mean",
            local_attention=8,
            global_attn_every_n_layers=2,
            bos_token_id=2,
            cls_token_id=2,
            eos_token_id=3,
            sep_token_id=3,
        ),
    ],
    ids=lambda config: config.model_type,
)
def test_other_architectures_and_their_heads_stay_fp32(tmp_path, config: PretrainedConfig):
    tokenizer = make_tokenizer()
    config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    model = CrossEncoder(str(tmp_path / "model"), device="cpu", max_length=40)
    export_cross_encoder(model, tmp_path / "onnx", source_digest="ab")
    found = OnnxCrossEncoder(tmp_path / "onnx").scores(PAIRS)
    np.testing.assert_allclose(found, logits(model), atol=1e-4)
    quantise(tmp_path / "onnx", tmp_path / "int8")
    rounded = {node.name for node in _rounded(tmp_path / "int8")}
    assert len(rounded) >= 8
    assert all("layer" in name for name in rounded), rounded


def _rounded(folder: Path) -> list[onnx.NodeProto]:
    """The matrix products of integers."""
    nodes = onnx.load(folder / "model.onnx").graph.node
    return [node for node in nodes if node.op_type == "MatMulInteger"]


MARKS = {"skiplist_words": [".", ",", "city", "[MASK]"]}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {**MARKS, "document_length": 9, "query_length": 7},
        {**MARKS, "prompts": {"query": "the queen: ", "passage": "a king: "}},
        {
            "query_expansion": {"strategy": "fixed", "length": 24},
            "skiplist_words": ["[MASK]", "river"],
            "document_length": 64,
        },
        {"query_expansion": {"strategy": "fixed", "length": 12, "attend": True}},
        {"query_expansion": {"strategy": "min", "length": 16}, "query_length": 20},
        {"query_expansion": {"strategy": "min", "length": 16, "attend": True, "token": "?"}},
        {
            **MARKS,
            "skiplist_tasks": ["query"],
            "query_expansion": {"strategy": "fixed", "length": 24, "token": "sea"},
        },
        {**MARKS, "keep_only_token_ids": list(range(5, 60))},
    ],
    ids=lambda settings: "+".join(settings) or "plain",
)
def test_vectors_of_tokens_are_the_models(base, tmp_path, settings):
    model = late(base, **settings)
    export_multi_vector(model, tmp_path / "onnx", source_digest="ab")
    runtime = OnnxMultiVector(tmp_path / "onnx", threads=2)
    for theirs, mine in (
        (model.encode_query, runtime.encode_queries),
        (model.encode_document, runtime.encode_documents),
    ):
        expected = theirs(TEXTS, batch_size=5, convert_to_numpy=True, show_progress_bar=False)
        for budget in (None, 1, 100_000):
            found = mine(TEXTS, token_budget=budget)
            assert [item.shape for item in found] == [item.shape for item in expected]
            assert {item.dtype for item in found} == {np.dtype(np.float32)}
            for one, two in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, two, atol=1e-5)


def test_the_folder_of_a_late_interaction_model_is_laid_out_for_optimum(base, tmp_path):
    model = late(base, skiplist_words=["sea"])
    record = export_multi_vector(model, tmp_path / "onnx", source_digest="ab")
    assert outputs(tmp_path / "onnx") == ["last_hidden_state", "token_embeddings"]
    assert (record.dimensions, record.similarity, record.queries) == (8, "maxsim", Side(32))
    assert record.documents.dropped == (model.tokenizer.convert_tokens_to_ids("sea"),)
    assert read_any_record(tmp_path / "onnx") == record
    features = model.tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    features.pop("token_type_ids", None)
    with torch.inference_mode():
        expected = model[0].model(**features).last_hidden_state.numpy()
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    feed = {name: tensor.numpy() for name, tensor in features.items()}
    np.testing.assert_allclose(session.run(["last_hidden_state"], feed)[0], expected, atol=1e-4)


def test_the_ladder_takes_rerankers(scorer, scoring, base, tmp_path):
    model = late(base)
    export_multi_vector(model, tmp_path / "onnx", source_digest="ab")
    expected = [np.asarray(vectors) for vectors in model.encode_document(TEXTS)]
    names = []
    for scores, tokens in zip(
        ladder(scoring, tmp_path / "scores"),
        ladder(tmp_path / "onnx", tmp_path / "tokens"),
        strict=True,
    ):
        # An int8 export of half a dozen matrices of random weights says about the same.
        found = OnnxCrossEncoder(scores.build()).scores(PAIRS)
        assert np.corrcoef(found, logits(scorer))[0, 1] > 0.95
        vectors = OnnxMultiVector(tokens.build()).encode_documents(TEXTS)
        cosines = np.concatenate([(a * b).sum(1) for a, b in zip(vectors, expected, strict=True)])
        assert cosines.mean() > 0.95
        names.append((scores.name, read_any_record(tmp_path / "scores").precision))
        assert isinstance(read_any_record(tmp_path / "tokens"), MultiVectorRecord)
    assert names == [(name, name) for name, _ in names]
    assert len(names) == 4
    quantise(tmp_path / "onnx", tmp_path / "tokens")
    graph = onnx.load(tmp_path / "tokens" / "model.onnx").graph
    kept = [list(item.dims) for item in graph.initializer if item.data_type == TensorProto.FLOAT]
    assert [32, 8] in kept, "the projection stays as it is"


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(base, tmp_path):
    save_cross_encoder(tmp_path / "two", labels=2)
    left = late(base)
    left.tokenizer.padding_side = "left"
    made = make_late_interaction(base, 8, TEXTS, "cpu")
    bare = MultiVectorEncoder(modules=[made[0], made[1]], device="cpu")
    for export, model, reason in (
        (export_cross_encoder, CrossEncoder(str(tmp_path / "two"), device="cpu"), "one label"),
        (export_multi_vector, left, "on the left"),
        (export_multi_vector, bare, "modules Transformer, Dense cannot"),
    ):
        with pytest.raises(UserError, match=reason):
            export(model, tmp_path / "out" / "onnx", source_digest="ab")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_kind_is_refused(scoring, base, tmp_path):
    model = make_late_interaction(base, 8, TEXTS, "cpu")
    export_multi_vector(model, tmp_path / "tokens", source_digest="ab")
    for load, folder, reason in (
        (OnnxEmbedder, scoring, "of an exported cross-encoder, not of an exported embedder"),
        (OnnxCrossEncoder, tmp_path / "tokens", "multi-vector, not of an exported cross-encoder"),
        (OnnxMultiVector, scoring, "cross-encoder, not of an exported multi-vector"),
        (OnnxMultiVector, tmp_path, "not an exported multi-vector"),
    ):
        with pytest.raises(UserError, match=reason):
            load(folder)
