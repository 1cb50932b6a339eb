"""Whole cascades of a plugin's parts: what each is told, in which order, and what is left of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cascade_helpers import Mine, mine, mine_stack
from kernel_helpers import files_under
from rag_helpers import FakePart, write_conversations
from ragdistill import STAGES
from ragdistill.cli import main
from ragdistill.data import beir
from ragdistill.metrics import trec

ORDER = ("embedder", "reranker", "rewriter", "generator")


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    with mine():
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_conversations(tmp_path / "data", count=40)


def run(data: Path, *more: str, out: str = "all", **stack: Any) -> Result:
    file = mine_stack(data.parent / "stack.yaml", **stack)
    words = ["distill-all", str(file), "--data", str(data), "--out", str(data.parent / out)]
    return CliRunner().invoke(main, [*words, *more])


def good(data: Path, *more: str, **options: Any) -> dict[str, Any]:
    result = run(data, *more, "--json", **options)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def config(data: Path, role: str, out: str = "all") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((data.parent / out / role / "run.json").read_text())
    return found["config"]  # type: ignore[no-any-return]


def test_each_part_builds_on_the_students_before_it(data: Path) -> None:
    report = good(data)
    assert Mine.calls == [f"{role} {stage}" for role in ORDER for stage in STAGES]
    upon = [config(data, role)["upon"] for role in ORDER]
    assert upon == [None, "embedder=embedder", "embedder=embedder reranker=reranker",
                    "embedder=embedder reranker=reranker rewriter=rewriter contexts.trec"]  # fmt: skip
    assert config(data, "reranker")["teacher"] == "mine:reranker/good"
    assert report["rag"]["swapped"] == ["rewriter", "embedder", "reranker", "generator"]
    assert len(report["rag"]["cells"]) == 16
    stack = yaml.safe_load((data.parent / "all/student.yaml").read_text())
    assert stack["embedder"] == {"model": "embedder/export/quick", "index": "flat",
                                 "vectors": "float32", "k": 8}  # fmt: skip
    assert stack["reranker"]["k_in"] == 6
    manifest = json.loads((data.parent / "all/run.json").read_text())
    assert [each["state"] for each in manifest["stages"].values()] == ["done"] * 5


def test_nobody_learns_from_what_the_stacks_are_measured_on(data: Path) -> None:
    report = good(data)
    parted = beir.load(data.parent / "all/data/data")
    assert {len(rows) for rows in parted.qrels.values()} == {32, 4}
    assert report["data"]["queries"] == 4
    assert {config(data, role)["data"] for role in ORDER[:3]} == {str(parted.source)}
    asked = beir.load(data.parent / "all/asked/data")
    assert config(data, "generator")["data"] == str(asked.source)
    # The generator reads what the distilled rewriter makes of a turn, and what the others then find.
    raw = {query.id: query for query in parted.queries}
    assert all(
        q.text == " ".join([*raw[q.id].context_turns, raw[q.id].text]) for q in asked.queries
    )
    assert not any(query.context_turns for query in asked.queries)
    ranked = trec.read(data.parent / "all/contexts.trec")
    assert ranked.keys() == {query.id for query in asked.queries}
    assert {len(row) for row in ranked.values()} == {4}
    assert {name for name in FakePart.asked if "good" in name and "generator" not in name} <= {
        "rewriter good", "embedder good", "reranker good"
    }  # fmt: skip


def test_what_is_done_is_not_done_again(data: Path) -> None:
    good(data)
    before = files_under(data.parent / "all")
    Mine.calls, FakePart.asked = [], {}
    good(data)
    assert Mine.calls == []
    assert FakePart.asked == {}
    timed = ("run.json", "report.json", "report.html")
    after = files_under(data.parent / "all")
    assert after.keys() == before.keys()
    assert {n for n in after if after[n] != before[n]} <= {n for n in after if n.endswith(timed)}


@pytest.mark.parametrize("at", ["reranker evaluate", "generator collect", "compare"])
def test_a_cascade_that_was_cut_off_goes_on_where_it_was(data: Path, at: str) -> None:
    whole = good(data, out="whole")
    Mine.calls, FakePart.asked = [], {}

    def cut(name: str, what: tuple[Any, ...]) -> None:
        if name == "generator good":
            raise KeyboardInterrupt

    if at == "compare":
        FakePart.trouble = cut
    else:
        Mine.trouble = {at: KeyboardInterrupt()}
    assert run(data, without=("rewriter",)).exit_code == 1
    called = list(Mine.calls)
    Mine.trouble, Mine.calls, FakePart.trouble = {}, [], None
    report = good(data, without=("rewriter",))
    roles = [role for role in ORDER if role != "rewriter"]
    every = [f"{role} {stage}" for role in roles for stage in STAGES]
    assert Mine.calls == (every[every.index(at) :] if at != "compare" else [])
    assert called == (every[: every.index(at) + 1] if at != "compare" else every)
    assert report["quality"] == whole["quality"]


def test_parts_can_be_distilled_apart(data: Path) -> None:
    good(data, "--independent")
    assert [config(data, role)["upon"] for role in ORDER] == [None] * 4
    assert len({config(data, role)["data"] for role in ORDER}) == 1
    assert not (data.parent / "all/contexts.trec").exists()
    result = run(data)
    assert result.exit_code == 2
    assert "was started with --independent" in result.output


def test_parts_can_be_kept_or_left_out(data: Path) -> None:
    report = good(data, "--keep", "reranker", without=("rewriter",))
    assert report["rag"]["swapped"] == ["embedder", "generator"]
    assert report["rag"]["same"] == ["reranker"]
    assert config(data, "generator")["upon"] == "embedder=embedder contexts.trec"
    stack = yaml.safe_load((data.parent / "all/student.yaml").read_text())
    assert stack["reranker"]["model"] == "mine:reranker/good"
    assert "rewriter" not in stack
    assert not (data.parent / "all/reranker").exists()


def test_options_reach_their_part_alone(data: Path) -> None:
    (data.parent / "students.yaml").write_text(
        "embedder: {size: 3, names: [a, b]}\ngenerator: {eval-queries: 2}\n"
    )
    more = ("--students", str(data.parent / "students.yaml"), "--set", "embedder.size=4")
    good(data, *more, "--set", "rewriter.names=x,y", "--seed", "5")
    assert [config(data, role)["size"] for role in ORDER] == [4, 7, 7, 7]
    assert config(data, "embedder")["names"] == ["a", "b"]
    assert config(data, "rewriter")["names"] == ["x", "y"]
    assert {config(data, role)["seed"] for role in ORDER} == {5}
    assert config(data, "generator")["eval_queries"] == 2
    result = run(data, *more, "--set", "embedder.size=5", "--seed", "5")
    assert result.exit_code == 2
    assert "embedder: " in result.output
    assert "was started with --size 4, not 5" in result.output
    # Other questions would need other contexts than those that the generator has learnt from.
    result = run(data, *more, "--set", "rewriter.names=x,y", "--seed", "5", "--eval-queries", "3")
    assert result.exit_code == 2
    assert "was started with --eval-queries unset, not 3" in result.output


def test_a_plan_adds_the_parts_up_and_does_nothing(data: Path) -> None:
    result = run(data, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)["plan"]
    assert (plan["items"], plan["tokens"], plan["store_bytes"], plan["seconds"]) == (
        8,
        40,
        400,
        240,
    )
    assert plan["usd"] is None  # of the rewriter it is not known
    assert plan["extra"]["parts"]["embedder"]["usd"] == 0.5
    steps = "\n".join(plan["steps"])
    assert steps.startswith("divide the judged queries")
    assert "reranker: build on embedder?" in steps
    assert "reranker: reckoned without embedder, not there yet" in steps
    assert "generator: build on embedder? reranker? rewriter?" in steps
    assert "16 in all" in steps
    assert not (data.parent / "all").exists()
    good(data)
    done = json.loads(run(data, "--dry-run", "--json").stdout)["plan"]
    assert (done["items"], done["usd"]) == (0, 0)
    assert "reranker: is finished" in done["steps"]


def test_a_split_of_the_data_stays_as_it_is(data: Path) -> None:
    lines = (data / "qrels/test.tsv").read_text().splitlines()
    (data / "qrels/train.tsv").write_text("\n".join(lines[:1] + lines[11:]) + "\n")
    (data / "qrels/test.tsv").write_text("\n".join(lines[:11]) + "\n")
    assert good(data)["data"]["queries"] == 10
    assert not (data.parent / "all/data").exists()
    assert config(data, "embedder")["data"] == str(data)
    asked = beir.load(data.parent / "all/asked/data")
    assert {name: len(rows) for name, rows in asked.qrels.items()} == {"train": 30, "test": 10}


def test_nothing_is_begun_that_a_later_part_refuses(data: Path) -> None:
    result = run(data, "--set", "generator.size=100")
    assert result.exit_code == 2
    assert "generator: --size: is more than there is; give 99 at most" in result.output
    assert not (data.parent / "all").exists()
    assert Mine.calls == []


def test_people_see_what_each_part_keeps(data: Path) -> None:
    result = run(data)
    assert result.exit_code == 0, result.output
    assert "embedder: keeps" in result.stdout
    assert "student.yaml" in result.stdout
    assert "generator, 4 of 4" in result.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--set", "embedder"), "'embedder' is not PART.OPTION=VALUE"),
        (("--set", "embeder.size=3"), "no part 'embeder', did you mean 'embedder'"),
        (("--set", "embedder.sise=3"), "unknown option 'sise', did you mean 'size'"),
        (("--set", "embedder.size=big"), "embedder: --size: 'big' is not usable"),
        (("--set", "embedder.method=plane"), "embedder: --method: no method 'plane', did you mean 'plain'"),
        (("--set", "embedder.component=none"), "no component 'none' distils it"),
        (("--keep", "retriever"), "no part 'retriever'"),
        (("--keep", "embedder", "--keep", "reranker", "--keep", "rewriter", "--keep", "generator"),
         "leaves no part to distil"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(
    data: Path, more: tuple[str, ...], said: str
) -> None:
    result = run(data, *more)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert len(result.output.splitlines()) == 1
    assert not (data.parent / "all").exists()


def test_a_part_that_is_not_there_cannot_be_kept_or_told(data: Path) -> None:
    for more in (("--keep", "reranker"), ("--set", "reranker.size=2")):
        result = run(data, *more, without=("reranker",))
        assert result.exit_code == 2
        assert "there is no reranker in" in result.output
