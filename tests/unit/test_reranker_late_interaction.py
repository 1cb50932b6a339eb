"""Embedders as students that keep a vector for each token."""

from pathlib import Path

import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from ragdistill.errors import UserError
from ragdistill_reranker.late_interaction import (
    MARKERS,
    make_late_interaction,
    principal_axes,
    token_features,
)
from tiny_models import save_tiny, texts


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("late") / "model")


def test_with_all_dimensions_nothing_is_lost(base: Path, tmp_path: Path) -> None:
    made = make_late_interaction(base, 32, texts(50), "cpu")
    asked = [text.rstrip(".") for text in texts(3)]
    read = token_features(made, asked, "document")
    with torch.no_grad():
        states = made[0](dict(read))["token_embeddings"]
    masks = read["attention_mask"].bool()
    for mine, theirs, mask in zip(made.encode_document(asked), states, masks, strict=True):
        unit = torch.nn.functional.normalize(theirs[mask], dim=-1)
        torch.testing.assert_close(mine @ mine.T, unit @ unit.T, atol=1e-5, rtol=0)
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


def test_texts_are_marked_and_cut_and_queries_filled_up(base: Path) -> None:
    long = " ".join(texts(20))
    for expanded in (False, True):
        made = make_late_interaction(
            base, 8, texts(20), "cpu", query_length=12, document_length=30, expanded=expanded
        )
        for task, length in (("query", 12), ("document", 30)):
            read = token_features(made, ["river", long], task)["input_ids"]
            words = [made.tokenizer.convert_ids_to_tokens(row) for row in read.tolist()]
            assert words[0][:4] == ["[CLS]", MARKERS[task], "river", "[SEP]"]
            assert (words[1][1], words[1][-1], len(words[1])) == (MARKERS[task], "[SEP]", length)
        assert [len(one) for one in made.encode_query(["river", long])] == [
            12 if expanded else 4,
            12,
        ]
    assert make_late_interaction(base, 8, texts(9), "cpu")[0].document_length == 64


def test_the_marker_moves_nothing(base: Path) -> None:
    made = make_late_interaction(base, 8, texts(20), "cpu")
    plain = SentenceTransformer(str(base), device="cpu")
    marked = made[0].model.embeddings(token_features(made, texts(3), "query")["input_ids"])
    before = plain[0].model.embeddings(plain.preprocess(list(texts(3)))["input_ids"])
    torch.testing.assert_close(marked[:, 2:], before[:, 1:])
    torch.testing.assert_close(marked[:, 0], before[:, 0])


def test_punctuation_of_documents_is_read_and_not_kept(base: Path) -> None:
    made = make_late_interaction(base, 8, texts(20), "cpu")
    asked = ["the river, the sea!"]
    assert len(made.encode_query(asked)[0]) == len(made.encode_document(asked)[0]) + 2
    plain = made.encode_document(["the river the sea"])[0]
    assert not torch.allclose(made.encode_document(asked)[0], plain, atol=1e-3)


def test_axes_are_orthonormal_and_have_one_sign() -> None:
    states = torch.randn(300, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 13)
    axes = principal_axes(states, 5)
    torch.testing.assert_close(axes @ axes.T, torch.eye(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(principal_axes(states.flip(0), 5), axes, atol=1e-4, rtol=0)
    assert (axes[:, :].gather(1, axes.abs().argmax(dim=1, keepdim=True)) > 0).all()
