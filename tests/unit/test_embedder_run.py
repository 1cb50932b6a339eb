"""Whole runs with tiny models: what is left on disk, what is resumed, what the report says."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from ragdistill.cli import main
from ragdistill.encoder import Encoder, load_encoder
from ragdistill.files import sha256_file
from ragdistill_embedder import training
from tiny_models import save_searched, save_tiny, texts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_searched(tmp_path / "data", documents=40, queries=10)


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(tmp_path: Path, data: Path, *more: str, out: str = "run") -> Result:
    words = ["embedder", "--data", str(data), "--out", str(tmp_path / out)]
    words += ["--store", str(tmp_path / "store"), "--epochs", "1"]
    return CliRunner().invoke(main, [*words, *more])


def test_a_teacher_of_other_dimensions_is_followed_through_a_projection(
    tmp_path: Path, data: Path
) -> None:
    teacher = save_tiny(tmp_path / "wide", dimensions=64)
    student = save_tiny(tmp_path / "narrow", dimensions=32, seed=1)
    models = ("--teacher", str(teacher), "--student", str(student))
    result = run(tmp_path, data, *models, "--stages", "collect,train,evaluate", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["teacher"]["dimensions"], report["student"]["dimensions"]) == (64, 32)
    kept = load_file(str(tmp_path / "run/student" / training.PROJECTION))
    assert kept["weight"].shape == (64, 32)
    losses = [row["held_out"] for row in report["training"]["losses"] if "held_out" in row]
    assert losses[-1] < losses[0]
    assert report["training"]["token_states"] is False
    by, worst = report["quality_by"], report["worst"]
    for groups in (by["length"], by["near_duplicate"]):
        assert sum(group["queries"] for group in groups) == 10
    assert by["measure"] == worst["measure"] == "nDCG@10"
    lost = [query["teacher"] - query["student"] for query in worst["queries"]]
    assert lost == sorted(lost, reverse=True)
    assert len(lost) == worst["worse"] <= 10


def test_token_states_are_stored_of_what_training_meets_and_vectors_of_everything(
    tmp_path: Path, data: Path
) -> None:
    words = ("--teacher", str(save_tiny(tmp_path / "teacher")), "--student-layers", "2")
    words += ("--train-tokens", "300", "--batch-tokens", "64", "--json")

    def asked(out: str, *more: str) -> tuple[int, dict[str, int]]:
        report = json.loads(run(tmp_path, data, *words, *more, out=out).stdout)
        listed = ["signals", "list", "--store", str(tmp_path / "store"), "--json"]
        spaces = json.loads(CliRunner().invoke(main, listed).stdout)
        return report["stages"]["collect"]["items"], {row["kind"]: row["records"] for row in spaces}

    plain = asked("plain", "--method", "similarity", "--stages", "collect")
    assert list(plain[1]) == ["vector"]
    assert plain[0] == plain[1]["vector"]
    items, stored = asked("states", "--stages", "collect")
    assert stored["vector"] == plain[1]["vector"]  # none is stored twice
    assert items == stored["windows"]  # their states were not known yet
    assert 0 < stored["windows"] < stored["vector"] / 2
    assert asked("again", "--stages", "collect,train") == (0, stored)
    shutil.rmtree(tmp_path / "store/vector")
    more = asked("pruned", "--stages", "collect", "--train-tokens", "600")
    assert more[0] == more[1]["vector"] == stored["vector"]
    assert stored["windows"] < more[1]["windows"] < stored["vector"]


def test_a_student_that_reads_other_tokens_is_not_taught_their_states(
    tmp_path: Path, data: Path
) -> None:
    teacher = save_tiny(tmp_path / "teacher")
    shutil.copytree(teacher, tmp_path / "short")
    limits = tmp_path / "short/sentence_bert_config.json"
    limits.write_text(json.dumps(json.loads(limits.read_text()) | {"max_seq_length": 8}))
    words = ("--teacher", str(teacher), "--student", str(limits.parent), "--student-layers", "2")
    result = run(tmp_path, data, *words, "--stages", "collect,train", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["training"]["token_states"] is False


@pytest.mark.parametrize("wide", [32, 64])
def test_training_that_was_cut_short_ends_in_the_same_student(
    tmp_path: Path, data: Path, wide: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ("--teacher", str(save_tiny(tmp_path / "wide", dimensions=wide)))
    models += (
        "--student",
        str(save_tiny(tmp_path / "narrow", seed=1)),
        "--stages",
        "collect,train",
    )
    models = (*models, "--batch-tokens", "64")
    assert run(tmp_path, data, *models, out="calm").exit_code == 0
    step = training.StoredSignals.__call__
    calls = 0

    def cut_short(self: training.StoredSignals, batch: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(training.StoredSignals, "__call__", cut_short)
    assert run(tmp_path, data, *models, out="hard").exit_code == 1
    assert (tmp_path / "hard/checkpoints").is_dir()
    assert run(tmp_path, data, *models, out="hard").exit_code == 0
    assert not (tmp_path / "hard/checkpoints").exists()
    for name in ("model.safetensors", *((training.PROJECTION,) if wide != 32 else ())):
        calm, hard = (tmp_path / run_name / "student" / name for run_name in ("calm", "hard"))
        assert sha256_file(calm) == sha256_file(hard)


def test_a_bare_corpus_is_measured_by_agreement_with_the_teacher(
    tmp_path: Path, data: Path
) -> None:
    (data / "queries.jsonl").unlink()
    (data / "qrels/test.tsv").unlink()
    (data / "qrels").rmdir()
    long = [" ".join(texts(40)[n : n + 3]) for n in range(20)]
    _lines(data / "corpus.jsonl", [{"_id": str(n), "text": t} for n, t in enumerate(long)])
    teacher = str(save_tiny(tmp_path / "teacher"))
    stages = ("--student-layers", "2", "--stages", "collect,train,evaluate", "--json")
    result = run(tmp_path, data, "--teacher", teacher, *stages)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert list(report["quality"]) == ["overlap@10"]
    assert report["quality"]["overlap@10"]["teacher"] == 1
    assert report["worst"]["measure"] == report["quality_by"]["measure"] == "overlap@10"
    assert report["quality_by"]["near_duplicate"] is None
    shown = CliRunner().invoke(main, ["report", "show", str(tmp_path / "run")]).output
    assert "no judgments: the agreement with the teacher is measured" in shown


def test_the_store_spares_the_teacher_and_holds_its_vectors(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = save_tiny(tmp_path / "teacher")
    words = ("--teacher", str(teacher), "--student-layers", "2", "--stages", "collect")
    assert run(tmp_path, data, *words, "--store-dtype", "float32", out="a").exit_code == 0

    def refuse(self: Encoder, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("the teacher was asked again")

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "forward", refuse)
        again = run(tmp_path, data, *words, "--store-dtype", "float32", out="b")
    assert again.exit_code == 0, again.output
    exported = tmp_path / "vectors.npy"
    listed = CliRunner().invoke(
        main, ["signals", "list", "--store", str(tmp_path / "store"), "--json"]
    )
    space = next(row["id"] for row in json.loads(listed.stdout) if row["kind"] == "vector")
    words = ("signals", "export", space, str(exported), "--store", str(tmp_path / "store"))
    assert CliRunner().invoke(main, words).exit_code == 0
    ours = load_encoder(teacher, "cpu").encode(texts(40))
    stored = np.load(exported, allow_pickle=False)
    assert np.isclose(stored @ ours.T, 1, atol=1e-5).any(axis=0).all()


def test_a_dry_run_tells_what_then_happens(tmp_path: Path, data: Path) -> None:
    words = ("--teacher", str(save_tiny(tmp_path / "teacher")), "--student-layers", "2")
    plan = json.loads(run(tmp_path, data, *words, "--dry-run", "--json").stdout)["plan"]
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "store").exists()
    result = run(tmp_path, data, *words, "--stages", "collect", "--json")
    stage = json.loads(result.stdout)["stages"]["collect"]
    assert (plan["items"], plan["tokens"]) == (stage["items"], stage["tokens"])


def test_a_run_can_be_repeated_from_its_config(tmp_path: Path, data: Path) -> None:
    words = ("--teacher", str(save_tiny(tmp_path / "teacher")), "--student-layers", "2")
    stages = ("--stages", "collect,train")
    assert run(tmp_path, data, *words, *stages, out="first").exit_code == 0
    config = ("--config", str(tmp_path / "first/config.yaml"), "--out", str(tmp_path / "second"))
    assert CliRunner().invoke(main, ["embedder", *config, *stages]).exit_code == 0
    first, second = (tmp_path / name / "student/model.safetensors" for name in ("first", "second"))
    assert sha256_file(first) == sha256_file(second)


def test_another_gate_costs_nothing_and_decides_the_exit_status(tmp_path: Path, data: Path) -> None:
    words = ("--teacher", str(save_tiny(tmp_path / "teacher")), "--student-layers", "2")
    stages = ("--stages", "collect,train,evaluate")
    assert run(tmp_path, data, *words, *stages).exit_code == 0
    ranked = (tmp_path / "run/rankings/student.trec").stat().st_mtime_ns
    # Ten queries are too few to be sure of anything.
    assert run(tmp_path, data, *words, *stages, "--gate", "0.9").exit_code in {3, 4}
    assert (tmp_path / "run/rankings/student.trec").stat().st_mtime_ns == ranked


def test_signals_that_were_damaged_are_collected_again_before_training(
    tmp_path: Path, data: Path
) -> None:
    words = ("--teacher", str(save_tiny(tmp_path / "teacher")), "--student-layers", "2")
    assert run(tmp_path, data, *words, "--stages", "collect,train", out="calm").exit_code == 0
    assert run(tmp_path, data, *words, "--stages", "collect").exit_code == 0
    shard = max((tmp_path / "store").rglob("*.arrow"), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    assert run(tmp_path, data, *words, "--stages", "collect,train").exit_code == 0
    calm, hard = (tmp_path / name / "student/model.safetensors" for name in ("calm", "run"))
    assert sha256_file(calm) == sha256_file(hard)


def test_a_bound_on_texts_leaves_documents_and_queries(data: Path) -> None:
    from ragdistill.data.loading import load
    from ragdistill.data.training_texts import training_texts

    drawn = training_texts(load(str(data)), limit=20, seed=0)
    documents = {document.content for document in load(str(data)).documents}
    assert len(drawn) == 20
    assert len([item for item in drawn if item.text in documents]) == 10
