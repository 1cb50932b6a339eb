"""Whole runs of the generator that learns more than answers, with tiny models."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from answer_helpers import answering, save_answerer
from ragdistill.cli import main
from rerank_helpers import report_of

QUICK = ("--answer-tokens", "6", "--epochs", "3", "--batch-tokens", "512", "--prune", "even")
NO_EXPORT = ("--stages", "collect,train,evaluate", "--json")


def run(folder: Path, *more: str) -> Result:
    teacher, data = folder / "teacher", folder / "data"
    if not teacher.exists():
        save_answerer(teacher)
        answering(data, paragraphs=20)
    words = ["generator", "--teacher", str(teacher), "--data", str(data)]
    words += ["--out", str(folder / "run"), "--store", str(folder / "store"), *QUICK]
    return CliRunner().invoke(main, [*words, *more])


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("feature", ("--feature", "1")),
        ("feature", ("--feature", "1", "--layer-map", "learned", "--method", "labels")),
        ("attention", ("--attention", "0.5")),
        ("mtp", ("--mtp", "2", "--lora", "4")),
        ("held_out", ("--qat",)),
    ],
)
def test_a_student_learns_more_than_answers(
    tmp_path: Path, name: str, more: tuple[str, ...]
) -> None:
    report = report_of(run(tmp_path, *more, *NO_EXPORT))
    rows = [row for row in report["training"]["losses"] if "held_out" in row]
    assert min(row[name] for row in rows[1:]) < rows[0][name]
    # What it was taught by is no part of it.
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "run/student")
    plain = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path / "run/student"))
    assert type(student) is type(plain)
    saved = {name: part.shape for name, part in student.state_dict().items()}
    assert saved == {name: part.shape for name, part in plain.state_dict().items()}
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_rounded_student_is_exported_as_any_other(tmp_path: Path) -> None:
    report = report_of(run(tmp_path, "--qat", "--mtp", "1", "--json"))
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "run/student")
    assert report["student"]["parameters"] == sum(part.numel() for part in student.parameters())
    assert report["exports"]["onnx"]["passed"]
    assert "onnx-int8" in report["exports"]


def test_a_plan_says_what_states_would_take(tmp_path: Path) -> None:
    plan = json.loads(run(tmp_path, "--feature", "1", "--dry-run", "--json").stdout)["plan"]
    # Two layers of 32 numbers in two bytes.
    assert any("none are stored (128 bytes a token" in step for step in plan["steps"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--layer-map", "last"), "--layer-map"),
        (("--feature-loss", "cosine"), "--feature-loss"),
        (("--mtp-weight", "1"), "no heads that it could weigh"),
        (("--qat", "--lora", "2"), "merged before they are rounded"),
        (("--feature", "0"), "--feature"),
        (("--attention", "-1"), "--attention"),
        (("--mtp", "9"), "--mtp"),
        (("--mtp", "0"), "--mtp"),
        (("--feature", "1", "--layer-map", "all"), "--layer-map"),
        (("--feature", "1", "--layer-map", "skip", "--student-layers", "1"), "none follows the 4"),
        (
            ("--feature", "1", "--via", "3", "--layer-map", "skip", "--student-layers", "1"),
            "none follows the 3",
        ),
        (("--attention", "1", "--teacher", "openai:gpt", "--method", "sequence"), "not to be seen"),
        (("--feature", "1", "--student", "{other}", "--method", "sequence"), "the same tokens"),
        (("--attention", "1", "--student", "{other}", "--method", "labels"), "the same tokens"),
    ],
)
def test_what_cannot_be_learnt_is_refused_before_anything_is_written(
    tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    if "{other}" in more:
        shutil.copytree(save_answerer(tmp_path / "made"), tmp_path / "other")
        words = Tokenizer.from_file(str(tmp_path / "other/tokenizer.json"))
        words.add_tokens(["another"])
        words.save(str(tmp_path / "other/tokenizer.json"))
    given = [word.format(other=tmp_path / "other") for word in more]
    result = run(tmp_path, *given, "--stages", "collect")
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "run" / "run.json").exists()
