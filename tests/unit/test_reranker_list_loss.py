"""Lists in chunks are lists in one piece, and what sentence-transformers' own loss makes of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.losses import MultiVectorDistillKLDivLoss
from torch import Tensor

from ragdistill.first_stage import NONE
from ragdistill.losses import in_batch_nce, listwise_kl
from ragdistill_reranker.late_interaction import make_late_interaction, token_features
from ragdistill_reranker.list_loss import by_tokens, by_vectors, list_loss
from ragdistill_reranker.lists import Lists, examine
from ragdistill_reranker.students import BiEncoder, JointReader, LateInteraction, Student
from ragdistill_reranker.training import Lesson, Recipe, score_loss
from tiny_models import save_tiny, texts
from tiny_scorers import save_cross_encoder

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


def loss_of(
    student: Student, queries: list[str], told: list[str], teacher: Tensor, chunk_tokens: int
) -> Tensor:
    """Of lists of ``WAYS`` documents."""
    rows = [told[at : at + WAYS] for at in range(0, len(told), WAYS)]
    return list_loss(
        student.read,
        student.compare(WAYS),
        student.features(queries, rows),
        lambda scores: listwise_kl(scores, teacher, TEMPERATURE),
        chunk_tokens=chunk_tokens,
    )


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
    found = loss_of(LateInteraction(model), queries, told, teacher, chunk_tokens)
    found.backward()  # type: ignore[no-untyped-call]
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float((gradient(model) - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_chunks_change_neither_loss_nor_gradients(kind: str, tmp_path: Path) -> None:
    student = made(kind, tmp_path)
    student.model.eval().double()
    queries, told = list(texts(2)), [" ".join(texts(9)[: n % 4 + 1]) for n in range(2 * WAYS)]
    teacher = torch.randn(2, WAYS, generator=torch.Generator().manual_seed(0)).double()
    found = []
    for chunk_tokens in (10_000, 32):
        student.model.zero_grad()
        loss = loss_of(student, queries, told, teacher, chunk_tokens)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad.clone() for p in student.model.parameters() if p.grad is not None]
        found.append((float(loss.detach()), gradients))
    (whole, wanted), (chunked, gradients) = found
    assert chunked == pytest.approx(whole, rel=1e-9)
    assert len(gradients) == len(wanted) > 10
    for mine, theirs in zip(gradients, wanted, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-9)
    assert any(float(gradient.abs().max()) > 0 for gradient in wanted)


@pytest.mark.parametrize("by", [by_tokens, by_vectors])
def test_scores_across_lists_are_those_of_lists_with_all_documents(by: Any) -> None:
    lengths = {"query": [2, 3], "document": [1, 2, 1, 3, 1, 1]}
    if by is by_vectors:
        lengths = {kind: [1] * len(each) for kind, each in lengths.items()}
    rows = {
        kind: torch.randn(sum(each), 5, generator=torch.Generator().manual_seed(3))
        for kind, each in lengths.items()
    }
    every = by(WAYS, across=True)(rows, lengths)
    both = {"query": rows["query"], "document": rows["document"].repeat(2, 1)}
    twice = lengths | {"document": lengths["document"] * 2}
    torch.testing.assert_close(every, by(2 * WAYS)(both, twice))
    blocks = every.view(2, 2, WAYS)
    torch.testing.assert_close(blocks[[0, 1], [0, 1]], by(WAYS)(rows, lengths))


def test_in_batch_negatives_are_documents_of_no_own_list() -> None:
    there = np.array([[True, True, True], [True, True, False]])
    lists = Lists(["a", "b"], [["", "", ""]] * 2, there)
    target = np.random.default_rng(0).normal(size=(2, WAYS)).astype(np.float32)
    findings = examine(target, there, np.ones(2, bool))
    # The first list's 7 answers the second query, too; 6 is in both lists, and the last is not there.
    places = np.array([[5, 6, 7], [6, 8, NONE]])
    lesson = Lesson(lists, target, findings, places, [[5], [6, 7]])
    others = torch.from_numpy(lesson.strangers([0, 1])).permute(2, 0, 1)
    assert others.tolist() == [
        [[False, False, False], [False, True, False]],
        [[True, False, False], [False, False, False]],
    ]
    told = np.stack([target, there, there], axis=-1)
    label = torch.from_numpy(np.concatenate([told, lesson.strangers([0, 1])], axis=-1)).float()
    scores = torch.randn(2, 2 * WAYS)
    own = scores.view(2, 2, WAYS)[[0, 1], [0, 1]]
    recipe = Recipe(objective="listwise", epochs=1, batch_lists=2, chunk_tokens=1, lr=1, seed=0)
    found = score_loss(scores, label, replace(recipe, in_batch=0.5))
    contrast = in_batch_nce(scores.view(2, 2, WAYS), others)
    torch.testing.assert_close(found, score_loss(own, label, recipe) + 0.5 * contrast)


def made(kind: str, folder: Path) -> Student:
    if kind == "bi-encoder":
        return BiEncoder.load(save_tiny(folder / "model"), "cpu")
    return JointReader.load(save_cross_encoder(folder / "model"), "cpu")
