"""Whole runs of --method cot: reasoning of the data, and what a teacher reasons, asked over HTTP."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from answer_helpers import answering, save_answerer
from chat_helpers import Chat, Choice, chatting, reply, said
from endpoint_helpers import MODEL
from ragdistill.cli import main
from ragdistill.metrics.answers import token_f1
from ragdistill.report import view
from ragdistill.signals.store import SignalStore
from ragdistill.writing import Written
from ragdistill_generator.reasoning import UNREADABLE, Reasoned, parse
from rerank_helpers import report_of

QUICK = (
    "--rationale-tokens",
    "72",
    "--answer-tokens",
    "8",
    "--epochs",
    "2",
    "--batch-tokens",
    "512",
)
NO_EXPORT = ("--stages", "collect,train,evaluate")
_ASKED = re.compile(r"\[1\] (\w+) (\w+) and (\w+)\n\nQuestion: (first|last) \w+ (\d+)")


def reasoned(content: str) -> Choice:
    """Right of most questions; of some cut off, without blocks, of other things, or wrong."""
    found = _ASKED.search(content)
    if found is None:
        return reply(content)  # a probe
    first, colour, last, which, number = found.groups()
    answer = first if which == "first" else last
    thinking = f"the context has {first} {colour} and {last}, so the {which} is {answer}"
    told = Reasoned(thinking, answer).text
    match int(number) % 6:
        case 1:
            return said(f"<thinking> {thinking}", "length")
        case 2:
            return said(answer)
        case 3:
            return said(Reasoned("Kentish farmers whisper loudly", answer).text)
        case 4:
            return said(Reasoned(thinking, last if which == "first" else first).text)
    return said(told)


def run(tmp_path: Path, *more: str, out: str = "run", teacher: str = "") -> Result:
    words = ["generator", "--method", "cot", "--teacher", teacher or str(tmp_path / "teacher")]
    words += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / out)]
    return CliRunner().invoke(main, [*words, "--store", str(tmp_path / "store"), *QUICK, *more])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_answerer(tmp_path / "teacher")
    answering(tmp_path / "data")
    return tmp_path


@pytest.fixture
def endpoint(folder: Path) -> Iterator[Chat]:
    with chatting(reply=reasoned) as served:
        yield served


def asked_over(endpoint: Chat, folder: Path, *more: str, out: str = "run") -> Result:
    student = ("--student", str(folder / "teacher"), "--teacher-url", endpoint.url)
    return run(folder, *student, *more, out=out, teacher=f"openai:{MODEL}")


def with_rationales(data: Path, *names: str) -> None:
    """Reasoning beside the answers, by these names in turn, of all questions but the last."""
    path = data / "queries.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for place, row in enumerate(rows[:-1]):
        row[names[place % len(names)]] = f"it is {row['answers'][0]}"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_the_reasoning_of_the_data_is_learnt(folder: Path) -> None:
    with_rationales(folder / "data", "rationale", "thinking")
    report = report_of(run(folder, "--json"))
    train, told = report["data"]["train"], report["stages"]["collect"]["rationales"]
    assert train["answers"] == "gold"
    assert told == {"written": train["learnt"], "learnt": train["learnt"], "left_out": {}}
    assert report["training"]["objective"] == "cot"
    # What is measured is the answer part of what was written, and it can be recomputed.
    for who in ("teacher", "student"):
        told = (folder / f"run/answers/{who}.jsonl").read_text("utf-8")
        rows = [json.loads(line) for line in told.splitlines()]
        for row in rows:
            read = parse(Written(row["reply"]))
            assert row["answer"] == (read.answer if isinstance(read, Reasoned) else UNREADABLE)
        mean = token_f1([row["answer"] for row in rows], [row["references"] for row in rows]).mean()
        assert report["quality"]["F1"][who] == pytest.approx(mean)
        assert sum(report["replies"][who].values()) == len(rows)
    assert any("replies of the teacher" in line for line in view.warnings(report))
    assert {"onnx", "onnx-int8"} <= report["exports"].keys()
    assert (folder / "run/answers/onnx.jsonl").exists()


def test_of_a_teacher_what_can_be_believed_is_learnt(folder: Path, endpoint: Chat) -> None:
    report = report_of(asked_over(endpoint, folder, "--answers", "teacher", *NO_EXPORT, "--json"))
    told, train = report["stages"]["collect"]["rationales"], report["data"]["train"]
    assert told["left_out"].keys() == {"truncated", "malformed", "unsupported", "wrong"}
    assert told["left_out"] == train["left_out"]
    assert told["learnt"] + sum(told["left_out"].values()) == told["written"] == train["questions"]
    assert told["learnt"] == train["learnt"]
    # The teacher is measured by the same rules.
    whole = report["replies"]["teacher"]["whole"]
    assert report["quality"]["F1"]["teacher"] <= whole / report["data"]["queries"]
    (line,) = [line for line in view.warnings(report) if "rationales" in line]
    assert f"{told['left_out']['malformed']} malformed" in line


def test_samples_are_drawn_and_stored_apart(folder: Path, endpoint: Chat) -> None:
    drawn = ("--answers", "teacher", "--sampling", "0.7", "--stages", "collect", "--json")
    plan = asked_over(endpoint, folder, *drawn, "--rationales", "3", "--dry-run")
    two = report_of(asked_over(endpoint, folder, *drawn, "--rationales", "2"))
    three = report_of(asked_over(endpoint, folder, *drawn, "--rationales", "3", out="three"))
    first, second = (each["stages"]["collect"] for each in (two, three))
    questions = first["rationales"]["written"] // 2
    # Of three samples two are there; the same words teach once.
    assert second["items"] == questions
    assert json.loads(plan.stdout)["plan"]["items"] == first["items"] + second["items"]
    assert second["rationales"]["written"] == 3 * questions
    assert second["rationales"]["left_out"]["repeated"] == 2 * second["rationales"]["learnt"]
    assert len(SignalStore(folder / "store").spaces()) >= 3
    again = report_of(asked_over(endpoint, folder, *drawn, "--rationales", "3", out="again"))
    assert again["stages"]["collect"]["items"] == 0


def test_a_long_rationale_is_not_cut_but_left_out(folder: Path) -> None:
    with_rationales(folder / "data", "rationale")
    path = folder / "data/queries.jsonl"
    path.write_text(path.read_text("utf-8").replace("it is", "it is " + "so " * 40, 3), "utf-8")
    report = report_of(run(folder, "--stages", "collect", "--json"))
    told: dict[str, Any] = report["stages"]["collect"]["rationales"]
    assert told["left_out"].get("truncated", 0) >= 1
    assert told["learnt"] + told["left_out"]["truncated"] == told["written"]


@pytest.mark.parametrize(
    ("more", "where"),
    [
        (("--answers", "gold"), "no question that is learnt from has a rationale"),
        (("--rationales", "3"), "the same each time"),
        (("--rationales", "0"), "--rationales"),
        (("--rationale-tokens", "0"), "--rationale-tokens"),
        (("--rationale-tokens", "1500"), "leave nothing of a window"),
        (("--rationale-support", "1.5"), "--rationale-support"),
        (("--rationale-f1", "-1"), "--rationale-f1"),
        (("--method", "sequence"), "only --method cot learns reasoning"),
        (("--method", "logits", "--rationale-f1", "0.9"), "only --method cot learns reasoning"),
        (("--context-weight", "1"), "only --method logits"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, more: tuple[str, ...], where: str) -> None:
    result = run(folder, *more, "--stages", "collect")
    assert result.exit_code == 2, result.output
    assert where in result.output
    assert not (folder / "run" / "run.json").exists()


def test_reasoning_of_the_data_is_drawn_once(folder: Path) -> None:
    with_rationales(folder / "data", "rationale")
    result = run(folder, "--rationales", "2", "--sampling", "0.7", "--stages", "collect")
    assert result.exit_code == 2
    assert "the data's own reasoning is learnt" in result.output


def test_a_row_says_once_how_it_reasons(folder: Path) -> None:
    with_rationales(folder / "data", "rationale")
    with_rationales(folder / "data", "thinking")
    result = run(folder, "--stages", "collect")
    assert result.exit_code == 2
    assert "'rationale' and 'thinking'" in result.output


def test_a_teacher_that_never_reasons_teaches_nothing(folder: Path) -> None:
    result = run(folder, "--answers", "teacher", "--stages", "collect,train")
    assert result.exit_code == 2
    assert "no reasoning is left to learn from" in result.output
