"""Forms that a causal language model is served in, against the model itself."""

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from transformers import AutoTokenizer, Gemma2Config, OlmoConfig

from ragdistill.errors import UserError
from ragdistill.export.causal import ctranslate, graph, onnx_runner, source
from ragdistill.export.causal.ctranslate import CTranslateCausal, vocabulary
from ragdistill.export.causal.forms import LIMITS, Export, export_all, load
from ragdistill.export.causal.onnx_runner import OnnxCausal
from ragdistill.export.causal.parity import Reference
from ragdistill.export.causal.runner import TorchCausal
from ragdistill.export.causal.serving import vllm_line
from ragdistill.export.int8 import quantise
from tiny_models import make_tokenizer
from tiny_writers import save_writer

PROMPTS = [[5, 6, 7, 8, 20, 30], [9, 10], [40, 41, 42, 43], [11], [12, 13, 14, 15]]
NEW = 12
END = 8  # what the model says now and then; the first prompt has it, too


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tied embeddings, rows that have no token, biases, and heads wider than a share of the states."""
    return save_writer(
        tmp_path_factory.mktemp("writer") / "student",
        ends=[END],
        tie_word_embeddings=True,
        vocab_size=len(make_tokenizer()) + 3,
        attention_bias=True,
        head_dim=12,
    )


@pytest.fixture(scope="module")
def model(folder: Path) -> TorchCausal:
    return source.load(folder)


@pytest.fixture(scope="module")
def made(
    folder: Path, model: TorchCausal, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Export]:
    reference = Reference(model, PROMPTS, NEW)
    out = tmp_path_factory.mktemp("forms")
    return export_all(folder, out, reference, source_digest="ab", threads=1)


def replies(model: TorchCausal) -> list[list[int]]:
    """Of each prompt on its own, by a loop of one line a step."""
    found = []
    for prompt in PROMPTS:
        reply: list[int] = []
        while len(reply) < NEW and END not in reply:
            said = model.log_probs([*prompt, *reply], [0])[0]
            reply.append(int(said[: len(make_tokenizer())].argmax()))
        found.append(reply)
    return found


def test_some_replies_end_and_others_are_cut(model: TorchCausal) -> None:
    lengths = [len(reply) for reply in replies(model)]
    assert min(lengths) < NEW == max(lengths)


def test_the_model_itself_writes_its_likeliest_tokens(model: TorchCausal) -> None:
    assert model.generate(PROMPTS, NEW) == replies(model)
    assert [list(model.stream(prompt, NEW)) for prompt in PROMPTS] == replies(model)


@pytest.mark.parametrize("kind", ["onnx", "ctranslate2"])
def test_a_form_writes_what_the_model_writes(kind, made, model) -> None:
    runner = load(made[kind].folder, threads=1)
    expected = replies(model)
    assert runner.generate(PROMPTS, NEW) == expected
    assert [list(runner.stream(prompt, NEW)) for prompt in PROMPTS] == expected
    for prompt, reply in zip(PROMPTS, expected, strict=True):
        found = runner.log_probs(prompt, reply)
        np.testing.assert_allclose(found, model.log_probs(prompt, reply), atol=1e-4)
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("kind", ["itself", "onnx", "ctranslate2"])
def test_a_form_knows_how_likely_its_reply_is(kind, made, model) -> None:
    runner = model if kind == "itself" else load(made[kind].folder, threads=1)
    for prompt, reply in zip(PROMPTS, replies(model), strict=True):
        told = model.log_probs(prompt, reply)[:, : len(make_tokenizer())]
        likely = told[np.arange(len(reply)), reply] - np.log(np.exp(told).sum(axis=1))
        assert runner.sure(prompt, NEW) == (reply, pytest.approx(likely.mean(), abs=1e-4))


def test_entries_tell_of_every_form(made) -> None:
    assert list(made) == list(LIMITS)
    entries = {kind: export.as_json() for kind, export in made.items()}
    json.dumps(entries, allow_nan=False)
    for kind in ("onnx", "ctranslate2"):
        assert entries[kind]["passed"]
        assert entries[kind]["max_abs_diff"] < 1e-4
        assert entries[kind]["agreement"] == entries[kind]["same_replies"] == 1
        assert entries[kind]["quality_difference"] is None
    for kind in ("onnx-int8", "ctranslate2-int8"):
        assert entries[kind]["passed"]
        assert 0 < entries[kind]["kl"] < 0.1
    small, full = made["ctranslate2-int8"].folder, made["ctranslate2"].folder
    assert (small / "model.bin").stat().st_size < 0.5 * (full / "model.bin").stat().st_size


def test_a_form_has_its_tokenizer_and_template(made, model) -> None:
    messages = [{"role": "user", "content": "what is a river?"}]
    expected = model.tokenizer.apply_chat_template(messages, tokenize=False)
    for export in made.values():
        tokenizer = AutoTokenizer.from_pretrained(export.folder)
        assert tokenizer.apply_chat_template(messages, tokenize=False) == expected
        assert tokenizer("the river")["input_ids"] == model.tokenizer("the river")["input_ids"]


def test_long_prompts_are_read_in_pieces(made, model, monkeypatch) -> None:
    runner = OnnxCausal(made["onnx"].folder, threads=1)
    monkeypatch.setattr(onnx_runner, "_AT_ONCE", 5)  # tokens of all prompts: one of each
    assert runner.generate(PROMPTS, NEW) == replies(model)


def test_a_head_that_is_turned_whenever_it_runs_is_rounded_too(made, tmp_path) -> None:
    """As the exporter leaves the head of a large vocabulary."""
    plain, turned = made["onnx"].folder, tmp_path / "turned"
    shutil.copytree(plain, turned)
    proto = onnx.load(turned / "model.onnx")
    (head,) = (node for node in proto.graph.node if node.name.startswith("encoder.lm_head"))
    (weight,) = (item for item in proto.graph.initializer if item.name == head.input[1])
    rows = numpy_helper.to_array(weight).T.copy()
    weight.CopyFrom(numpy_helper.from_array(rows, "head.rows"))
    turn = helper.make_node("Transpose", ["head.rows"], [head.input[1]], perm=[1, 0])
    proto.graph.node.insert(0, turn)
    onnx.save(proto, turned / "model.onnx")
    found = [
        OnnxCausal(quantise(folder, tmp_path / f"{name}-int8"), threads=1).log_probs([5, 6], [7])
        for name, folder in (("plain", plain), ("turned", turned))
    ]
    np.testing.assert_array_equal(*found)


def test_int8_that_fails_its_gate_is_made_more_gently(folder, model, tmp_path) -> None:
    def judge(name: str, written: list[list[int]]) -> np.ndarray:
        asked.append(name)
        return np.full(len(written), 1.0 if len(asked) != 2 else 0.98)

    asked: list[str] = []
    reference = Reference(model, PROMPTS, NEW, judge)
    kinds = ("ctranslate2-int8",)
    kept = export_all(folder, tmp_path, reference, source_digest="ab", kinds=kinds, threads=1)
    entry = kept["ctranslate2-int8"].as_json()
    assert asked == ["student", "ctranslate2-int8", "ctranslate2-int8"]
    assert (entry["recipe"], entry["passed"]) == ("float32", True)
    assert [row["recipe"] for row in entry["attempts"]] == ["int8"]
    assert entry["attempts"][0]["reasons"] == ["replies lost 0.0200 > 0.01"]
    assert CTranslateCausal(tmp_path / "ctranslate2-int8").record.precision == "float32"


class Words:
    def __init__(self, **known: int) -> None:
        self.known = known

    def get_vocab(self) -> dict[str, int]:
        return self.known


def test_every_row_has_a_token_of_its_own_in_its_place() -> None:
    words = vocabulary(Words(a=0, c=2, **{"<extra_id_0>": 3, "beyond": 9}), 6)
    assert words[0] == "a"
    assert words[2:4] == ["c", "<extra_id_0>"]
    assert len(set(words)) == len(words) == 6
    assert "beyond" not in words


def test_architectures_that_a_form_does_not_know_are_refused(tmp_path) -> None:
    sizes = {
        "vocab_size": 140,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
    }
    olmo = save_writer(tmp_path / "olmo", OlmoConfig(**sizes))
    with pytest.raises(UserError, match="ctranslate2 does not take a OlmoForCausalLM"):
        ctranslate.write(olmo, tmp_path / "out", "int8", source_digest="ab")
    gemma = save_writer(tmp_path / "gemma", Gemma2Config(**sizes, head_dim=16))
    with pytest.raises(UserError, match="sliding_attention cannot be exported to ONNX"):
        graph.write(gemma, tmp_path / "out", source_digest="ab")
    assert not (tmp_path / "out").exists()


def test_what_is_missing_or_damaged_is_said_in_one_line(made, tmp_path, monkeypatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="does not load as a causal language model"):
        graph.write(tmp_path, tmp_path / "out", source_digest="ab")
    with pytest.raises(UserError, match="not an exported causal"):
        load(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in made["ctranslate2"].folder.iterdir():
        (broken / file.name).write_bytes(
            file.read_bytes()[: 10_000 if file.suffix == ".bin" else None]
        )
    with pytest.raises(UserError, match="ctranslate2 cannot load it"):
        load(broken)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(UserError, match=r"pip install 'ragdistill\[serve\]'"):
        load(made["ctranslate2"].folder)


def test_the_line_that_serves_a_student(folder, tmp_path) -> None:
    words = shlex.split(vllm_line(folder, at="./my student"))
    assert words[:3] == ["vllm", "serve", "./my student"]
    assert words[words.index("--max-model-len") + 1] == "256"
    assert vllm_line(folder).startswith(f"vllm serve {folder} ")
    with pytest.raises(UserError, match="no configuration of a causal language model"):
        vllm_line(tmp_path)
