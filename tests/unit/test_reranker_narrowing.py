"""Students of fewer neurons: those stay that matter, and what is saved is what was made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from sentence_transformers import CrossEncoder, SentenceTransformer
from torch import nn

from ragdistill.cli import main
from ragdistill.errors import UserError
from ragdistill.training.preparing import transformer_of
from ragdistill_reranker import students
from ragdistill_reranker.config import Kind, RerankerConfig
from ragdistill_reranker.narrowing import keep_neurons
from rerank_helpers import piecemeal, report_of
from tiny_models import save_tiny, texts
from tiny_scorers import save_cross_encoder, save_roberta

TEXTS = texts(40)
PAIRS = list(zip(TEXTS[:20], TEXTS[20:], strict=True))


def feed_forward(model: nn.Module) -> list[tuple[nn.Linear, nn.Linear]]:
    """What leads into and out of the neurons of each layer."""
    return [
        (layer.intermediate.dense, layer.output.dense)
        for layer in transformer_of(model).auto_model.base_model.encoder.layer
    ]


def said(model: CrossEncoder) -> torch.Tensor:
    found = model.predict(PAIRS, convert_to_tensor=True, activation_fn=nn.Identity())
    return torch.as_tensor(found).cpu()


@pytest.mark.parametrize("save", [save_cross_encoder, save_roberta])
def test_neurons_that_do_nothing_are_the_ones_that_go(
    tmp_path: Path, save: Callable[[Path], Path]
) -> None:
    model = CrossEncoder(str(save(tmp_path / "base")), device="cpu", num_labels=1)
    idle = torch.arange(0, feed_forward(model)[0][0].out_features, 3)
    with torch.no_grad():
        for into, out in feed_forward(model):
            into.weight[idle], into.bias[idle] = 0.0, 0.0  # what an activation makes of 0 is 0
            out.weight[:, idle] = torch.randn_like(out.weight[:, idle])
    before, whole = said(model), feed_forward(model)[0][0].out_features
    keep_neurons(model, whole - len(idle), PAIRS)
    torch.testing.assert_close(said(model), before, atol=1e-5, rtol=1e-5)
    model.save_pretrained(str(tmp_path / "made"))
    again = CrossEncoder(str(tmp_path / "made"), device="cpu")
    torch.testing.assert_close(said(again), before, atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match=r"--student-intermediate: cannot keep"):
        keep_neurons(model, whole, PAIRS)
    with pytest.raises(UserError, match=r"--student-intermediate: keeps all"):
        keep_neurons(model, whole - len(idle), PAIRS)


@pytest.mark.parametrize("kind", ["colbert", "bi-encoder", "cross-encoder"])
def test_every_kind_is_made_with_so_many_neurons(tmp_path: Path, kind: Kind) -> None:
    base = save_tiny(tmp_path / "base")
    told: dict[str, Any] = {"teacher": "any", "device": "cpu", "student": kind}
    config = RerankerConfig(**told, student_layers="1", student_intermediate=24)
    made = students.make(config, base, TEXTS, PAIRS)
    assert [pair[0].out_features for pair in feed_forward(made.model)] == [24]
    blank = students.make(config, base, TEXTS)
    assert [pair[0].out_features for pair in feed_forward(blank.model)] == [24]


def test_a_run_makes_it_and_its_exports(tmp_path: Path) -> None:
    words = [
        "reranker",
        "--data",
        str(piecemeal(tmp_path / "data")),
        "--out",
        str(tmp_path / "run"),
    ]
    words += ["--teacher", str(save_cross_encoder(tmp_path / "teacher")), "--store", str(tmp_path)]
    words += ["--student", "cross-encoder", "--student-intermediate", "24", "--first-stage", "bm25"]
    words += ["--candidates", "6", "--ways", "4", "--train-items", "20", "--json"]
    report = report_of(CliRunner().invoke(main, words))
    assert report["student"]["name"] == "teacher-F24-cross-encoder"
    assert report["exports"]["onnx"]["passed"]
    made = CrossEncoder(str(tmp_path / "run/student"), device="cpu")
    assert {pair[0].out_features for pair in feed_forward(made)} == {24}


def test_nothing_changes_where_nothing_is_asked(tmp_path: Path) -> None:
    model = SentenceTransformer(str(save_tiny(tmp_path / "base")), device="cpu")
    before = transformer_of(model).auto_model
    keep_neurons(model, None, TEXTS)
    assert transformer_of(model).auto_model is before
