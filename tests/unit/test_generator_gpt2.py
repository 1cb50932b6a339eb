"""GPT-2, whose names, layers and tied head are others than those of later models."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from answer_helpers import LAYERS, NO_EXPORT, answering, run, save_answerer
from rerank_helpers import report_of
from tiny_models import make_tokenizer


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """With a GPT-2 beside it for a teacher."""
    sizes = {"n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_positions": 2048}
    config = GPT2Config(
        vocab_size=len(make_tokenizer()), initializer_range=0.3, bos_token_id=None,
        eos_token_id=None, **sizes,
    )  # fmt: skip
    save_answerer(tmp_path / "teacher", config)
    return answering(tmp_path / "data")


def held_out(report: dict[str, object]) -> list[float]:
    losses = report["training"]["losses"]  # type: ignore[index]
    return [row["held_out"] for row in losses if "held_out" in row]


def test_half_of_a_gpt_2_learns_what_the_whole_says(tmp_path: Path, data: Path) -> None:
    report = report_of(run(tmp_path, data, "--json"))
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "run/student")
    assert type(student) is GPT2LMHeadModel
    assert student.config.n_layer == LAYERS // 2
    assert student.lm_head.weight is student.transformer.wte.weight
    losses = held_out(report)
    assert losses[-1] < losses[0]
    assert report["exports"]["onnx"]["passed"]
    assert {"teacher", "student", "onnx"} <= report["speed"].keys()


def test_low_rank_updates_reach_its_layers(tmp_path: Path, data: Path) -> None:
    asked = ("--lora", "4", "--method", "labels", "--lr", "1e-2", *NO_EXPORT, "--json")
    losses = held_out(report_of(run(tmp_path, data, *asked)))
    assert losses[-1] < losses[0]
    before, after = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("teacher", "run/student")
    )
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
        old, new = (each.transformer.h[0].get_submodule(name).weight for each in (before, after))
        assert torch.linalg.matrix_rank(new - old, tol=1e-6) > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--qat",), "--qat: a GPT2LMHeadModel has no linear layers"),
        (("--attention", "1"), "--attention: a GPT2LMHeadModel does not make queries"),
        (("--qat", "--via", "3", "--student-layers", "1"), "--qat: a GPT2LMHeadModel"),
    ],
)
def test_what_it_cannot_learn_is_refused_before_anything_is_asked(
    tmp_path: Path, data: Path, more: tuple[str, ...], said: str
) -> None:
    result = run(tmp_path, data, *more, *NO_EXPORT)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert not (tmp_path / "run/run.json").exists()
