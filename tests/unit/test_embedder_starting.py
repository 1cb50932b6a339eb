"""Where a student begins that has the teacher's layers and not what follows them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense

from ragdistill.cli import main
from ragdistill_embedder.config import EmbedderConfig
from ragdistill_embedder.setup import Setup
from ragdistill_embedder.starting import nearest_map
from tiny_models import save_searched, save_tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers, the same with a map behind their pooling as teachers, and a collection."""
    folder = tmp_path_factory.mktemp("place")
    layers = save_tiny(folder / "layers")
    for width in (48, 32):
        model = SentenceTransformer(str(layers), device="cpu")
        dense = Dense(32, width, bias=False, activation_function=torch.nn.Identity())
        torch.nn.init.orthogonal_(dense.linear.weight, generator=torch.Generator().manual_seed(1))
        model.insert(2, dense)
        model.save_pretrained(str(folder / f"teacher-{width}"), create_model_card=False)
    save_searched(folder / "data", documents=60, queries=20)
    return folder


@pytest.mark.parametrize(
    ("width", "words"),
    [
        (48, ["--dims", "32,16"]),
        (32, ["--dims", "32,16"]),
        (48, []),
        (48, ["--asymmetric"]),
    ],
    ids=["prefixes", "prefixes of one width", "projection", "asymmetric"],
)
def test_with_all_layers_it_begins_where_the_teacher_is(
    place: Path, tmp_path: Path, width: int, words: list[str]
) -> None:
    told = ["--teacher", str(place / f"teacher-{width}"), "--student", str(place / "layers")]
    told += ["--data", str(place / "data"), "--store", str(place / "store"), "--json"]
    told += ["--out", str(tmp_path / "run"), "--stages", "collect,train", "--lr", "1e-7"]
    told += ["--method", "regression", "--epochs", "1", "--batch-tokens", "128", *words]
    result = CliRunner().invoke(main, ["embedder", *told])
    assert result.exit_code == 0, result.output
    losses = json.loads(result.stdout)["training"]["losses"]
    assert next(row["held_out"] for row in losses if "held_out" in row) < 1e-3


def respelt(file: Path, change: str) -> None:
    """Write the tokenizer in ``file`` as another program might: in ``other words``, with ``other
    tokens``, or ``shorter``."""
    told = json.loads(file.read_text())
    if change == "other words":
        told["truncation"] = {"max_length": 128, "strategy": "LongestFirst", "stride": 0}
    elif change == "other tokens":
        words = told["model"]["vocab"]
        words["river"], words["city"] = words["city"], words["river"]
    file.write_text(json.dumps(told, indent=1))


@pytest.mark.parametrize(
    ("change", "followed"), [("other words", True), ("other tokens", False), ("shorter", False)]
)
def test_token_states_are_followed_where_tokens_are_the_same_whatever_the_files_say(
    place: Path, tmp_path: Path, change: str, followed: bool
) -> None:
    base = tmp_path / "base"
    shutil.copytree(place / "layers", base)
    respelt(base / "tokenizer.json", change)
    if change == "shorter":
        settings = base / "sentence_bert_config.json"
        told = json.loads(settings.read_text()) | {"max_seq_length": 16}
        settings.write_text(json.dumps(told))
    config = EmbedderConfig(
        teacher=str(place / "teacher-48"),
        student=str(base),
        data=str(place / "data"),
        store=str(tmp_path / "store"),
    )
    setup = Setup(config, tmp_path / "run")
    assert setup.shares_layers is followed
    assert (setup.windows is not None) is followed


def unit_rows(count: int, wide: int, seed: int = 0) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).normal(size=(count, wide))
    made: NDArray[np.float32] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("f4")
    return made


def test_the_nearest_map_is_found_though_it_turns_and_stretches() -> None:
    vectors, rng = unit_rows(4000, 8), np.random.default_rng(1)
    wanted = vectors @ rng.normal(size=(8, 12)).astype("f4")
    found = nearest_map(vectors, wanted).numpy()
    np.testing.assert_allclose(vectors @ found.T, wanted, atol=0.01)


@pytest.mark.parametrize("wide", [12, 8, 5])
def test_directions_that_no_text_shows_keep_their_angles(wide: int) -> None:
    vectors = np.hstack([unit_rows(300, 4), np.zeros((300, 4), dtype="f4")])
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0][:4, :wide].astype("f4")
    found = nearest_map(vectors, vectors[:, :4] @ turn).numpy()
    assert found.shape == (wide, 8)
    if wide >= 8:
        unseen = found[:, 4:]
        np.testing.assert_allclose(unseen.T @ unseen, np.eye(4), atol=1e-5)
    else:
        assert np.linalg.matrix_rank(found) == wide
