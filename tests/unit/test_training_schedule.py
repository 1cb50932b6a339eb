"""Which texts go into which training step."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdistill.training.schedule import evaluation_schedule, training_schedule

lengths_of = st.lists(st.integers(1, 300), min_size=1, max_size=60)


def schedule(lengths: list[int], **changes: float) -> list[list[int]]:
    settings = {"epochs": 1, "max_tokens": 10**9, "batch_tokens": 512, "seed": 0} | changes
    return list(training_schedule(lengths, **settings))  # type: ignore[arg-type]


@given(lengths_of, st.integers(1, 3), st.integers(1, 1000), st.integers(0, 5))
def test_each_pass_has_every_text_once_within_the_budget(
    lengths: list[int], epochs: int, budget: int, seed: int
) -> None:
    batches = schedule(lengths, epochs=epochs, batch_tokens=budget, seed=seed)
    counts = Counter(chain.from_iterable(batches))
    assert counts == dict.fromkeys(range(len(lengths)), epochs)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[item] for item in batch) <= budget


@given(lengths_of, st.integers(0, 5))
def test_a_seed_fixes_everything(lengths: list[int], seed: int) -> None:
    assert schedule(lengths, epochs=2, seed=seed) == schedule(lengths, epochs=2, seed=seed)


def test_passes_and_seeds_differ() -> None:
    lengths = [10 + item % 7 for item in range(200)]
    batches = schedule(lengths, epochs=2, batch_tokens=100)
    first, second = batches[: len(batches) // 2], batches[len(batches) // 2 :]
    assert sorted(map(sorted, first)) != sorted(map(sorted, second))
    assert batches != schedule(lengths, epochs=2, batch_tokens=100, seed=1)


def test_the_first_pass_does_not_depend_on_how_many_follow() -> None:
    lengths = list(range(1, 100))
    one, three = schedule(lengths, epochs=1), schedule(lengths, epochs=3)
    assert three[: len(one)] == one


@given(lengths_of, st.integers(1, 20_000))
def test_no_step_begins_after_the_last_token(lengths: list[int], limit: int) -> None:
    batches = schedule(lengths, epochs=5, max_tokens=limit)
    seen = [sum(lengths[item] for item in batch) for batch in batches]
    assert sum(seen[:-1]) < limit
    assert sum(seen) >= min(limit, 5 * sum(lengths))


def test_a_fraction_of_a_pass_is_cut_short() -> None:
    lengths = [10] * 100
    half = schedule(lengths, epochs=0.5, batch_tokens=100)
    assert len(half) == 5
    assert len(set(chain.from_iterable(half))) == 50


@pytest.mark.parametrize("epochs", [1e-9, 0.001])
def test_at_least_one_step_runs(epochs: float) -> None:
    assert len(schedule([3, 4], epochs=epochs)) == 1


def test_nothing_to_train_on_is_no_step() -> None:
    assert schedule([]) == []


def test_batches_pad_little() -> None:
    lengths = [1 + (item * 37) % 256 for item in range(2000)]
    batches = schedule(lengths, batch_tokens=2048)
    padded = sum(len(batch) * max(lengths[item] for item in batch) for batch in batches)
    assert sum(lengths) / padded > 0.9


@given(lengths_of)
def test_evaluation_sees_every_text_once(lengths: list[int]) -> None:
    batches = evaluation_schedule(lengths, 512)
    assert sorted(chain.from_iterable(batches)) == list(range(len(lengths)))
    assert len(batches) == len(list(batches))
