"""Hard negatives that the teacher names, and students that learn by them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers
import torch
from click.testing import CliRunner
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives
from torch import Tensor
from torch.nn import functional

from ragdistill.cli import main
from ragdistill.data.training_texts import TrainText
from ragdistill.encoder import encoder_of
from ragdistill.losses import cosine_regression, info_nce, listwise_kl, margin_mse
from ragdistill.models.resolve import resolve
from ragdistill.signals.fingerprint import text_key
from ragdistill.signals.store import SignalStore
from ragdistill_embedder.collecting import Wish, collect, open_spaces
from ragdistill_embedder.contrastive import MinedLoss, mine, stacked
from ragdistill_embedder.lesson import Recipe
from ragdistill_embedder.mining import NONE, hard_negatives, suspicious_positives
from ragdistill_embedder.teacher import LocalTeacher
from tiny_models import save_searched, save_tiny, texts


def unit(count: int, wide: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, wide)).astype("f4")
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_negatives_are_the_nearest_but_for_the_text_itself_and_its_like() -> None:
    pool = unit(50, 8)
    pool[1] = pool[0]  # the same text again
    found = hard_negatives(pool, pool, own=range(50), count=3, depth=10, ceiling=0.9)
    scores = pool @ pool.T
    for row, places in enumerate(found):
        allowed = [p for p in np.argsort(-scores[row]) if p != row and scores[row, p] <= 0.9]
        np.testing.assert_array_equal(scores[row, places], scores[row, allowed[:3]])
    assert 1 not in found[0]
    few = hard_negatives(pool[:2], pool[:3], own=range(2), count=5)
    assert (few == NONE).sum(axis=1).tolist() == [4, 4]


def test_what_is_mined_are_passages_where_there_are_any() -> None:
    wanted = [TrainText(text, "query" if n % 2 else "passage") for n, text in enumerate(texts(12))]
    vectors = unit(12, 8)
    found = mine(wanted, vectors, 3)
    assert all(wanted[place].role == "passage" for place in found[found != NONE])
    assert all(row not in places for row, places in enumerate(found))
    queries = [TrainText(item.text, "query") for item in wanted]
    assert (mine(queries, vectors, 3) != NONE).all()
    places = np.array([[4, NONE], [2, 7]])
    made = stacked([vectors[4], vectors[2], vectors[7]], places, 8).numpy()
    np.testing.assert_array_equal(made[0], [vectors[4], np.zeros(8)])
    np.testing.assert_array_equal(made[1], vectors[[2, 7]])


def test_judgments_that_the_teacher_would_not_have_made() -> None:
    documents = unit(300, 8)
    queries = documents[:3]
    last = int(np.argmin(documents @ queries[1]))
    found = suspicious_positives(queries, documents, [(0, 0), (1, last), (2, 2)])
    assert [(item.query, item.document, item.rank) for item in found] == [(1, last, 300)]


def test_two_models_in_one_folder_each_mine_by_their_own_vectors(tmp_path: Path) -> None:
    """sentence-transformers' own cache names vectors by the Hub's name of the model, which a local
    one does not have: the second gets the first's. The store goes by the weights."""
    folder, data = tmp_path / "model", list(texts(30))
    mined: dict[str, list[np.ndarray]] = {"theirs": [], "ours": [], "right": []}
    store = SignalStore(tmp_path / "store")
    pairs = Dataset.from_dict({"anchor": data[:10], "positive": data[10:20]})
    for seed in (1, 2):
        save_tiny(folder, seed=seed)
        model = SentenceTransformer(str(folder), device="cpu")
        options = {"corpus": data, "num_negatives": 3, "range_max": 10, "verbose": False}
        for name, cache in (("theirs", str(tmp_path / "cache")), ("right", None)):
            rows = mine_hard_negatives(
                pairs, model, cache_folder=cache, output_format="n-tuple", **options
            )
            mined[name].append(np.array([rows[f"negative_{n}"] for n in (1, 2, 3)]))
        teacher = LocalTeacher(resolve(str(folder)), "cpu")
        prints = {role: teacher.fingerprint("", "float32") for role in ("query", "passage")}
        spaces = open_spaces(store, prints, "model", accept_change=True)
        wanted = [TrainText(text, "passage") for text in data]
        collect([Wish(teacher, wanted, spaces)])
        vectors = spaces["passage"].get([text_key(text) for text in data])
        np.testing.assert_allclose(vectors, model.encode(data), atol=1e-5)
        mined["ours"].append(mine(wanted, vectors, 3))
    if sentence_transformers.__version__.startswith("6.2."):  # in others it may be mended
        assert (mined["theirs"][0] == mined["theirs"][1]).all()  # the second has the first's
    assert not (mined["right"][0] == mined["right"][1]).all()
    assert not (mined["ours"][0] == mined["ours"][1]).all()


