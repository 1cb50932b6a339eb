"""Lists in chunks are lists in one piece, and what sentence-transformers' own loss makes of them."""

import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.losses import MultiVectorDistillKLDivLoss
from torch import Tensor

from ragdistill.losses import listwise_kl
from ragdistill_reranker.late_interaction import make_late_interaction, token_features
from ragdistill_reranker.token_loss import list_loss
from tiny_models import save_tiny, texts

WAYS, TEMPERATURE = 3, 2.0


@pytest.fixture(scope="module", params=[True, False], ids=["expanded", "as they are"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> MultiVectorEncoder:
    base = save_tiny(tmp_path_factory.mktemp("lists") / "model")
    made = make_late_interaction(
        base, 16, texts(40), "cpu", query_length=20, expanded=request.param
    )
    return made.eval().double()  # rounding would show


def gradient(model: MultiVectorEncoder) -> Tensor:
    found = model[0].auto_model.embeddings.word_embeddings.weight.grad
    assert found is not None
    copied: Tensor = found.clone()
    return copied


@pytest.mark.parametrize("chunk_tokens", [16, 64, 10_000])
def test_loss_and_gradients_are_those_of_the_library_s_own_loss(
    model: MultiVectorEncoder, chunk_tokens: int
) -> None:
    queries = list(texts(2))
    told = [" ".join(texts(9)[: n % 4 + 1]) for n in range(2 * WAYS)]
    teacher = torch.randn(2, WAYS, generator=torch.Generator().manual_seed(0))
    columns = [token_features(model, [told[n], told[WAYS + n]], "document") for n in range(WAYS)]
    theirs = MultiVectorDistillKLDivLoss(model, temperature=TEMPERATURE)
    model.zero_grad()
    expected = theirs([token_features(model, queries, "query"), *columns], teacher)
    expected.backward()
    wanted = gradient(model)
    model.zero_grad()
    found = list_loss(
        model,
        token_features(model, queries, "query"),
        token_features(model, told, "document"),
        WAYS,
        lambda scores: listwise_kl(scores, teacher, TEMPERATURE),
        chunk_tokens=chunk_tokens,
    )
    found.backward()  # type: ignore[no-untyped-call]
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float((gradient(model) - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())
