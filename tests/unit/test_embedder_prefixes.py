"""Matryoshka students: axes, the loss over prefixes, whole runs; and vectors on the shell."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from ragdistill.cli import main
from ragdistill.errors import UserError
from ragdistill.losses import cosine_regression, over_prefixes, similarity_kl
from ragdistill.metrics.ranking import search_ms
from ragdistill.training.axes import Axes, principal_axes, ranking_axes
from ragdistill_embedder.prefixes import parse_dims, turn
from tiny_models import save_searched, save_tiny, texts


def crowded(count: int, wide: int, kept: int, noise: float) -> NDArray[np.float32]:
    """Unit vectors that lie in ``kept`` of ``wide`` dimensions, turned at random, and noise."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(wide, wide)))[0][:, :kept]
    found = rng.normal(size=(count, kept)) @ basis.T + noise * rng.normal(size=(count, wide))
    unit: NDArray[np.float32] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("f4")
    return unit


def test_all_axes_are_a_rotation_and_few_of_them_find_where_the_vectors_lie() -> None:
    vectors = crowded(200, 16, 5, noise=0.0)
    whole = principal_axes(vectors, 16)
    np.testing.assert_allclose(whole.T @ whole, np.eye(16), atol=1e-6)
    few = vectors @ principal_axes(vectors, 5)
    np.testing.assert_allclose(few @ few.T, vectors @ vectors.T, atol=1e-6)
    np.testing.assert_allclose(few, (vectors @ whole)[:, :5], atol=1e-6)


def test_no_other_axes_keep_more() -> None:
    vectors = crowded(200, 16, 16, noise=0.5) * np.linspace(3, 0.1, 16, dtype="f4")
    mine = np.square(vectors @ principal_axes(vectors, 4)).sum()
    rng = np.random.default_rng(1)
    others = (np.linalg.qr(rng.normal(size=(16, 4)))[0] for _ in range(50))
    assert mine > max(np.square(vectors @ other).sum() for other in others)
    with pytest.raises(ValueError, match="17 axes"):
        principal_axes(vectors, 17)


def test_prefixes_of_learnt_axes_rank_better_and_the_whole_of_them_as_well() -> None:
    # What tells neighbours apart lies in the dimensions that vary least: the worst for principal axes.
    rng = np.random.default_rng(0)
    groups = np.repeat(rng.normal(size=(40, 8)), 8, axis=0)
    found = np.hstack([2 * groups, rng.normal(size=(320, 8))]).astype("f4")
    vectors = found / np.linalg.norm(found, axis=1, keepdims=True)
    learnt = ranking_axes(vectors, (16, 4), seed=1)
    assert learnt.dims == (16, 4)
    np.testing.assert_array_equal(learnt.matrix, ranking_axes(vectors, (16, 4), seed=1).matrix)

    def divergence(axes: NDArray[np.float32], length: int) -> float:
        cut = torch.from_numpy((vectors @ axes)[:, :length])
        return float(similarity_kl(cut, torch.from_numpy(vectors)))

    principal = principal_axes(vectors, 16)
    assert divergence(learnt.matrix, 4) < 0.8 * divergence(principal, 4)
    assert divergence(learnt.matrix, 16) < 0.05 * divergence(principal, 4)


def test_the_loss_over_prefixes_is_the_mean_of_those_of_each() -> None:
    student, teacher = torch.randn(6, 8), torch.randn(6, 8)
    parts = [cosine_regression(student[:, :m], teacher[:, :m]) for m in (8, 4, 1)]
    found = over_prefixes(cosine_regression, student, teacher, (8, 4, 1))
    torch.testing.assert_close(found, torch.stack(parts).mean())
    whole = [similarity_kl(student[:, :m], teacher) for m in (8, 4)]
    found = over_prefixes(similarity_kl, student, teacher, (8, 4), cut_teacher=False)
    torch.testing.assert_close(found, torch.stack(whole).mean())
    for wrong in ((), (9,), (4, 0)):
        with pytest.raises(ValueError, match="prefixes"):
            over_prefixes(cosine_regression, student, teacher, wrong)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("384,wide", "no list of whole numbers"),
        ("", "no list of whole numbers"),
        ("512,64", "no vector has a prefix of 512 dimensions"),
        ("64,0", "no vector has a prefix of 0 dimensions"),
        ("64,-1", "prefix of -1"),
        ("64,32,64", "64 is named twice"),
    ],
)
def test_lengths_that_cannot_be_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        parse_dims(text, 384)
    assert "--dims" in caught.value.format_message()


