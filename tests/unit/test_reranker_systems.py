"""Documents are scored by vectors of their tokens, also beside documents that have none."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from ragdistill.losses import maxsim
from ragdistill_reranker.lists import Lists
from ragdistill_reranker.max_similarity import Vectors, max_similarities
from ragdistill_reranker.systems import TokenSystem

DIMENSIONS = 8


def drawn(*counts: int) -> list[Vectors]:
    random = np.random.default_rng(0)
    return [random.normal(size=(count, DIMENSIONS)).astype(np.float32) for count in counts]


def reference(query: Vectors, documents: Vectors, lengths: Sequence[int]) -> Vectors:
    """The scores that training has."""
    tensors = torch.from_numpy(query), torch.from_numpy(documents)
    found: Vectors = maxsim(*tensors, [len(query)], [lengths])[0].numpy()
    return found


@pytest.mark.parametrize("asked", [0, 1, 6])
@pytest.mark.parametrize(
    "lengths",
    [[5], [3, 2], [0, 3, 2], [3, 0, 2], [3, 0, 0, 2], [3, 2, 0], [0, 1, 0, 4, 0, 0], [0, 0]],
    ids=str,
)
def test_documents_without_tokens_score_nothing_and_change_no_other(
    lengths: list[int], asked: int
) -> None:
    query, documents = drawn(asked, sum(lengths))
    found = max_similarities(query, documents, lengths)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(query, documents, lengths), atol=1e-5)


def test_no_documents_have_no_scores_and_lengths_add_up() -> None:
    query, some = drawn(2, 3)
    assert max_similarities(query, some[:0], []).shape == (0,)
    with pytest.raises(ValueError, match="3 tokens, of which the lengths tell 4"):
        max_similarities(query, some, [3, 1])


class Words(TokenSystem):
    """A vector of each word; none of an empty text."""

    def encode(self, texts: Sequence[str], task: str) -> list[Vectors]:
        return [np.concatenate([drawn(0)[0], *map(word, text.split())]) for text in texts]


def word(text: str) -> Vectors:
    random = np.random.default_rng(sum(map(ord, text)))
    return random.normal(size=(1, DIMENSIONS)).astype(np.float32)


def test_a_system_takes_empty_documents_anywhere() -> None:
    system, query = Words(), "the old river"
    texts = ["", "an old bridge", "", "the sea", ""]
    asked, *told = system.encode([query, *texts], "document")
    alone = [reference(asked, each, [len(each)])[0] for each in told]
    there = np.array([[True] * 5, [True, True, True, False, False]])
    scores = system.score(Lists([query, query], [texts, texts], there))
    np.testing.assert_allclose(scores, [alone, [*alone[:3], 0, 0]], rtol=1e-5)
    served = system.serve([[(query, text) for text in texts]])
    np.testing.assert_allclose(served(0), alone, rtol=1e-5)
