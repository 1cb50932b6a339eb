"""Training with int8's rounding: what is rounded, what is learnt from it, and that nothing of it stays."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lesson_helpers import CHECKPOINTS, batch_of, examples, llama, recipe, student
from ragdistill.errors import UserError
from ragdistill.losses import LogitObjective
from ragdistill.training import fake_int8
from ragdistill.training.fake_int8 import adapt, rounded_rows
from ragdistill.training.reading import Reader
from ragdistill_generator.lesson import Lesson
from ragdistill_generator.objective import AnswerLoss
from ragdistill_generator.training import fit

OBJECTIVE = LogitObjective(alpha=0.6, temperature=2.0)


def by_hand(values: np.ndarray) -> np.ndarray:
    """As ctranslate2 has it: 127 over the greatest of a row, rounded to the nearest."""
    scales = fake_int8.STEPS / np.abs(values).max(axis=-1, keepdims=True)
    return np.asarray(np.rint(values * scales) / scales)


def test_rows_are_rounded_apart_and_the_gradient_goes_through() -> None:
    values = torch.tensor([[1.0, -127.0, 0.4], [0.0, 0.0, 0.0], [0.002, 0.0011, -0.001]])
    told = rounded_rows(values.requires_grad_())
    assert told[0].tolist() == pytest.approx([1.0, -127.0, 0.0])
    assert not told[1].any()
    np.testing.assert_allclose(
        told[2].detach().numpy(), by_hand(values[2].detach().numpy()), rtol=1e-5
    )
    (told * torch.tensor([1.0, 2.0, 3.0])).sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert values.grad.tolist() == [[1.0, 2.0, 3.0]] * 3


def in_int8(network: Any) -> Any:
    """The same network with each matrix rounded for good, and a layer that rounds what it is given."""
    made = copy.deepcopy(network)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.copy_(torch.from_numpy(by_hand(module.weight.numpy())))

    def given(layer: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (torch.from_numpy(by_hand(inputs[0].detach().numpy())),)

    for module in made.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(given)
    return made


@pytest.mark.parametrize("tied", [True, False])
def test_a_student_reads_as_int8_does_and_is_itself_afterwards(tied: bool) -> None:
    network = llama(tied=tied)
    network.get_input_embeddings().requires_grad_(False)
    before = {name: part.clone() for name, part in network.state_dict().items()}
    batch = batch_of(Lesson(examples(4, taught=2), 200))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
    with torch.no_grad():
        expected, plain = (
            Reader(each).logits(inputs, batch["places"]) for each in (in_int8(network), network)
        )
    end = adapt(network)
    reader = Reader(network)
    assert reader.factor == 1.0
    found = reader.states(inputs, batch["places"]) @ reader.head.weight.T
    # Scales are in float32, so here and there a number is rounded the other way.
    assert (found - expected).abs().mean() < 0.1 * (plain - expected).abs().mean()
    AnswerLoss(network, OBJECTIVE)(**batch).backward()
    trained = [part for part in network.parameters() if part.requires_grad]
    assert all(part.grad is not None and part.grad.any() for part in trained)
    end()
    assert type(network.lm_head) is nn.Linear
    assert (network.lm_head.weight is network.model.embed_tokens.weight) is tied
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(part, before[name]) for name, part in network.state_dict().items())
    assert torch.equal(Reader(network).logits(inputs, batch["places"]), plain)


def test_what_is_learnt_so_loses_less_when_it_is_rounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of two students is rounded in the end, to so few steps that it matters to a tiny one."""
    monkeypatch.setattr(fake_int8, "STEPS", 7)
    lesson = Lesson(examples(24), 200)
    losses = {}
    for way in (False, True):
        made = student()
        pace = recipe(objective=LogitObjective(alpha=0), lr=5e-3, epochs=20, int8=way)
        fit(made, lesson, pace, tmp_path / str(way) / CHECKPOINTS)
        assert "parametrizations" not in " ".join(made.network.state_dict())
        with torch.no_grad():
            told = [
                AnswerLoss(each, LogitObjective(alpha=0))(**batch_of(lesson)).item()
                for each in (made.network, in_int8(made.network))
            ]
        losses[way] = told[1] - told[0]
    assert losses[True] < losses[False]


def test_a_network_without_linear_layers_is_refused() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    network = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(UserError, match="has no linear layers"):
        adapt(network)