def test_lengths_come_longest_first() -> None:
    assert parse_dims("64, 384,128", 384) == (384, 128, 64)
    assert parse_dims(None, 384) == ()


def test_a_search_takes_time() -> None:
    vectors = crowded(50, 16, 16, noise=0.0)
    assert 0 < search_ms(vectors[:5], vectors) < 1000


@pytest.mark.parametrize("student", ["own layers", "another"])
def test_a_matryoshka_student_of_a_wider_teacher(tmp_path: Path, student: str) -> None:
    teacher = save_tiny(tmp_path / "wide", dimensions=64)
    other = save_tiny(tmp_path / "narrow", dimensions=32, seed=1)
    made = ["--student-layers", "2"] if student == "own layers" else ["--student", str(other)]
    out = tmp_path / "run"
    words = ["embedder", "--teacher", str(teacher), *made, "--dims", "8,48,24", "--json"]
    words += [
        "--data",
        str(save_searched(tmp_path / "data", documents=60, queries=20)),
        "--store",
        str(tmp_path / "store"),
    ]
    result = CliRunner().invoke(main, [*words, "--out", str(out), "--epochs", "2"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["student"]["dimensions"] == 48
    assert report["training"]["token_states"] is (student == "own layers")
    assert list(report["prefixes"]) == ["48", "24", "8"]
    assert report["prefixes"]["24"]["bytes_per_document"] == 96
    assert report["prefixes"]["48"]["quality"] == report["quality"]
    losses = [row["held_out"] for row in report["training"]["losses"] if "held_out" in row]
    assert losses[-1] < losses[0]
    assert (out / "rankings/student-8.trec").is_file()
    assert "bytes/document" in CliRunner().invoke(main, ["report", "show", str(out)]).output
    assert "Shorter vectors" in (out / "report.html").read_text()
    assert "truncate_dim" in (out / "student/README.md").read_text()
    check_embed(out, report)


def check_embed(out: Path, report: dict[str, Any]) -> None:
    """The shell's vectors are those of the student, cut where they are told to be."""
    wanted = texts(7)
    typed = "".join(json.dumps({"text": text}) + "\n" for text in wanted)
    told = CliRunner().invoke(
        main, ["embed", str(out), "--dims", "24", "--system", "onnx"], input=typed
    )
    assert told.exit_code == 0, told.output
    vectors = np.load(io.BytesIO(told.stdout_bytes), allow_pickle=False)
    cut = SentenceTransformer(str(out / "student"), device="cpu", truncate_dim=24)
    expected = cut.encode_document(wanted, normalize_embeddings=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    fastest = CliRunner().invoke(main, ["embed", str(out), "--role", "query"], input=typed)
    assert np.load(io.BytesIO(fastest.stdout_bytes)).shape == (7, 48)
    for words, given, complaint in (
        ([str(out), "--dims", "49"], typed, "49 dimensions of vectors that have 48"),
        ([str(out), "--system", "onxx"], typed, "choose from onnx, onnx-int8"),
        ([str(out.parent)], typed, "holds no report.json"),
        ([str(out)], '{"text": "a"}\n{"txt": 1}\n', 'standard input:2: has no string "text"'),
        ([str(out)], '{"text": "a"}\n{"text": \n', "standard input:2: broken JSON"),
        ([str(out)], "", "no text"),
    ):
        refused = CliRunner().invoke(main, ["embed", *words], input=given)
        assert refused.exit_code == 2, refused.output
        assert complaint in refused.stderr
        assert not refused.stdout_bytes


def test_the_map_follows_all_that_shapes_the_vectors() -> None:
    """A dense module after the pooling stays before the map, a normalisation after it."""
    tokens = StaticEmbedding(Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")), embedding_dim=6)
    dense = Dense(6, 4, activation_function=torch.nn.Tanh())
    axes = Axes((3, 2), principal_axes(crowded(50, 4, 4, noise=0.0), 3))
    student = SentenceTransformer(modules=[tokens, dense, Normalize()], device="cpu")
    before = student.encode(["a", "b c"])
    turn(student, axes, seed=0)
    assert [type(part).__name__ for part in student][1:] == ["Dense", "Dense", "Normalize"]
    turned = before @ axes.matrix
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    np.testing.assert_allclose(student.encode(["a", "b c"]), turned, atol=1e-6)
