"""Embedders as students that keep a vector for each token."""

from pathlib import Path

import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from ragdistill.errors import UserError
from ragdistill_reranker.late_interaction import make_late_interaction, principal_axes
from tiny_models import save_tiny, texts


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("late") / "model")


def test_with_all_dimensions_nothing_is_lost(base: Path, tmp_path: Path) -> None:
    made = make_late_interaction(base, 32, texts(50), "cpu")
    plain = SentenceTransformer(str(base), device="cpu")
    states = plain.encode(list(texts(3)), output_value="token_embeddings")
    for mine, theirs in zip(made.encode_document(list(texts(3))), states, strict=True):
        unit = torch.nn.functional.normalize(torch.as_tensor(theirs), dim=-1)
        torch.testing.assert_close(
            torch.as_tensor(mine) @ torch.as_tensor(mine).T, unit @ unit.T, atol=1e-5, rtol=0
        )
    made.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    again = MultiVectorEncoder(str(tmp_path / "saved"), device="cpu")
    for one, two in zip(
        made.encode_query(list(texts(3))), again.encode_query(list(texts(3))), strict=True
    ):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(two))


def test_fewer_dimensions_change_cosines_less_than_drawn_ones(base: Path) -> None:
    whole, cut = (make_late_interaction(base, dims, texts(200), "cpu") for dims in (32, 8))
    tokens = [
        torch.cat([torch.as_tensor(v) for v in m.encode_document(list(texts(20)))])
        for m in (whole, cut)
    ]
    true, kept = (t @ t.T for t in tokens)
    assert tokens[1].shape[1] == 8
    random = torch.nn.functional.normalize(
        tokens[0] @ torch.randn(32, 8, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    assert (kept - true).abs().mean() < 0.5 * (random @ random.T - true).abs().mean()
    with pytest.raises(UserError, match="--token-dims: 64 dimensions are not among the 32"):
        make_late_interaction(base, 64, texts(5), "cpu")


def test_axes_are_orthonormal_and_have_one_sign() -> None:
    states = torch.randn(300, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 13)
    axes = principal_axes(states, 5)
    torch.testing.assert_close(axes @ axes.T, torch.eye(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(principal_axes(states.flip(0), 5), axes, atol=1e-4, rtol=0)
    assert (axes[:, :].gather(1, axes.abs().argmax(dim=1, keepdim=True)) > 0).all()
