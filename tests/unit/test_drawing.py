"""Draws: from the right distribution, and each row's own."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from ragdistill.drawing import Drawn

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
    assert not torch.equal(rows[0] - scores[0], rows[1] - scores[1])


def test_nothing_is_drawn_at_no_temperature() -> None:
    with pytest.raises(ValueError, match="temperature of 0"):
        Drawn(0.0, ["a"])
