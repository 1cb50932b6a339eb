"""Stack files, what their parts name, and the small functions of the cascade."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rag_helpers import FakeReranker, fake_parts, write_stack
from ragdistill.data.collection import Query
from ragdistill.errors import UserError
from ragdistill.rag.drilldown import TOGETHER, fault
from ragdistill.rag.init import write_stacks
from ragdistill.rag.parts import open_parts, understand
from ragdistill.rag.pipeline import Seen
from ragdistill.rag.retrieval import Corpus, fused
from ragdistill.rag.serving import Reference
from ragdistill.rag.stack import Reranking, read
from ragdistill.rag.stages import RerankingStage


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    with fake_parts():
        yield


def make_run(folder: Path, component: str, *exports: str, **config: Any) -> Path:
    """A finished run, without anything in it."""
    for name in ("student", *(f"export/{each}" for each in exports)):
        (folder / name).mkdir(parents=True)
    stages = {stage: {"state": "done"} for stage in ("collect", "train", "evaluate", "export")}
    manifest = {
        "schema": 1,
        "component": component,
        "config": config,
        "inputs": {},
        "stages": stages,
    }
    (folder / "run.json").write_text(json.dumps(manifest))
    return folder


def test_a_stack_says_what_it_says_and_the_rest_is_usual(tmp_path: Path) -> None:
    file = write_stack(
        tmp_path / "mine.yaml",
        embedder={"model": "MiniLM", "k": 30, "query_prompt": "query: "},
        bm25=True,
        reranker="runs/reranker",
    )
    stack = read(file)
    assert stack.name == "mine"
    assert stack.depth == 100
    assert stack.as_json() == {
        "name": "mine",
        "embedder": {"model": "MiniLM", "component": None, "index": "flat", "vectors": "float32", "k": 30,
                     "query_prompt": "query: "},
        "reranker": {"model": "runs/reranker", "component": None, "k_in": 20, "k_out": 10, "fuse": "none"},
        "bm25": {"k": 100},
        "fusion": {"constant": 60.0, "k": 100},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "path", "exported"),
    [
        ("runs/a", "student", False),
        ("runs/a/student", "student", False),
        ("runs/a/export/onnx-int8", "export/onnx-int8", True),
    ],
)
def test_a_run_stands_for_its_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, path: str, exported: bool
) -> None:
    run = make_run(tmp_path / "runs/a", "embedder", "onnx-int8", teacher="MiniLM")
    for beside, here in ((tmp_path, "/"), (tmp_path / "elsewhere", tmp_path)):
        monkeypatch.chdir(here)
        found = understand(said, beside)
        assert found.path is not None
        assert found.path.resolve() == run / path
        assert (found.exported, found.config) == (exported, {"teacher": "MiniLM"})
        assert found.name == f"a/{path}"


def test_what_is_no_folder_is_a_model(tmp_path: Path) -> None:
    assert understand("bge-m3", tmp_path).path is None


def test_a_run_is_opened_by_its_component_alone(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "echo")
    file = write_stack(tmp_path / "s.yaml", embedder="run")
    with pytest.raises(
        UserError, match=r"s\.yaml: embedder: .*run is a run of echo.*embedder or fake"
    ):
        open_parts(read(file))


def test_options_are_those_of_what_opens_the_part(tmp_path: Path) -> None:
    quiet = {"model": "fake:embedder/good", "loudnes": 2}
    with pytest.raises(UserError, match=r"unknown key 'loudnes', did you mean 'loudness'\?"):
        open_parts(read(write_stack(tmp_path / "a.yaml", embedder=quiet)))
    loud = {"model": "fake:embedder/good", "loudness": "very"}
    with pytest.raises(UserError, match=r"b\.yaml: embedder: loudness: 'very' is not usable"):
        open_parts(read(write_stack(tmp_path / "b.yaml", embedder=loud)))


def test_ranks_are_fused_as_the_paper_does() -> None:
    first, second = [("a", 9.0), ("b", 8.0)], [("b", 0.3), ("c", 0.2)]
    found = fused([first, second], 60, 2)
    assert found == [("b", 1 / 62 + 1 / 61), ("a", 1 / 61)]
    assert fused([[("z", 1.0)], [("a", 1.0)]], 60, 5) == [("a", 1 / 61), ("z", 1 / 61)]


class Told(FakeReranker):
    """Says what it was given."""

    def __init__(self, *scores: float) -> None:
        super().__init__("reranker", Reference("told"))
        self.told = list(scores)

    def scores(self, query: str, documents: Any) -> Any:
        return self.told


@pytest.mark.parametrize(("fuse", "ranked"), [("none", ["c", "b"]), ("rrf", ["a", "c"])])
def test_the_order_that_documents_came_in_may_count(fuse: Any, ranked: list[str]) -> None:
    corpus = Corpus(("a", "b", "c", "d"), ("A", "B", "C", "D"))
    stage = RerankingStage(Told(), Reranking(model="m", k_in=3, k_out=2, fuse=fuse), corpus)
    found = (("a", 3.0), ("b", 2.0), ("c", 1.0), ("d", 0.5))
    seen = Seen(Query("q", "?"), "?", found, found)
    assert [name for name, _ in stage.take(seen, [0.0, 0.1, 1.0]).ranked] == ranked


@pytest.mark.parametrize("scores", [(1.0, float("nan")), (1.0,), ()])
def test_scores_that_rank_nothing_are_refused(scores: tuple[float, ...]) -> None:
    corpus = Corpus(("a", "b"), ("A", "B"))
    stage = RerankingStage(Told(*scores), Reranking(model="m"), corpus)
    with pytest.raises(UserError, match="told gave 2 documents scores that rank nothing"):
        stage.scores("?", ["A", "B"])


@pytest.mark.parametrize(
    ("steps", "part"),
    [
        ([1, 0, 0, 0], "embedder"),
        ([1, 1, 0, 0], "reranker"),
        ([1, 1, 1, 0], "generator"),
        ([1, 0, 1, 0], "generator"),  # what the embedder lost, the reranker found again
        ([1, 0.5, 0.5, 0], "embedder"),
    ],
)
def test_at_fault_is_the_part_from_which_on_it_stays_lost(steps: list[float], part: str) -> None:
    chain = dict(zip(("TTT", "STT", "SST", "SSS"), steps, strict=True))
    found, lost = fault(chain, ("embedder", "reranker", "generator"))
    assert found == part
    assert sum(lost.values()) == steps[0] - steps[-1]


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_what_the_parts_lost_adds_up(steps: list[float]) -> None:
    chain = dict(zip(("TTTT", "STTT", "SSTT", "SSST", "SSSS"), steps, strict=True))
    _, lost = fault(chain, ("rewriter", "embedder", "reranker", "generator"))
    assert sum(lost.values()) == pytest.approx(steps[0] - steps[-1])


def test_two_that_are_bad_together_only() -> None:
    values = {"TTT": 1.0, "SSS": 0.0, "STT": 1.0, "TST": 1.0, "TTS": 1.0}
    assert fault(values, ("embedder", "reranker", "generator"))[0] == TOGETHER


def test_stacks_are_written_from_runs(tmp_path: Path) -> None:
    embedder = make_run(tmp_path / "runs/e", "embedder", "onnx-int8", teacher="MiniLM")
    reranker = make_run(tmp_path / "runs/r", "reranker", teacher="SmolLM2-135M-Instruct",
                        reading="likelihood", precision=None, candidates=30)  # fmt: skip
    generator = make_run(tmp_path / "runs/g", "generator", teacher=str(tmp_path / "big"), contexts=2,
                         style="cited", answer_tokens=9, window=None)  # fmt: skip
    (tmp_path / "big").mkdir()
    runs = {"embedder": embedder / "export/onnx-int8", "reranker": reranker, "generator": generator}
    teacher, student = write_stacks(runs, tmp_path / "stacks")  # type: ignore[arg-type]
    assert yaml.safe_load(teacher.read_text()) == {
        "embedder": {"model": "MiniLM"},
        "reranker": {
            "model": "SmolLM2-135M-Instruct",
            "reading": "likelihood",
            "k_in": 30,
            "k_out": 10,
        },
        "generator": {"model": "../big", "style": "cited", "answer_tokens": 9, "contexts": 2},
    }
    assert yaml.safe_load(student.read_text()) == {
        "embedder": {"model": "../runs/e/export/onnx-int8"},
        "reranker": {"model": "../runs/r", "k_in": 30, "k_out": 10},
        "generator": {"model": "../runs/g", "contexts": 2},
    }
    assert understand("../runs/e/export/onnx-int8", student.parent).exported
    with pytest.raises(UserError, match="exists already"):
        write_stacks(runs, tmp_path / "stacks")  # type: ignore[arg-type]
