"""Token-budget batches: nothing lost, nothing over budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdistill.batching import shared_batches, token_budget_batches

LENGTHS = st.lists(st.integers(1, 300), max_size=80)


@given(LENGTHS, st.integers(1, 600), st.one_of(st.none(), st.integers(1, 9)))
def test_every_item_once_and_no_batch_over_budget(lengths, budget, max_items):
    batches = token_budget_batches(lengths, budget, max_items)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
        assert len(batch) <= (max_items or len(lengths))


@given(LENGTHS, st.integers(1, 600))
def test_longest_first_and_equal_lengths_in_their_order(lengths, budget):
    flat = [index for batch in token_budget_batches(lengths, budget) for index in batch]
    assert flat == sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))


def test_batches_are_as_full_as_the_budget_allows():
    assert token_budget_batches([2, 4, 1, 4], 8) == [[1, 3], [0, 2]]
    assert token_budget_batches([2, 4, 1, 4], 8, max_items=1) == [[1], [3], [0], [2]]


@given(LENGTHS, st.integers(1, 600), st.integers(1, 8))
def test_shared_batches_hold_every_item_once_within_the_budget(lengths, budget, workers):
    batches = shared_batches(lengths, budget, workers)
    flat = [index for batch in batches for index in batch]
    assert flat == sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_no_worker_waits_for_the_last_batch():
    lengths = [32] * 40
    assert [len(batch) for batch in token_budget_batches(lengths, 256)] == [8] * 5
    assert [len(batch) for batch in shared_batches(lengths, 256, 2)] == [5] * 8
    assert [len(batch) for batch in shared_batches([30] * 8, 256, 2)] == [4, 4]
    assert shared_batches([30], 256, 2) == [[0]]
    assert shared_batches([9, 9], 256, 2) == [[0, 1]]  # handing them out would take longer


@pytest.mark.parametrize(
    ("lengths", "budget", "most"), [([1], 0, None), ([1], 4, 0), ([0], 4, None)]
)
def test_what_makes_no_sense_is_refused(lengths, budget, most):
    with pytest.raises(ValueError, match="at least 1"):
        token_budget_batches(lengths, budget, most)
