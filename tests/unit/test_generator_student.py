"""The causal student: what it is made of, and that it loads wherever such models do."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lesson_helpers import examples, llama
from ragdistill import UserError
from ragdistill.causal import load, write
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.training.pruning import keep_layers
from ragdistill_generator.lesson import Lesson
from ragdistill_generator.student import Student, chosen_layers, make, measured
from tiny_models import make_tokenizer

TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}answer"


@pytest.fixture
def base(tmp_path: Path) -> ResolvedModel:
    llama(layers=4).float().save_pretrained(tmp_path / "base")
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path / "base")
    return resolve(str(tmp_path / "base"))


def test_a_student_is_saved_as_any_causal_model(base: ResolvedModel, tmp_path: Path) -> None:
    student = make(base, "cpu", layers="2")
    folder = tmp_path / "student"
    student.save(folder)
    assert (folder / "model.safetensors").exists()
    assert not [file for file in folder.rglob("*") if file.suffix in {".bin", ".pt", ".pth"}]
    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert network.config.num_hidden_layers == 2
    assert AutoTokenizer.from_pretrained(folder).chat_template == TEMPLATE
    again = Student.load(folder, "cpu")
    prompts = [[5, 6, 7, 8], [9, 10]]
    told = [
        write(each, student.tokenizer, prompts, 8)
        for each in (student.network, network, again.network)
    ]
    assert told[0] == told[1] == told[2]


def test_layers_are_chosen_by_what_is_measured(base: ResolvedModel) -> None:
    lesson = Lesson(examples(8), 200)
    network = make(base, "cpu").network
    # The third layer is made to do nothing.
    for part in (network.model.layers[2].self_attn.o_proj, network.model.layers[2].mlp.down_proj):
        part.weight.data.zero_()
    assert chosen_layers(network, "3", "angular", lesson) == [0, 1, 3]
    assert chosen_layers(network, "3", "block", lesson) == [0, 1, 3]
    assert chosen_layers(network, "3", "even") == [0, 2, 3]
    assert chosen_layers(network, "2", "even") == [0, 3]
    assert chosen_layers(network, "0,1", "angular") == [0, 1]
    tokens = sum(len(example.answer) for example in lesson.examples)
    assert measured(network, lesson).shape == (5, tokens, 32)
    alone = measured(network, Lesson(examples(8), 200, together=False))
    together = measured(network, lesson)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_a_student_that_cannot_be_made_is_refused(base: ResolvedModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot keep 5 layers of a model that has 4"):
        make(base, "cpu", layers="5")
    with pytest.raises(ValueError, match="nothing to measure"):
        make(base, "cpu", layers="2", prune="angular")
    with pytest.raises(UserError, match="does not load as a causal language model"):
        Student.load(tmp_path, "cpu")


def save_gguf(path: Path) -> None:
    """A Llama of two layers as llama.cpp writes it, its larger matrices in blocks of 8 bits."""
    rng, kind = np.random.default_rng(0), gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(60)
    shapes = {"token_embd": (60, 64)}
    for layer in range(2):
        wide = {"attn_q": 64, "attn_k": 32, "attn_v": 32, "attn_output": 64, "ffn_gate": 96}
        shapes |= {f"blk.{layer}.{name}": (rows, 64) for name, rows in wide.items()}
        shapes |= {f"blk.{layer}.ffn_up": (96, 64), f"blk.{layer}.ffn_down": (64, 96)}
    for name, shape in shapes.items():
        whole = rng.normal(size=shape).astype(np.float32)
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(whole, kind), raw_dtype=kind)
    norms = [f"blk.{layer}.{name}" for layer in range(2) for name in ("attn_norm", "ffn_norm")]
    for name in (*norms, "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_of_a_gguf_file_an_ordinary_model_is_made(tmp_path: Path) -> None:
    save_gguf(tmp_path / "tiny.gguf")
    network = load(resolve(str(tmp_path / "tiny.gguf")), "cpu", "float32")
    keep_layers(network, [0])
    network.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    ids = torch.arange(5, 15)[None]
    assert torch.equal(again(ids).logits, network(ids).logits)
    assert not hasattr(again.config, "quantization_config")
    assert all(part.dtype == torch.float32 for part in again.parameters())
