"""A student by leaving out width."""

import copy
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from ragdistill import UserError
from ragdistill.training.narrowing import (
    Kept,
    Widths,
    choose,
    choose_widths,
    gains,
    importance,
    indifferent,
    narrow,
    widths_of,
)

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.5,
}
DISTILBERT = {"vocab_size": 50, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}
FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "bert": lambda: BertModel(BertConfig(**SIZES)),
    "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**SIZES)),
    "mpnet": lambda: MPNetModel(MPNetConfig(**SIZES)),
    "distilbert": lambda: DistilBertModel(DistilBertConfig(**DISTILBERT, initializer_range=0.5)),
    "electra": lambda: ElectraModel(ElectraConfig(**SIZES, embedding_size=32)),
}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FAMILIES[request.param]().eval()


def batches() -> list[dict[str, Tensor]]:
    """Two batches of ids, the second with padding."""
    drawn = torch.randint(3, 50, (2, 4, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(drawn)
    mask[1, :2, 5:] = 0
    return [{"input_ids": i, "attention_mask": m} for i, m in zip(drawn, mask, strict=True)]


def said(model: nn.Module) -> Tensor:
    """States of all real tokens ``[t, width]``."""
    with torch.no_grad():
        return torch.cat(
            [
                model(**batch).last_hidden_state[batch["attention_mask"].bool()]
                for batch in batches()
            ]
        )


def cut(model: nn.Module, kept: Kept) -> nn.Module:
    return narrow(model, kept, gains(model, batches(), kept.hidden))


def test_leaving_nothing_out_changes_nothing(model: nn.Module) -> None:
    kept = choose(importance(model, batches()), widths_of(model))
    whole = cut(model, kept)
    ours, theirs = whole.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert torch.equal(said(whole), said(model))


ALIVE = Kept(
    torch.arange(1, 32, 2),  # 16 of 32 dimensions
    torch.tensor([[0, 3], [0, 3], [0, 3]]),  # 2 of 4 heads; MPNet's layers keep the same ones
    torch.stack([torch.arange(start, start + 20) for start in (0, 7, 28)]),  # of 48 neurons
)


def kill(model: nn.Module, kept: Kept) -> None:
    """Make all but ``kept`` do nothing, in place. What is written to the hidden states has mean 0
    over the dimensions that stay, so that a layer norm loses nothing but scale with the others."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            module, _, part = name.rpartition(".")
            writes = "embeddings." in module or module.endswith(
                ("output.dense", "attn.o", "out_lin", "lin2")
            )
            number = int(name.split("layer.")[1].split(".")[0]) if "layer." in name else 0
            if "norm" in module.lower():
                dead = torch.ones(32, dtype=torch.bool)
                dead[kept.hidden] = False
                tensor[dead] = 0
                # A bias of mean 0, and even weights, keep the mean of the states at 0, too.
                tensor[kept.hidden] = 1.3 if part == "weight" else 0.0
            elif writes:
                table = tensor.T if tensor.ndim == 2 and "embeddings." not in module else tensor
                rest = torch.ones(32, dtype=torch.bool)
                rest[kept.hidden] = False
                table[..., rest] = 0
                table[..., kept.hidden] -= table[..., kept.hidden].mean(-1, keepdim=True)
            if (
                module.endswith(("attention.output.dense", "attn.o", "out_lin"))
                and part == "weight"
            ):
                alive = torch.zeros(4, 8, dtype=torch.bool)
                alive[kept.heads[number]] = True
                tensor[:, ~alive.flatten()] = 0
            elif module.endswith((f"{number}.output.dense", "lin2")) and part == "weight":
                dead = torch.ones(48, dtype=torch.bool)
                dead[kept.neurons[number]] = False
                tensor[:, dead] = 0


def test_dead_parts_are_not_missed(model: nn.Module) -> None:
    kill(model, ALIVE)
    whole = said(model)
    small = cut(model, ALIVE)
    config = small.config
    assert (config.hidden_size, config.num_attention_heads) == (16, 2)
    assert widths_of(small) == Widths(16, 2, 20)
    assert whole[:, ALIVE.hidden].std() > 0.5
    torch.testing.assert_close(said(small), whole[:, ALIVE.hidden], atol=1e-4, rtol=1e-4)
    other = Kept(ALIVE.hidden - 1, ALIVE.heads, ALIVE.neurons)
    assert not torch.allclose(said(cut(model, other)), whole[:, ALIVE.hidden], atol=0.1)


def test_what_is_alive_matters_most(model: nn.Module) -> None:
    with torch.no_grad():  # heads and neurons are silenced where they arise
        for name, tensor in model.state_dict().items():
            number = int(name.split("layer.")[1].split(".")[0]) if "layer." in name else 0
            if name.rpartition(".")[0].endswith(("value", "attn.v", "v_lin")):
                alive = torch.zeros(4, 8, dtype=torch.bool)
                alive[ALIVE.heads[number]] = True
                tensor[~alive.flatten()] = 0
            elif "intermediate.dense" in name or "lin1" in name:
                dead = torch.ones(48, dtype=torch.bool)
                dead[ALIVE.neurons[number]] = False
                tensor[dead] = 0
            elif "norm" in name.lower():
                dead = torch.ones(32, dtype=torch.bool)
                dead[ALIVE.hidden] = False
                tensor[dead] = 0
    kept = choose(importance(model, batches()), Widths(16, 2, 20))
    assert torch.equal(kept.hidden, ALIVE.hidden)
    assert torch.equal(kept.heads, ALIVE.heads)
    assert torch.equal(kept.neurons, ALIVE.neurons)


def test_padding_does_not_count() -> None:
    model = FAMILIES["bert"]().eval()
    _, padded = batches()
    other = copy.deepcopy(padded)
    other["input_ids"][other["attention_mask"] == 0] = 7
    one, two = importance(model, [padded]), importance(model, [other])
    assert torch.equal(one.hidden, two.hidden)
    assert torch.equal(one.neurons, two.neurons)


def test_widths_shrink_together() -> None:
    model = FAMILIES["bert"]()
    assert choose_widths(model, 8, None) == Widths(8, 1, 12)
    assert choose_widths(model, 24, 10) == Widths(24, 3, 10)
    assert choose_widths(model, None, 10) == Widths(32, 4, 10)
    kept = choose(indifferent(model), Widths(8, 1, 3))
    assert kept.heads.tolist() == [[0]] * 3
    assert kept.neurons.tolist() == [[0, 1, 2]] * 3


@pytest.mark.parametrize(
    ("hidden", "neurons", "words"),
    [
        (20, None, "--student-hidden: no 20 dimensions.*heads of 8; choose from 8, 16, 24, 32"),
        (40, None, "--student-hidden: no 40 dimensions can be kept of 32"),
        (16, 49, "--student-intermediate: cannot keep 49.*from 1 to 48"),
    ],
)
def test_widths_that_are_not_there_are_refused(
    hidden: int, neurons: int | None, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        choose_widths(FAMILIES["bert"](), hidden, neurons)
    assert re.search(words, caught.value.format_message())


def modern_bert() -> nn.Module:
    sizes = {name: size for name, size in SIZES.items() if name != "max_position_embeddings"}
    return ModernBertModel(ModernBertConfig(**sizes, pad_token_id=0))


@pytest.mark.parametrize(
    "make",
    [modern_bert, lambda: ElectraModel(ElectraConfig(**SIZES, embedding_size=16))],
)
def test_tensors_that_are_not_understood_are_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(UserError, match=r"cannot be cut: what its .* stands for is not known"):
        choose_widths(make(), 16, None)