def recipe(objective: str, **changed: Any) -> Recipe:
    plain = Recipe(
        epochs=1,
        max_tokens=1000,
        batch_tokens=256,
        lr=1e-3,
        seed=0,
        similarity_weight=0.0,
        state_weight=0.0,
        objective=objective,
        objective_weight=0.7,
    )
    return dataclasses.replace(plain, **changed)


def batch(model: SentenceTransformer) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Features of nine texts of unlike length, the teacher's vectors, and candidates with gaps."""
    encoder = encoder_of(model)
    told = [" ".join(texts(9)[: n % 4 + 1]) for n in range(9)]
    draw = torch.Generator().manual_seed(0)
    labels = torch.randn(9, 32, generator=draw)
    candidates = torch.randn(9, 3, 32, generator=draw)
    candidates[::2, 2] = 0
    return encoder.features(encoder.tokenise(told)), labels, candidates


@pytest.mark.parametrize("objective", ["contrastive", "listwise", "margin-mse"])
def test_the_mined_loss_is_the_sum_of_its_parts_in_chunks_of_any_size(
    tmp_path: Path, objective: str
) -> None:
    model = SentenceTransformer(str(save_tiny(tmp_path / "model")), device="cpu").eval()
    features, labels, candidates = batch(model)

    def taken(chunk_tokens: int) -> tuple[float, Tensor]:
        model.zero_grad()
        mined = MinedLoss(model, None, recipe(objective, chunk_tokens=chunk_tokens))
        (loss,) = mined([features | {"candidates": candidates}], labels).values()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach()), model[0].auto_model.embeddings.word_embeddings.weight.grad

    student = model(dict(features))["sentence_embedding"]
    whole = torch.cat([labels.unsqueeze(1), candidates], dim=1)
    unit = functional.normalize(whole, dim=-1)
    scores, mine = (torch.einsum("bd,bnd->bn", one, unit) for one in (unit[:, 0], student))
    there = torch.ones(9, 4, dtype=torch.bool)
    there[::2, 3] = False
    part = {
        "contrastive": lambda: info_nce(student, labels, candidates, temperature=0.05),
        "listwise": lambda: listwise_kl(mine / 0.05, scores / 0.05, usable=there),
        "margin-mse": lambda: margin_mse(mine, scores, there[:, 1:]),
    }[objective]()
    expected = cosine_regression(student, labels) + 0.7 * part
    model.zero_grad()
    expected.backward()  # type: ignore[no-untyped-call]
    gradient = model[0].auto_model.embeddings.word_embeddings.weight.grad.clone()
    for chunk_tokens in (20, 60, 10_000):
        loss, found = taken(chunk_tokens)
        assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
        assert float((found - gradient).abs().max()) <= 1e-5 * float(gradient.abs().max())


@pytest.mark.parametrize("method", ["contrastive", "listwise", "margin-mse"])
def test_students_taught_by_mined_texts(tmp_path: Path, method: str) -> None:
    teacher = save_tiny(tmp_path / "teacher")
    data = save_searched(tmp_path / "data", documents=60, queries=20)
    words = ["embedder", "--teacher", str(teacher), "--student-layers", "2", "--method", method]
    words += ["--data", str(data), "--store", str(tmp_path / "store"), "--json", "--epochs", "3"]
    words += ["--batch-tokens", "256", "--chunk-tokens", "64"]
    words += ["--dims", "32,8"] if method == "contrastive" else []
    result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    losses = json.loads(result.stdout)["training"]["losses"]
    held_out = [row["held_out"] for row in losses if "held_out" in row]
    assert held_out[-1] < held_out[0]


def test_suspicious_judgments_are_reported(tmp_path: Path) -> None:
    data = save_searched(tmp_path / "data", documents=150, queries=20)
    folder = save_tiny(tmp_path / "teacher")
    teacher = SentenceTransformer(str(folder), device="cpu")
    asked = json.loads((data / "queries.jsonl").read_text().splitlines()[1])["text"]
    last = int(np.argmin(teacher.encode(list(texts(150))) @ teacher.encode(asked)))
    head = "query-id\tcorpus-id\tscore\n"
    (data / "qrels/train.tsv").write_text(f"{head}q0\t0\t1\nq1\t{last}\t1\nq2\t0\t0\n")
    (data / "qrels/test.tsv").write_text(f"{head}q9\t9\t1\nq10\t10\t1\n")
    words = ["embedder", "--teacher", str(folder), "--student-layers", "2", "--data", str(data)]
    words += ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "run"), "--json"]
    words += ["--stages", "collect,train,evaluate", "--train-tokens", "500"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["data"]["suspicious_positives"]
    assert found["of"] == 2
    worst = found["examples"][0]
    assert (worst["query"], worst["document"], worst["rank"]) == ("q1", str(last), 150)
    page = (tmp_path / "run/report.html").read_text()
    assert "judgments that may train" in page
