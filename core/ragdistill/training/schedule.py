"""Which texts go into which training step: batches of like length, filled to a token budget.

A batch of texts of one length pads nothing, so a step costs what its tokens cost. The whole
schedule, every pass, is fixed by the seed before training starts: a resumed run skips the steps it
has done and meets the very same ones after them.
"""

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import BatchSampler

from ragdistill.batching import token_budget_batches


class Schedule(BatchSampler):
    """A fixed list of batches, as PyTorch's data loader takes it for ``batch_sampler``."""

    def __init__(self, batches: Sequence[list[int]]) -> None:
        self.batches = list(batches)
        # Read by accelerate, which deals batches out to processes: they have no one size.
        self.batch_size = None  # type: ignore[assignment]
        self.drop_last = False

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def training_schedule(
    lengths: Sequence[int], *, epochs: float, max_tokens: int, batch_tokens: int, seed: int
) -> Schedule:
    """``epochs`` passes over the texts, each with other batches in another order.

    Args:
        lengths: tokens of each text.
        epochs: passes; a fraction cuts the last pass short.
        max_tokens: no step begins when this many tokens have been seen; at least one step runs.
        batch_tokens: padded tokens per batch, at most (a longer text is a batch of its own).
        seed: of the order.
    """
    batches: list[list[int]] = []
    total = sum(lengths)
    seen, limit = 0, max(1, min(max_tokens, round(epochs * total))) if total else 0
    pass_number = 0
    while seen < limit:
        rng = random.Random(f"{seed} {pass_number}")
        for batch in _one_pass(lengths, batch_tokens, rng):
            if seen >= limit:
                break
            batches.append(batch)
            seen += sum(lengths[item] for item in batch)
        pass_number += 1
    return Schedule(batches)


def evaluation_schedule(lengths: Sequence[int], batch_tokens: int) -> Schedule:
    """Every text once, in batches of like length."""
    return Schedule(token_budget_batches(lengths, batch_tokens))


def _one_pass(lengths: Sequence[int], batch_tokens: int, rng: random.Random) -> list[list[int]]:
    """All texts once: shuffled, grouped by length with a little noise so that passes differ in
    who meets whom, and the batches shuffled."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    noisy = [lengths[item] * rng.uniform(0.95, 1.05) for item in order]
    by_noise = sorted(range(len(order)), key=noisy.__getitem__)
    ranked = [order[place] for place in by_noise]
    batches = _fill(ranked, lengths, batch_tokens)
    rng.shuffle(batches)
    return batches


def _fill(ranked: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut ``ranked`` (about ascending in length) where one more text would break the budget."""
    batches: list[list[int]] = [[]]
    longest = 0
    for item in ranked:
        longest = max(longest, lengths[item])
        if batches[-1] and longest * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
            longest = lengths[item]
        batches[-1].append(item)
    return batches
