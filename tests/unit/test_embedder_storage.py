"""Whole runs with a tiny model: what vectors cost to keep, on disk, in the report and on the page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ragdistill.cli import main
from ragdistill.export import faiss_index
from ragdistill.metrics import ranking, trec
from ragdistill_embedder.exporting import kept_vectors
from tiny_models import save_searched, save_tiny


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run, in ``out``."""
    folder = tmp_path_factory.mktemp("storage")
    data = save_searched(folder / "data", documents=80, queries=20)
    found = ["embedder", "--teacher", str(save_tiny(folder / "teacher")), "--student-layers", "2"]
    found += ["--dims", "32,16", "--data", str(data), "--store", str(folder / "store")]
    return [*found, "--epochs", "1", "--json", "--out", str(folder / "run")]


def run(words: list[str]) -> tuple[dict[str, Any], Path]:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), Path(words[-1])


def test_a_run_tells_what_each_way_to_keep_its_vectors_costs(words: list[str]) -> None:
    report, out = run(words)
    ways = {(e["vectors"], e["index"], e["dimensions"]): e for e in report["storage"]}
    assert len(ways) == 12
    exact = ways["float32", "flat", 32]
    assert exact["quality"]["nDCG@10"]["student"] == pytest.approx(
        report["quality"]["nDCG@10"]["student"], abs=1e-9
    )
    assert (exact["recall_of_exact"], exact["ndcg_difference"]) == (1, 0)
    cut = ways["float32", "flat", 16]["quality"]["nDCG@10"]["student"]
    assert cut == pytest.approx(report["prefixes"]["16"]["quality"]["nDCG@10"]["student"], abs=1e-9)
    page = (out / "report.html").read_text()
    assert "Smaller vectors" in page
    assert "against bytes per document, with the Pareto front" in page
    assert "Left out, of 80 documents: ivfpq learns its codes from 9,984 documents" in page
    served = report["exports"]["faiss"]
    assert (served["index"], served["vectors"], served["passed"]) == ("flat", "float32", True)
    assert served["recall_of_exact"] == 1


@pytest.mark.parametrize(
    ("kind", "coding"), [("flat", "int8"), ("hnsw", "float16"), ("hnsw", "binary")]
)
def test_the_index_that_is_asked_for_is_served_and_measured(
    words: list[str], kind: str, coding: str
) -> None:
    report, out = run([*words[:-2], "--index", kind, "--index-vectors", coding, *words[-2:]])
    entry = report["exports"]["faiss"]
    assert (entry["index"], entry["vectors"]) == (kind, coding)
    kept, served = kept_vectors(out), faiss_index.load(out / "export/faiss")
    assert served.encoder_digest == report["student"]["digest"]
    found = served.search(kept.queries, 10)
    exact = ranking.search(kept.queries, kept.documents, served.ids, 10)
    shared = [
        len({d for d, _ in mine} & {d for d, _ in theirs}) / 10
        for mine, theirs in zip(found, exact, strict=True)
    ]
    assert entry["recall_of_exact"] == pytest.approx(np.mean(shared))
    values = ranking.per_query(
        trec.read_qrels(out / "rankings/qrels.trec"), trec.read(out / "rankings/faiss.trec")
    )["nDCG@10"]
    assert entry["quality"]["nDCG@10"]["student"] == np.mean(list(values.values()))
    assert entry["passed"] is (entry["recall_of_exact"] >= 0.85 and not entry["reasons"])
