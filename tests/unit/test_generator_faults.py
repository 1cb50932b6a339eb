"""Figures that are no numbers, and who is told to be at fault."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from answer_helpers import NO_EXPORT, answering, run, save_answerer
from lesson_helpers import CHECKPOINTS, WORDS, examples, llama, recipe, student
from other_tokens import save_other
from ragdistill.errors import Diverged, UserError
from ragdistill_generator.evaluation import agreement, perplexity
from ragdistill_generator.following import FeatureTerm
from ragdistill_generator.lesson import Lesson
from ragdistill_generator.on_policy import Sampling
from ragdistill_generator.student import Student
from ragdistill_generator.terms import Terms
from ragdistill_generator.training import fit
from ragdistill_generator.tutors import Tutor

COLLECT = ("--stages", "collect")


def spoilt(network: Any) -> Any:
    """One word of it is NaN."""
    with torch.no_grad():
        network.get_input_embeddings().weight[WORDS // 2] = float("nan")
    return network


def test_no_figure_is_infinite() -> None:
    network = llama(tied=False).float()
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.lm_head.weight.mul_(-1e6)
    found = agreement(network, other, Lesson(examples(6), 200))
    json.dumps(found, allow_nan=False)
    assert found["perplexity_student"] is None
    assert found["perplexity_teacher"] > 1
    assert found["reason"].startswith("perplexity_student: more than a number holds")
    assert "reason" not in agreement(network, network, Lesson(examples(6), 200))
    assert [perplexity(nats) for nats in (0, 1e4)] == [1, float("inf")]


def test_logits_that_are_too_far_apart_say_how_to_mend_them(tmp_path: Path) -> None:
    folder = save_answerer(tmp_path / "teacher")
    network = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        network.lm_head.weight.mul_(1e6)
    network.save_pretrained(folder)
    result = run(tmp_path, answering(tmp_path / "data"), *COLLECT)
    assert result.exit_code == 2, result.output
    assert "a label's log-probability of -" in result.output
    assert "; check the teacher's weights, or compute in float32" in result.output


def learn(made: Student, folder: Path, tutor: Tutor | None = None, **more: Any) -> dict[str, Any]:
    lesson = Lesson(examples(12), 200)
    return fit(made, lesson, recipe(epochs=2), folder / CHECKPOINTS, tutor, **more)


def test_a_teacher_that_says_nan_is_told_from_a_student_that_diverges(tmp_path: Path) -> None:
    for name, said in (("live", "--tutor live: the teacher says NaN"), ("trained", "--tutor-lr")):
        with pytest.raises(UserError, match=said):
            learn(student(), tmp_path / name, Tutor(name, spoilt(llama(1))))  # type: ignore[arg-type]
        made = student()
        spoilt(made.network)
        with pytest.raises(Diverged, match="--lr: training diverged"):
            learn(made, tmp_path / f"{name} student", Tutor(name, llama(1)))  # type: ignore[arg-type]


def test_a_student_that_samples_nan_has_diverged(tmp_path: Path) -> None:
    made = student()
    how = Sampling(1.0, 1.0, 5, None, made.tokenizer, 0)
    spoilt(made.network)
    with pytest.raises(Diverged, match="--lr: training diverged: the student says NaN"):
        learn(made, tmp_path, Tutor("live", llama(1), sampling=how))


def test_layers_of_nan_are_not_followed(tmp_path: Path) -> None:
    made, teacher = student(), spoilt(llama(1))
    terms = Terms([FeatureTerm(1.0, made.network, teacher)], teacher)
    with pytest.raises(UserError, match="--feature: the teacher's layers say NaN"):
        learn(made, tmp_path, terms=terms)


# Teachers in between.


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return answering(tmp_path / "data")


def test_nobody_is_taught_for_a_student_that_cannot_learn_it(tmp_path: Path, data: Path) -> None:
    other = save_other(tmp_path / "other", [])
    asked = ("--via", "3", "--answers", "teacher", "--student", str(other), "--prune", "even")
    result = run(tmp_path, data, *asked, *COLLECT)
    assert result.exit_code == 2, result.output
    assert "of an answer's tokens, below 50%" in result.output
    assert not (tmp_path / "run/via").exists()


def test_nobody_is_taught_whom_nobody_hears(tmp_path: Path, data: Path) -> None:
    asked = ("--via", "3", "--tutor", "average", "--context-weight", "0", *COLLECT)
    result = run(tmp_path, data, *asked)
    assert result.exit_code == 2, result.output
    assert "--via: nothing that one in between says is learnt" in result.output
    assert not (tmp_path / "run/run.json").exists()


def test_nobody_is_taught_again_to_measure(tmp_path: Path, data: Path) -> None:
    asked = ("--via", "3", "--student-layers", "1", "--prune", "even", *NO_EXPORT)
    first = run(tmp_path, data, *asked)
    assert first.exit_code == 0, first.output
    shutil.rmtree(tmp_path / "run/via")
    (tmp_path / "run/answers/student.jsonl").unlink()
    again = run(tmp_path, data, *asked)
    assert again.exit_code == 0, again.output
    assert (tmp_path / "run/answers/student.jsonl").exists()
    assert not (tmp_path / "run/via").exists()
