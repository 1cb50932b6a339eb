"""Low-rank updates: what is trained, and what is left when they are merged."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
)

from ragdistill.errors import UserError
from ragdistill.training.checkpoints import load_trainable, save_trainable
from ragdistill.training.lora import adapt


def bert() -> nn.Module:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BertModel(BertConfig(vocab_size=50, intermediate_size=24, **sizes)).eval()


def distilbert() -> nn.Module:
    sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    return DistilBertModel(DistilBertConfig(vocab_size=50, **sizes)).eval()


def said(model: nn.Module) -> Tensor:
    found: Tensor = model(input_ids=torch.arange(1, 13).view(2, 6)).last_hidden_state
    return found


def taught(model: nn.Module) -> None:
    """Put something into every weight that is trained."""
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize("make", [bert, distilbert])
def test_merged_updates_say_the_same_and_are_of_their_rank(make: type[nn.Module]) -> None:
    model = make()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    untouched = said(model)
    merge = adapt(model, 3, seed=0)
    assert torch.equal(said(model), untouched)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(trained) == 2 * 2 * 6  # two matrices for each of six linear layers in two layers
    assert all(".lora_" in name for name in trained)
    taught(model)
    adapted = said(model)
    assert not torch.allclose(adapted, untouched, atol=0.01)
    merge()
    torch.testing.assert_close(said(model), adapted)
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name, weight in after.items():
        update = weight - before[name]
        linear = weight.ndim == 2 and "embeddings" not in name and "pooler" not in name
        assert torch.linalg.matrix_rank(update, tol=1e-4) == 3 if linear else not update.any()


def test_of_gpt_2_all_matrices_of_its_layers_are_updated() -> None:
    """They are transposed, and those of three projections one."""
    config = GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    model = GPT2Model(config).eval()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    untouched = said(model)
    merge = adapt(model, 3, seed=0)
    assert torch.equal(said(model), untouched)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 2 * 4
    taught(model)
    adapted = said(model)
    assert not torch.allclose(adapted, untouched, atol=0.01)
    merge()
    torch.testing.assert_close(said(model), adapted)
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name, weight in after.items():
        update = weight - before[name]
        matrix = name.startswith("h.") and weight.ndim == 2
        assert torch.linalg.matrix_rank(update, tol=1e-4) == 3 if matrix else not update.any()


def test_where_no_layer_is_linear_nothing_is_updated() -> None:
    with pytest.raises(UserError, match="--lora: a Embedding has no linear layers"):
        adapt(nn.Embedding(3, 4), 2, seed=0)


def test_what_is_trained_is_all_that_is_saved(tmp_path: Path) -> None:
    one, other = bert(), bert()
    adapt(one, 2, seed=0)
    adapt(other, 2, seed=1)
    taught(one)
    save_trainable(one, tmp_path)
    load_trainable(other, tmp_path)
    assert torch.equal(said(one), said(other))
    third = bert()
    adapt(third, 2, seed=0)
    next(third.parameters()).requires_grad_(True)
    with pytest.raises(ValueError, match="does not hold what is trained"):
        load_trainable(third, tmp_path)
