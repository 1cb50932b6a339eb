"""Students of less width than the model they are made of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from transformers import AutoModel

from ragdistill.cli import main
from ragdistill.data.training_texts import TrainText
from ragdistill.encoder import load_encoder
from ragdistill.files import sha256_file
from ragdistill.training import checkpoints
from ragdistill.training.preparing import transformer_of
from ragdistill_embedder import training
from ragdistill_embedder.config import EmbedderConfig
from ragdistill_embedder.narrowing import back, best_cut, make_narrow, some_cut
from tiny_models import save_searched, save_tiny, texts


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher and a collection."""
    folder = tmp_path_factory.mktemp("place")
    save_tiny(folder / "teacher")
    save_searched(folder / "data", documents=40, queries=10)
    return folder


def run(place: Path, out: str, *words: str, status: int = 0) -> dict[str, Any]:
    """The report of a run into ``out``."""
    told = ["--teacher", str(place / "teacher"), "--data", str(place / "data"), "--json"]
    told += ["--store", str(place / "store"), "--out", str(place / out), "--student-hidden", "16"]
    result = CliRunner().invoke(main, ["embedder", *told, *words])
    assert result.exit_code == status, result.output
    report: dict[str, Any] = json.loads(result.stdout) if status == 0 else {}
    return report


def test_a_whole_run(place: Path) -> None:
    report = run(place, "whole", "--student-layers", "2", "--epochs", "2", "--batch-tokens", "128")
    assert report["student"]["name"] == "teacher-L2-H16"
    assert report["student"]["dimensions"] == 16
    assert report["student"]["parameters"] < report["teacher"]["parameters"] / 2
    assert report["training"]["token_states"] is True
    losses = [row["held_out"] for row in report["training"]["losses"] if "held_out" in row]
    assert losses[-1] < losses[0]
    assert report["exports"]["onnx"]["passed"] is True
    folder = place / "whole/student"
    plain = AutoModel.from_pretrained(str(folder))
    sizes = plain.config
    assert (sizes.hidden_size, sizes.num_attention_heads, sizes.intermediate_size) == (16, 1, 32)
    student = SentenceTransformer(str(folder), device="cpu")
    inputs = student.tokenizer(texts(1)[0], return_tensors="pt")
    with torch.no_grad():
        pooled = plain.eval()(**inputs).last_hidden_state.mean(dim=1)[0].numpy()
    np.testing.assert_allclose(
        student.encode(texts(1)[0]), pooled / np.linalg.norm(pooled), atol=1e-5
    )
    assert not (folder / training.STATE_HEAD).exists()


@pytest.mark.parametrize("how", [(), ("--lora", "2")], ids=["all weights", "lora"])
def test_training_that_was_cut_short_ends_in_the_same_student(
    place: Path, how: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--epochs", "1", "--batch-tokens", "64", "--stages", "collect,train", *how)
    calm, hard = (place / f"{name}{len(how)}" for name in ("calm", "hard"))
    run(place, calm.name, *words)
    step = training.StoredSignals.__call__
    calls = 0

    def cut_short(self: training.StoredSignals, batch: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(training.StoredSignals, "__call__", cut_short)
    run(place, hard.name, *words, status=1)
    assert list((hard / "checkpoints").rglob(training.STATE_HEAD))
    assert bool(list((hard / "checkpoints").rglob(checkpoints.WEIGHTS))) == bool(how)
    run(place, hard.name, *words)
    for name in ("model.safetensors", training.PROJECTION):
        assert sha256_file(calm / "student" / name) == sha256_file(hard / "student" / name)
    AutoModel.from_pretrained(str(calm / "student"))


def config(**widths: int) -> EmbedderConfig:
    return EmbedderConfig(teacher="teacher", **widths)


def test_a_cut_is_chosen_on_the_texts_as_the_teacher_reads_them(place: Path) -> None:
    items = [TrainText(text, "passage") for text in texts(20)]
    base = load_encoder(place / "teacher", "cpu")
    cut = best_cut(base, config(student_hidden=16), items, {"query": "", "passage": ""})
    other = best_cut(base, config(student_hidden=16), items, {"query": "", "passage": "red bird "})
    blind = some_cut(base, config(student_hidden=16))
    assert cut is not None
    assert blind is not None
    assert other is not None
    assert blind.kept.hidden.tolist() == list(range(16)) != cut.kept.hidden.tolist()
    assert cut.kept.neurons.shape == blind.kept.neurons.shape == (4, 32)
    assert cut.scales != other.scales
    assert some_cut(base, config()) is None
    head = back(cut, 16, 32)
    assert head is not None
    states = torch.arange(32.0)
    found = head(states[cut.kept.hidden])
    assert found[cut.kept.hidden].equal(states[cut.kept.hidden])
    assert found.count_nonzero() <= 16
    assert back(cut, 16, 64) is back(None, 16, 32) is None


def test_a_layer_behind_the_pooling_reads_what_is_left(place: Path) -> None:
    base = load_encoder(place / "teacher", "cpu")
    dense = Dense(32, 24)
    weight = dense.linear.weight.detach().clone()
    base.model.insert(2, dense)
    cut = some_cut(base, config(student_hidden=16, student_intermediate=5))
    assert cut is not None
    make_narrow(base.model, cut)
    assert transformer_of(base.model).auto_model.config.intermediate_size == 5
    rows = base.tokenise([texts(1)[0]])
    said = transformer_of(base.model).auto_model(**base.features(rows)).last_hidden_state
    expected = torch.tanh(weight[:, :16] @ said.mean(dim=1)[0] + dense.linear.bias)
    expected = expected / expected.norm()
    np.testing.assert_allclose(base.forward(rows).vectors[0], expected.detach(), atol=1e-5)
