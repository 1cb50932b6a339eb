"""Draws: from the right distribution, and each row's own."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from ragdistill.drawing import Drawn
from ragdistill.errors import UserError
from ragdistill_generator.config import GeneratorConfig, check_together

LOGITS = torch.tensor([2.0, 0.0, 1.0, -1.0, float("-inf")])
IDS = torch.zeros(1, 1, dtype=torch.long)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_draws_are_of_the_tempered_distribution(temperature: float) -> None:
    draws = 4000
    drawn = Drawn(temperature, [f"{number}" for number in range(draws)])
    found = drawn(IDS, LOGITS.expand(draws, -1)).argmax(dim=-1)
    counts = np.bincount(found.numpy(), minlength=5)
    assert counts[4] == 0
    expected = (LOGITS[:4] / temperature).softmax(dim=-1).double().numpy()
    assert chisquare(counts[:4], draws * expected / expected.sum()).pvalue > 1e-3


def test_a_stream_of_draws_is_of_that_distribution_too() -> None:
    drawn, draws = Drawn(1.0, ["one"]), 4000
    found = [int(drawn(IDS, LOGITS[None]).argmax()) for _ in range(draws)]
    counts = np.bincount(found, minlength=5)
    expected = LOGITS[:4].softmax(dim=-1).double().numpy()
    assert chisquare(counts[:4], draws * expected / expected.sum()).pvalue > 1e-3


def test_a_row_draws_the_same_whatever_is_beside_it() -> None:
    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    together = Drawn(1.0, ["a", "b", "c"])
    alone = [Drawn(1.0, [seed]) for seed in "abc"]
    for _ in range(3):
        rows = together(IDS, scores)
        for place, each in enumerate(alone):
            assert torch.equal(rows[place], each(IDS, scores[place : place + 1])[0])
        assert (rows.isfinite().sum(dim=1) == 1).all()


def test_rows_of_other_seeds_draw_otherwise() -> None:
    drawn = Drawn(1.0, ["a", "b", "a"])
    rows = torch.stack([drawn(IDS, torch.zeros(3, 50)).argmax(dim=-1) for _ in range(20)], dim=1)
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_many_words_the_likely_and_the_others_are_drawn(dtype: torch.dtype) -> None:
    words, draws = 50_000, 600
    scores = torch.zeros(words, dtype=dtype)
    scores[[0, -1]] = -torch.inf
    scores[30_000] = float(np.log(words))  # half of all, a little less in bfloat16
    share = float(scores.double().softmax(dim=-1)[30_000])
    drawn = Drawn(1.0, [f"{number}" for number in range(draws)])
    found = drawn(IDS, scores.expand(draws, -1)).argmax(dim=-1)
    likely = int((found == 30_000).sum())
    assert abs(likely - share * draws) < 4 * np.sqrt(draws * share * (1 - share))
    others = found[found != 30_000].double()
    assert abs(float(others.mean()) / words - 0.5) < 4 * np.sqrt(1 / 12 / len(others))
    assert not np.isin(found.numpy(), [0, words - 1]).any()


@pytest.mark.parametrize("point", [0.0, 1 - 2**-53])
def test_no_token_at_minus_infinity_is_drawn(point: float, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.rand
    monkeypatch.setattr(torch, "rand", lambda n, **more: real(n, **more) * 0 + point)
    scores = torch.randn(200, 40, generator=torch.Generator().manual_seed(0))
    scores[:, [0, 1, 17, 38, 39]] = -torch.inf
    found = Drawn(0.7, [f"{row}" for row in range(200)])(IDS, scores).argmax(dim=-1)
    assert set(found.tolist()) == {2 if point == 0 else 37}


def test_small_temperatures_take_the_likeliest() -> None:
    scores = torch.tensor([[3.0, 5.0, 4.9]])
    assert int(Drawn(1e-39, ["a"])(IDS, scores).argmax()) == 1


@pytest.mark.parametrize("option", ["sampling", "student_sampling"])
def test_no_run_draws_at_what_is_hardly_a_temperature(option: str) -> None:
    told: dict[str, Any] = {"teacher": "any", option: 1e-39}
    with pytest.raises(
        UserError, match=rf"^--{option.replace('_', '-')}: at a temperature below 0.01"
    ):
        check_together(GeneratorConfig(**told), told=False, own="teacher", stored=False)


def test_nothing_is_drawn_at_no_temperature() -> None:
    with pytest.raises(ValueError, match="temperature of 0"):
        Drawn(0.0, ["a"])
