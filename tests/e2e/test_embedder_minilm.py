"""The whole road with real weights: collect, train, evaluate and export, then again for nothing."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from click.testing import CliRunner, Result

from ragdistill.cli import main
from ragdistill.data.pydocs import load
from ragdistill.errors import UserError
from ragdistill.models.resolve import resolve

pytestmark = pytest.mark.e2e

DOCUMENTS = 500


@pytest.fixture(scope="module", autouse=True)
def _minilm() -> Iterator[None]:
    try:
        resolve("MiniLM")
    except UserError as error:
        pytest.skip(f"MiniLM cannot be had here: {error.format_message()}")
    return


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of pydocs as a stranger's folder in BEIR's layout."""
    folder = tmp_path_factory.mktemp("data")
    collection = load()
    judged = list(collection.judged("test"))[:150]
    wanted = {d for q in judged for d in collection.qrels["test"][q.id]}
    rest = [d for d in collection.documents if d.id not in wanted][: DOCUMENTS - len(wanted)]
    kept = [d for d in collection.documents if d.id in wanted] + rest
    _lines(folder / "corpus.jsonl", [{"_id": d.id, "title": d.title, "text": d.text} for d in kept])
    _lines(folder / "queries.jsonl", [{"_id": q.id, "text": q.text} for q in judged])
    (folder / "qrels").mkdir()
    rows = ["query-id\tcorpus-id\tscore"]
    rows += [f"{q.id}\t{d}\t1" for q in judged for d in collection.qrels["test"][q.id]]
    (folder / "qrels/test.tsv").write_text("\n".join(rows) + "\n")
    return folder


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A finished run, and what the command said; no connection may leave the machine."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _refuse)
        return out, CliRunner().invoke(main, _words(corpus, out))


def _refuse(self: socket.socket, address: object) -> None:
    raise AssertionError(f"a connection to {address}")


def _words(corpus: Path, out: Path) -> list[str]:
    return [
        *("embedder", "--teacher", "MiniLM", "--student-layers", "3", "--data", str(corpus)),
        *("--out", str(out), "--train-tokens", "60000", "--train-items", "2500"),
        *("--store", str(out.parent / "store"), "--gate", "0.5", "--json"),
    ]


def test_the_student_keeps_most_of_its_teacher_and_is_faster(finished: tuple[Path, Result]) -> None:
    out, result = finished
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads((out / "report.json").read_text())
    kept = report["quality"]["nDCG@10"]
    assert 0.8 < kept["retention"] <= 1.05
    assert kept["ci95"][0] < kept["retention"] < kept["ci95"][1]
    assert report["verdict"]["decision"] == "go"
    assert report["exports"]["onnx"]["passed"]
    speed = report["speed"]
    assert speed["onnx-int8"]["per_second"] > 2 * speed["teacher"]["per_second"]


def test_every_figure_can_be_recomputed_from_the_rankings(finished: tuple[Path, Result]) -> None:
    out, _ = finished
    report = json.loads((out / "report.json").read_text())
    qrels = list(ir_measures.read_trec_qrels(str(out / "rankings/qrels.trec")))
    systems = {"teacher": "teacher", "student": "student"}
    for name, file in systems.items():
        run = list(ir_measures.read_trec_run(str(out / f"rankings/{file}.trec")))
        for measure, row in report["quality"].items():
            parsed = getattr(ir_measures, measure.split("@")[0]) @ int(measure.split("@")[1])
            found = ir_measures.calc_aggregate([parsed], qrels, run)[parsed]
            assert found == pytest.approx(row[name], abs=1e-4), (name, measure)


def test_the_student_loads_with_the_ecosystems_own_class(finished: tuple[Path, Result]) -> None:
    from sentence_transformers import SentenceTransformer

    from ragdistill.export.runtime import OnnxEmbedder

    out, _ = finished
    texts = ["How do I read a file?", "json.dumps"]
    student = SentenceTransformer(str(out / "student"), device="cpu", local_files_only=True)
    vectors = student.encode(texts)
    exported = OnnxEmbedder(out / "export/onnx").encode(texts)
    assert np.allclose(vectors, exported, atol=1e-5)


def test_the_same_command_again_does_nothing_twice(
    corpus: Path, finished: tuple[Path, Result]
) -> None:
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (out / "student").glob("*.safetensors")}
    result = CliRunner().invoke(main, _words(corpus, out))
    assert result.exit_code == 0
    assert "collect" not in result.stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_another_run_finds_the_signals_in_the_store(
    corpus: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    words = _words(corpus, tmp_path / "run")
    words[words.index("--store") + 1] = str(finished[0].parent / "store")
    result = CliRunner().invoke(main, [*words, "--stages", "collect"])
    assert result.exit_code in {0, 4}, result.output
    assert json.loads(result.stdout)["stages"]["collect"]["items"] == 0


def test_a_changed_teacher_is_refused(
    corpus: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(resolve("MiniLM").path, teacher)
    words = ["embedder", "--teacher", str(teacher), "--student-layers", "2", "--data", str(corpus)]
    words += ["--store", str(tmp_path / "store"), "--stages", "collect", "--train-items", "2"]
    words += ["--eval-queries", "1"]
    small = tmp_path / "data"
    small.mkdir()
    _lines(small / "corpus.jsonl", [{"_id": str(n), "text": f"text {n}"} for n in range(3)])
    words[words.index(str(corpus))] = str(small)
    assert CliRunner().invoke(main, [*words, "--out", str(tmp_path / "a")]).exit_code == 0
    shutil.copytree(finished[0] / "student", teacher, dirs_exist_ok=True)
    for name in ("a", "b"):
        result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / name)])
        assert result.exit_code == 2
        assert "teacher" in result.stderr
