"""What relevant documents cost that are listed as negatives, and that they are found.

People judge what they find first. Here a document has two features: how relevant it looks, with noise,
and whether it is of the kind that gets judged. All positives are of that kind; of the negatives two in each
list are as relevant, and of the other kind.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from ragdistill.metrics.bootstrap import compare
from ragdistill.metrics.ranking import per_query
from ragdistill_reranker.lists import examine
from ragdistill_reranker.training import Objective, Recipe, score_loss

WAYS, PLANTED = 8, 2


def drawn(count: int, seed: int) -> tuple[Tensor, np.ndarray]:
    """Features ``[q, n, 2]``, the positive first, then what is planted; and the teacher's scores."""
    rng = np.random.default_rng(seed)
    relevant = np.arange(WAYS) <= PLANTED
    looks = relevant + rng.normal(0, 0.5, (count, WAYS))
    kind = rng.integers(0, 2, (count, WAYS))
    kind[:, : PLANTED + 1] = [1, *[0] * PLANTED]
    scores = 0.6 * relevant + rng.normal(0, 0.005, (count, WAYS))
    features = torch.tensor(np.stack([looks, kind], axis=-1), dtype=torch.float32)
    return features, scores.astype(np.float32)


def learnt(features: Tensor, label: Tensor, objective: Objective) -> Tensor:
    """What two weights become, ``[2]``."""
    recipe = Recipe(
        objective=objective, epochs=1, lr=0.05, seed=0, batch_lists=4, chunk_tokens=1, margin=0.3
    )
    weights = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=recipe.lr)
    for _ in range(150):
        optimizer.zero_grad()
        score_loss(features @ weights, label, recipe).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weights.detach()


def ndcg(features: Tensor, weights: Tensor) -> np.ndarray:
    """nDCG@10 of each list."""
    ranked, qrels = {}, {}
    for number, row in enumerate((features @ weights).tolist()):
        order = sorted(enumerate(row), key=lambda item: -item[1])
        ranked[str(number)] = [(str(place), score) for place, score in order]
        qrels[str(number)] = {str(place): int(place <= PLANTED) for place in range(WAYS)}
    return np.array(list(per_query(qrels, ranked, ["nDCG@10"])["nDCG@10"].values()))


@pytest.mark.parametrize("objective", ["hinge", "margin-mse"])
def test_planted_documents_are_found_and_hinge_is_better_without(objective: Objective) -> None:
    features, scores = drawn(400, 0)
    there, known = np.ones((400, WAYS), dtype=bool), np.ones(400, dtype=bool)
    usable = examine(scores, there, known).usable
    assert (~usable[:, 1 : PLANTED + 1]).mean() > 0.95
    assert usable[:, PLANTED + 1 :].all()
    quality = []
    for counted in (usable, there):
        label = torch.tensor(np.stack([scores, there, counted], axis=-1), dtype=torch.float32)
        quality.append(ndcg(drawn(500, 1)[0], learnt(features, label, objective)))
    row = compare(quality[0], quality[1], 0)
    assert row.ci95 is not None
    if objective == "hinge":
        assert row.ci95[1] < 0.98
    else:  # it takes the teacher's word that they are as good, and is not filtered
        assert row.ci95 == (1, 1)
