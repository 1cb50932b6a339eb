"""Students of other tokens, teachers in between, softened targets, and what is wrong with a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM

from answer_helpers import NO_EXPORT, answering, run
from other_tokens import save_other
from ragdistill.cli import main
from ragdistill.losses.reshaping import entropies, mistaken, with_entropy_of_mistaken
from ragdistill.signals.distributions import top_k
from rerank_helpers import report_of
from tiny_models import WORDS

FIXED = ("--prune", "even")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return answering(tmp_path / "data")


def held_out(report: dict[str, Any]) -> list[float]:
    return [row["held_out"] for row in report["training"]["losses"] if "held_out" in row]


def diagnosed(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["diagnose", str(folder), *more])


def test_a_student_of_other_tokens_learns_what_the_teacher_says(tmp_path: Path, data: Path) -> None:
    other = save_other(tmp_path / "other", WORDS[: len(WORDS) // 2 + 15])
    asked = ("--student", str(other), "--lr", "2e-3")
    told = run(tmp_path, data, *asked, "--dry-run").output
    assert "in the tokens of other" in told
    report = report_of(run(tmp_path, data, *asked, *NO_EXPORT, "--json"))
    losses = held_out(report)
    assert losses[-1] < losses[0]
    coverage = report["training"]["coverage"]
    assert 0.5 <= coverage["share_of_tokens"] < 1
    assert 0.5 <= coverage["share_of_mass"] < 1
    # Each asks in its own words: the two have other chat templates.
    assert report["calibration"].keys() == {"before", "teacher", "student"}
    found = json.loads(diagnosed(tmp_path / "run", "--json").stdout)
    assert found["coverage"]["share_of_tokens"] > 0.5
    assert found["agreement"]["tokens"] > 0


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        ([], (), "of an answer's tokens, below 50%"),
        (WORDS, ("--coverage", "1"), "of what teacher says, below 100%"),
        (WORDS, ("--kept", "sampled"), "tokens that were drawn"),
        (WORDS, ("--context-weight", "1"), "contexts are not aligned"),
        (WORDS, ("--coverage", "1.5"), "--coverage"),
        (WORDS, ("--via", "9"), "--via 9: is not fewer layers"),
        (WORDS, ("--via", "4,3"), "--via 4: is not fewer layers"),
        (WORDS, ("--via", "nobody"), "nobody"),
        (WORDS, ("--via", "2", "--method", "sequence"), "only --method logits learns"),
        (WORDS, ("--entropy-floor", "1", "--method", "labels"), "only --method logits learns"),
        (WORDS, ("--entropy-floor", "-1"), "--entropy-floor"),
        (WORDS, ("--mix", "pydocs"), "names no data with a share"),
        (WORDS, ("--mix", "pydocs:1.5"), "names no data with a share"),
        (WORDS, ("--mix", "pydocs:0.3"), "have the same tokens and template"),
    ],
)
def test_what_cannot_be_said_is_refused(
    tmp_path: Path, data: Path, words: list[str], more: tuple[str, ...], said: str
) -> None:
    other = save_other(tmp_path / "other", words)
    result = run(tmp_path, data, "--student", str(other), *more, "--stages", "collect")
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output


def test_teachers_in_between_teach_one_after_another(tmp_path: Path, data: Path) -> None:
    asked = ("--via", "3", "--student-layers", "1", *FIXED)
    plan = json.loads(run(tmp_path, data, *asked, "--dry-run", "--json").stdout)["plan"]
    assert any(step.startswith("via 3: train") for step in plan["steps"])
    assert not (tmp_path / "run").exists()
    report = report_of(run(tmp_path, data, *asked, *NO_EXPORT, "--json"))
    losses = held_out(report)
    assert losses[-1] < losses[0]
    between = AutoModelForCausalLM.from_pretrained(tmp_path / "run/via/3/student")
    assert between.config.num_hidden_layers == 3
    # It is a run like any other, and the same command does nothing twice.
    assert json.loads((tmp_path / "run/via/3/report.json").read_text("utf-8"))["training"]
    before = (tmp_path / "run/via/3/run.json").read_bytes()
    again = run(tmp_path, data, *asked, *NO_EXPORT, "--json")
    assert report_of(again)["quality"] == report["quality"]
    assert (tmp_path / "run/via/3/run.json").read_bytes() == before
    direct = report_of(
        run(tmp_path, data, *asked[2:], "--stages", "collect,train", "--json", out="direct")
    )
    assert held_out(direct) != losses
    found = diagnosed(tmp_path / "run", "--show", "2")
    assert found.exit_code == 0, found.output
    assert "agreement: tokens" in found.output
    assert "entropy" in found.output
    assert "  -> " in found.output


def test_what_has_not_trained_is_not_diagnosed(tmp_path: Path, data: Path) -> None:
    run(tmp_path, data, *FIXED, "--stages", "collect")
    for folder, said in (("run", "has trained no student yet"), ("data", "holds no run.json")):
        result = diagnosed(tmp_path / folder)
        assert result.exit_code == 2
        assert said in result.output


def test_who_is_sure_and_wrong_is_softened_and_nobody_else() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=5, size=(200, 60)).astype(np.float32)
    labels = np.where(rng.random(200) < 0.5, logits.argmax(axis=1), rng.integers(0, 60, 200))
    said = top_k(logits, labels, mass=0.98, most=20)
    soft = with_entropy_of_mistaken(said, 1.0)
    wrong, low = mistaken(said), entropies(said) < 1
    assert (wrong & low).any()
    kept = ~(wrong & low)[said.owners]
    np.testing.assert_allclose(soft.probs[kept], said.probs[kept], rtol=1e-6)
    np.testing.assert_array_equal(soft.tail, said.tail)
    np.testing.assert_allclose(
        np.add.reduceat(soft.probs, said.starts[:-1]) + soft.tail, 1, atol=1e-5
    )
    reached = entropies(soft)[wrong & low]
    enough = said.counts[wrong & low] > 3
    np.testing.assert_allclose(reached[enough], 1.0, atol=1e-3)
    assert (reached >= entropies(said)[wrong & low] - 1e-6).all()
    # The order of what is likely stays.
    for at in range(200):
        own = slice(said.starts[at], said.starts[at + 1])
        order = np.argsort(said.probs[own], kind="stable")
        assert (np.diff(soft.probs[own][order]) >= -1e-6).all()


def test_a_softened_teacher_is_another_lesson(tmp_path: Path, data: Path) -> None:
    asked = (*FIXED, "--stages", "collect,train", "--json", "--kept", "top-k")
    plain = held_out(report_of(run(tmp_path, data, *asked)))
    soft = held_out(report_of(run(tmp_path, data, *asked, "--entropy-floor", "4", out="soft")))
    assert soft[-1] < soft[0]
    assert soft != plain


def test_general_text_is_learnt_between_answers(tmp_path: Path, data: Path) -> None:
    general = answering(tmp_path / "general", paragraphs=25)
    asked = (*FIXED, "--mix", f"{general}:0.5", "--stages", "collect,train", "--json")
    report = report_of(run(tmp_path, data, *asked))
    losses = held_out(report)
    assert losses[-1] < losses[0]
    plain = report_of(
        run(tmp_path, data, *FIXED, "--stages", "collect,train", "--json", out="plain")
    )
    assert plain["stages"]["collect"]["items"] == 0 < report["stages"]["collect"]["items"]

    def examples(of: dict[str, Any]) -> int:
        return int(of["stages"]["train"]["items"] + of["training"]["held_out_items"])

    mixed = report["training"]["mix"]
    assert examples(report) - examples(plain) == mixed["texts"] > 0
    assert mixed["tokens"] > 0
