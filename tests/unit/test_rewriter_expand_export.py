"""The export stage of a tiny run of ``--task expand``: what is made for ctranslate2, and what is not."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from expansion_helpers import asking
from ragdistill.cli import main
from ragdistill.metrics import trec
from ragdistill.metrics.latency import profile_requests
from ragdistill.metrics.ranking import per_query
from ragdistill.rag.students import served
from ragdistill_query_rewriter import evaluation, scratch, sequence_exporting, sequences
from ragdistill_query_rewriter.rewriter import Rewriter
from ragdistill_query_rewriter.sequence_exporting import NAME, write

pytest.importorskip("ctranslate2")
SMALL = {"d_model": 48, "d_ff": 64, "d_kv": 12, "num_heads": 4, "num_layers": 1}
COMMAND = (
    "query-rewriter --task expand --data data --out run --store store --student-model scratch --epochs 30"
    " --lr 5e-3 --feedback-terms 3 --batch-tokens 512 --json"
)
EXPORT = Path("run/export", NAME)
KILLED = """
import os, signal, sys
from ragdistill.cli import main
from ragdistill_query_rewriter import scratch
from ragdistill_query_rewriter.settings import SequenceSettings
scratch.SIZES, scratch.WORDS = {**scratch.SIZES, **%r, "num_decoder_layers": 1}, 400
SequenceSettings.write = lambda self, folder: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A T5 from nothing that learns in seconds."""
    monkeypatch.setattr(scratch, "SIZES", {**scratch.SIZES, **SMALL, "num_decoder_layers": 1})
    monkeypatch.setattr(scratch, "WORDS", 400)


def run(*more: str) -> dict[str, Any]:
    """The report of the command, whose finished stages are not done again."""
    result = CliRunner().invoke(main, [*COMMAND.split(), *more])
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has everything but its exports."""
    folder = tmp_path_factory.mktemp("expand")
    asking(folder / "data")
    with pytest.MonkeyPatch.context() as for_now:
        tiny(for_now)
        for_now.chdir(folder)
        run("--stages", "collect,train,evaluate")
    return folder


@pytest.fixture(autouse=True)
def here(evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a copy of it."""
    shutil.copytree(evaluated, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    tiny(monkeypatch)
    # How long things take is not looked at here.
    quick = partial(profile_requests, seconds=0.1)
    monkeypatch.setattr("ragdistill_query_rewriter.sequence_stages.profile_requests", quick)


def spoil(monkeypatch: pytest.MonkeyPatch, which: Sequence[str]) -> None:
    """Have exports of some precisions made of other weights."""

    def spoilt(student: Path, folder: Path, quantization: Any) -> Path:
        if quantization not in which:
            return write(student, folder, quantization)
        other = sequences.load(student, "cpu")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for weight in other.network.parameters():
                torch.nn.init.normal_(weight)
        other.save(Path("other"))
        return write(Path("other"), folder, quantization)

    monkeypatch.setattr(sequence_exporting, "write", spoilt)


def test_an_export_is_held_against_the_student_and_timed_beside_it() -> None:
    report = run()
    told = report["exports"][NAME]
    assert told["passed"]
    assert told["recipe"] in ("int8", "float32")
    assert told["agreement"] >= 0.8
    assert told["tokens"] > 0
    assert told["size_mb"] > 0
    # Anybody can recompute every figure.
    qrels = trec.read_qrels(Path("run/rankings/qrels.trec"))
    found = trec.read(Path(f"run/rankings/{NAME}.trec"))
    values = per_query(qrels, found, ["R@100"])["R@100"].values()
    row = told["quality"]["R@100"]
    assert row["student"] == pytest.approx(sum(values) / len(values))
    assert row["lift"].keys() == report["quality"]["R@100"]["lift"].keys()
    assert list(report["speed"]) == ["teacher", "student", NAME]
    for speed in report["speed"].values():
        assert speed.keys() >= {"p50_ms", "p95_ms", "p99_ms"}
        assert speed["p50_ms"] > 0
    # It is what stacks are given, if it is faster.
    report["speed"][NAME]["per_second"] = 2 * report["speed"]["student"]["per_second"]
    Path("run/report.json").write_text(json.dumps(report), encoding="utf-8")
    assert served(Path("run")) == EXPORT
    lines = Path("run/rewrites/raw.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    exported, student = Rewriter.load(EXPORT), Rewriter.load("run")
    same = [exported.rewrite([], text) == student.rewrite([], text) for text in texts]
    assert sum(same) >= len(same) / 2


def test_a_spoilt_int8_gives_way_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, ["int8"])
    told = run()["exports"][NAME]
    assert (told["recipe"], told["passed"], told["reasons"]) == ("float32", True, [])
    assert told["max_abs_diff"] < 1e-3
    (failed,) = told["failed"]
    assert failed["recipe"] == "int8"
    assert failed["reasons"][0].startswith("same next tokens 0.")
    record = json.loads((EXPORT / "ragdistill.json").read_text("utf-8"))
    assert record["precision"] == "float32"


def test_where_all_are_spoilt_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, ["int8", "float32"])
    told = run()["exports"][NAME]
    assert not told["passed"]
    assert told["reasons"]
    assert served(Path("run")) == Path("run")


def test_an_export_may_lose_a_hundredth_of_recall() -> None:
    qrels = {f"q{number}": {"d": 1} for number in range(50)}
    whole = {query: [("d", 1.0)] for query in qrels}
    none = {query: [("e", 1.0)] for query in qrels}
    assert evaluation.recall_lost(qrels, whole, whole) == []
    assert evaluation.recall_lost(qrels, none, whole) == []
    assert evaluation.recall_lost(qrels, whole, whole | {"q0": [("e", 1.0)]}) == [
        "R@10 lost 0.0200 > 0.01",
        "R@100 lost 0.0200 > 0.01",
    ]


@pytest.mark.parametrize("why", ["not installed", "not taken"])
def test_without_ctranslate2_there_is_a_line_and_no_export(
    why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if why == "not installed":
        monkeypatch.setitem(sys.modules, "ctranslate2", None)
        line = "ctranslate2 is not installed; pip install 'ragdistill[serve]'"
    else:
        monkeypatch.setattr("ctranslate2.converters.transformers._MODEL_LOADERS", {})
        line = "run/student: ctranslate2 does not take a T5ForConditionalGeneration"
    EXPORT.mkdir(parents=True)
    (EXPORT / "rewriter.json").write_text("of another student")
    report = run()
    assert report["exports"] == {}
    assert list(report["speed"]) == ["teacher", "student"]
    told = [record.message for record in caplog.records if NAME in record.message]
    assert len(told) == 1
    assert told[0].startswith(f"no export {NAME}: {line}")
    assert not EXPORT.exists()


def test_a_kill_leaves_no_half_of_an_export() -> None:
    words = [sys.executable, "-c", KILLED % SMALL, *COMMAND.split()]
    assert subprocess.run(words, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert not EXPORT.exists()
    # The tokenizer and the weights were there, and are nobody's export.
    (left,) = (path.parent for path in Path("run/export").glob(".*/model.bin"))
    assert left.name.startswith(f".{NAME}.")
    assert run()["exports"][NAME]["passed"]
    assert {path.name for path in EXPORT.iterdir()} >= {"model.bin", "rewriter.json"}
