"""Tutors that say, while the student learns, how likely tokens are: what is learnt of each, that a run cut
short ends in the same student, and whole runs with each."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor
from transformers import AutoModelForCausalLM, TrainerState

from answer_helpers import LAYERS, answering, save_answerer
from lesson_helpers import CHECKPOINTS, examples, llama, recipe, student, weights
from ragdistill.cli import main
from ragdistill.losses import LogitObjective, logit_distillation
from ragdistill.signals.store import SignalStore
from ragdistill.training.fitting import COLUMN
from ragdistill.training.reading import Reader
from ragdistill_generator import lesson as lessons
from ragdistill_generator.lesson import Batches, Lesson
from ragdistill_generator.objective import LABELS_ALONE, AnswerLoss
from ragdistill_generator.on_policy import SAMPLED, LiveBatches, SampledBatches, Sampling
from ragdistill_generator.policy_options import TutorName
from ragdistill_generator.training import fit
from ragdistill_generator.tutored_loss import TutoredLoss
from ragdistill_generator.tutors import Following, Tutor
from rerank_helpers import report_of
from tiny_models import make_tokenizer

OBJECTIVE = LogitObjective(alpha=0.6, temperature=2.0, divergence="jsd", beta=0.3)
NAMES: tuple[TutorName, ...] = ("live", "trained", "average", "peer")


def live_batch(lesson: Lesson) -> dict[str, Any]:
    rows = lesson.rows(range(len(lesson.examples)))
    return LiveBatches(lesson, rows)([{COLUMN: place} for place in range(len(rows))])


def gradient(network: Any) -> Tensor:
    return torch.cat([part.grad.flatten() for part in network.parameters()])


def sampling(**more: Any) -> Sampling:
    usual = {"share": 0.6, "temperature": 1.0, "new_tokens": 5, "refresh": 3, "seed": 0}
    return Sampling(**{**usual, **more}, tokenizer=make_tokenizer())


def tutor(name: TutorName, made: Any, **more: Any) -> Tutor:
    network = copy.deepcopy(made.network) if name == "average" else llama(1)
    return Tutor(name, network, lr=1e-3, decay=0.8, **more)


def test_a_live_teacher_is_asked_of_answers_and_contexts() -> None:
    network, teacher = llama(0), llama(1)
    batch = live_batch(Lesson(examples(8), 200))
    marks = torch.arange(len(batch["labels"])) % 3 == 0
    loss = TutoredLoss(network, teacher, "live", OBJECTIVE, reading=0.4)
    found = loss(**batch, sampled=marks, normaliser=1.0)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
    alone, expected = replace(OBJECTIVE, alpha=1.0), torch.zeros(())
    for places, labels, objective, weight in (
        (batch["places"][~marks], batch["labels"][~marks], OBJECTIVE, 1.0),
        (batch["places"][marks], None, alone, 1.0),
        (batch["read_places"], None, alone, 0.4),
    ):
        said, told = (Reader(each).logits(inputs, places) for each in (network, teacher))
        lost = logit_distillation(said, told, labels, objective, normaliser=1.0)
        expected = expected + weight * lost
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    tokens = {len(example.beginning): example.beginning for example in examples(8)}
    assert len(batch["read_places"]) == sum(len(each) - 1 for each in tokens.values())


def test_each_learns_what_is_its_own() -> None:
    """No gradient of what one says flows into the other."""
    batch = live_batch(Lesson(examples(8), 200))
    alone = {}
    for mine, other in ((0, 1), (1, 0)):
        network = llama(mine)
        TutoredLoss(network, llama(other), "live", OBJECTIVE)(**batch).backward()
        alone[mine] = gradient(network)
    answers = llama(1)
    AnswerLoss(answers, LABELS_ALONE)(**batch).backward()
    for name, theirs in (("peer", alone[1]), ("trained", gradient(answers))):
        network, other = llama(0), llama(1)
        TutoredLoss(network, other, name, OBJECTIVE)(**batch).backward()
        torch.testing.assert_close(gradient(network), alone[0])
        torch.testing.assert_close(gradient(other), theirs)
    network, mean = llama(0), llama(1)
    TutoredLoss(network, mean, "average", OBJECTIVE)(**batch).backward()
    torch.testing.assert_close(gradient(network), alone[0])
    assert all(part.grad is None for part in mean.parameters())


def test_what_is_held_out_is_seen_without_a_tutor_that_changes() -> None:
    network, other = llama(0), llama(1)
    batch = live_batch(Lesson(examples(8), 200))
    own, theirs = (AnswerLoss(each, LABELS_ALONE)(**batch).item() for each in (network, other))
    for name, expected in (("average", own), ("trained", own), ("peer", (own + theirs) / 2)):
        loss = TutoredLoss(network, other, name, OBJECTIVE, reading=1.0).eval()
        assert loss(**batch).item() == pytest.approx(expected, rel=1e-9)


def drawn(how: Sampling, lesson: Lesson) -> dict[str, Any]:
    made = SampledBatches(lesson, lesson.rows(range(len(lesson.examples))), how)
    made.draw(llama(), {number: [0, 1] for number in range(20)})
    return made.made(3, [0, 1])


def test_some_answers_are_the_students_own() -> None:
    lesson, how = Lesson(examples(12), 60), sampling()
    batch = drawn(how, lesson)
    rows = lesson.rows(range(12))[:2]
    places = [span.place for row in rows for span in row.spans]
    known = [token for place in places for token in lesson.examples[place].answer]
    kept = batch["labels"][~batch[SAMPLED]].tolist()
    chosen = [place for place in places if how.chosen(3, place)]
    assert kept == [
        token for place in places if place not in chosen for token in lesson.examples[place].answer
    ]
    assert len(kept) < len(known)
    # Greedily drawn, it is what the network says is likeliest, of each prompt alone.
    greedy = drawn(sampling(temperature=0.0), lesson)
    inputs = {name: greedy[name] for name in ("input_ids", "attention_mask", "position_ids")}
    likeliest = Reader(llama()).logits(inputs, greedy["places"]).argmax(dim=1)
    assert torch.equal(likeliest[greedy[SAMPLED]], greedy["labels"][greedy[SAMPLED]])
    share = sum(how.chosen(number, place) for number in range(100) for place in range(10))
    assert share == pytest.approx(600, abs=60)
    # The seed says what is drawn.
    again, other = (drawn(each, lesson) for each in (sampling(), sampling(seed=1)))
    assert torch.equal(again["labels"], batch["labels"])
    assert not torch.equal(other["input_ids"], batch["input_ids"])


def test_it_draws_again_at_each_checkpoint() -> None:
    steps = [0]
    while steps[-1] < 20:
        steps.append(sampling(refresh=4).next_draw(steps[-1], 10))
    assert steps == [0, 4, 8, 10, 12, 16, 20]
    assert sampling(refresh=None).next_draw(0, 10) == 10


@pytest.mark.parametrize("name", [*NAMES, "on-policy"])
def test_its_loss_falls(tmp_path: Path, name: Any) -> None:
    made = student()
    lesson = Lesson(examples(8), 200)
    learn = recipe(lr=2e-2, epochs=40)
    teacher = tutor("live", made, sampling=sampling(share=1.0)) if name == "on-policy" else None
    found = fit(made, lesson, learn, tmp_path / CHECKPOINTS, teacher or tutor(name, made))
    train = [row["train"] for row in found["losses"] if "train" in row]
    assert train[-1] < 0.7 * train[0]


WAYS: dict[str, tuple[TutorName, Any, dict[str, Any]]] = {
    "on-policy": ("live", lambda: sampling(share=1.0), {"accumulate": 2}),
    "on-policy, trained": ("trained", sampling, {"context_weight": 0.5}),
    "average": ("average", lambda: None, {"lora": 3}),
    "peer": ("peer", lambda: None, {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_cut_short_ends_in_the_same_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    name, draw, more = WAYS[way]
    lesson, learn = Lesson(examples(40), 90), recipe(**more)

    def learnt(folder: Path) -> tuple[Any, dict[str, Any]]:
        made = student()
        return made, fit(made, lesson, learn, folder, tutor(name, made, sampling=draw()))

    calm, found = learnt(tmp_path / "calm" / CHECKPOINTS)
    step, calls = Batches.__call__, 0

    def cut_short(self: Batches, batch: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 24:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(lessons.Batches, "__call__", cut_short)
    folder = tmp_path / "hard" / CHECKPOINTS
    with pytest.raises(KeyboardInterrupt):
        learnt(folder)
    assert list(folder.glob("*/complete"))
    hard, again = learnt(folder)
    assert again == found
    for key, weight in weights(calm).items():
        assert torch.equal(weights(hard)[key], weight)


def test_the_average_follows_the_student() -> None:
    made = student()
    means = tutor("average", made)
    made.network.lm_head.weight.requires_grad_(False)
    made.network.model.norm.weight.requires_grad_(False)
    expected = weights(made)
    follow = Following(means, made.network)
    torch.manual_seed(0)
    for number in range(1, 8):
        with torch.no_grad():
            for weight in made.network.parameters():
                if weight.requires_grad:
                    weight += torch.randn_like(weight)
        follow.on_step_end(None, TrainerState(global_step=number), None)  # type: ignore[arg-type]
        keep = min(0.8, 1 - 1 / (number + 1))
        now = weights(made)
        expected = {key: keep * old + (1 - keep) * now[key] for key, old in expected.items()}
    for key, weight in means.network.state_dict().items():
        torch.testing.assert_close(weight, expected[key])


def test_a_tutor_learns_at_its_own_rate(tmp_path: Path) -> None:
    lesson, learn = Lesson(examples(8), 90), recipe(epochs=2)
    for rate in (0.0, 1e-2):
        made, theirs = student(), Tutor("trained", llama(1), lr=rate)
        fit(made, lesson, learn, tmp_path / CHECKPOINTS, theirs)
        changed = [
            not torch.equal(now, before)
            for now, before in zip(theirs.network.parameters(), llama(1).parameters(), strict=True)
        ]
        assert any(changed) is bool(rate)


def test_the_better_of_two_is_kept(tmp_path: Path) -> None:
    lesson, learn = Lesson(examples(40), 90), recipe(lr=0.0, weight_decay=0.0, epochs=1)
    good = student()
    fit(good, lesson, recipe(objective=LABELS_ALONE), tmp_path / "a" / CHECKPOINTS)
    for first, second, kept in ((good, llama(1), "student"), (student(1), good.network, "peer")):
        made = copy.deepcopy(first)
        other = Tutor("peer", copy.deepcopy(second))
        found = fit(made, lesson, learn, tmp_path / "b" / CHECKPOINTS, other)
        losses = found["tutor_held_out"]
        assert found["kept"] == kept == min(losses, key=losses.__getitem__)
        torch.testing.assert_close(weights(made), weights(good))


def test_several_processes_draw_what_one_would() -> None:
    lesson, how = Lesson(examples(12), 60), sampling(share=1.0)
    rows = lesson.rows(range(len(lesson.examples)))

    def labels(shares: list[list[int]]) -> list[int]:
        found: list[int] = []
        for share in shares:
            made = SampledBatches(lesson, rows, how)
            made.draw(llama(), dict.fromkeys((2, 3), share))
            found += made.made(3, share)["labels"].tolist()
        return found

    assert labels([[0, 1]]) == labels([[0], [1]])


# Whole runs.

QUICK = ("--answer-tokens", "6", "--epochs", "2", "--batch-tokens", "512", "--lr", "3e-3")
NO_EXPORT = ("--stages", "collect,train,evaluate", "--json")


def run(tmp_path: Path, *more: str, out: str = "run") -> Result:
    teacher, data = tmp_path / "teacher", tmp_path / "data"
    if not teacher.exists():
        save_answerer(teacher)
        answering(data, paragraphs=20)
    words = ["generator", "--teacher", str(teacher), "--data", str(data)]
    words += ["--out", str(tmp_path / out), "--store", str(tmp_path / "store"), *QUICK]
    return CliRunner().invoke(main, [*words, *more])


@pytest.mark.parametrize(
    ("more", "stored"),
    [
        (("--tutor", "live"), {"text"}),
        (("--tutor", "trained", "--tutor-lr", "1e-4"), {"text"}),
        (("--tutor", "average", "--average-decay", "0.9"), {"text", "logits"}),
        (("--tutor", "peer"), {"text", "logits"}),
        (("--tutor", "peer", "--lora", "4", "--student-layers", "4"), {"text", "logits"}),
        (("--method", "on-policy", "--lambda", "0.7", "--beta", "0.5", "--refresh", "2"), {"text"}),
    ],
)
def test_each_tutor_teaches_a_student(
    tmp_path: Path, more: tuple[str, ...], stored: set[str]
) -> None:
    report = report_of(run(tmp_path, *more, *NO_EXPORT))
    told = report["training"]
    # What is sampled is never the same, so that its loss is no yardstick.
    kind = "held_out" if "on-policy" in more else "train"
    losses = [row[kind] for row in told["losses"] if kind in row]
    assert losses[-1] < losses[0]
    kept = AutoModelForCausalLM.from_pretrained(tmp_path / "run/student").config.num_hidden_layers
    assert kept == (LAYERS if "--lora" in more else LAYERS // 2)
    assert {space.kind for space in SignalStore(tmp_path / "store").spaces()} == stored
    name = more[1]
    if name in ("average", "peer"):
        assert told["tutor_held_out"].keys() == {"student", name}
    assert json.loads((tmp_path / "run/run.json").read_text("utf-8"))["config"]["seed"] == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--method", "sequence", "--tutor", "live"), "no distributions"),
        (("--method", "on-policy", "--tutor", "stored"), "choose from live, trained"),
        (("--method", "on-policy", "--lambda", "1.5"), "--lambda"),
        (("--method", "on-policy", "--alpha", "0"), "nothing is learnt from --tutor live"),
        (("--method", "on-policy", "--teacher", "openai:gpt"), "are not to be had"),
        (("--method", "on-policy", "--divergence", "reverse", "--beta", "1"), "has none"),
        (("--lambda", "0.5"), "--lambda: says nothing without --method on-policy"),
        (("--refresh", "5"), "without --method on-policy"),
        (("--average-decay", "0.9"), "without --tutor average"),
        (("--tutor", "average", "--average-decay", "1"), "--average-decay"),
        (("--tutor", "live", "--tutor-lr", "1e-4"), "without --tutor trained"),
        (("--tutor", "peer", "--peer-layers", "0,9"), "--peer-layers"),
        (("--tutor", "peer", "--student-layers", "2", "--peer-layers", "2", "--prune", "even"), ""),
        (("--beta", "0.5"), "only the forward one can be had"),
        (("--tutor", "human"), "--tutor"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    stages = ("--stages", "collect") if said else NO_EXPORT
    result = run(tmp_path, *more, *stages)
    assert result.exit_code == 2, result.output
    assert (said or "would be what the first is") in result.output
    assert (tmp_path / "run" / "run.json").exists() is not bool(said)


def test_a_config_file_names_lambda_as_the_command_line_does(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("lambda: 0.25\nmethod: on-policy\n", encoding="utf-8")
    result = run(tmp_path, "--config", str(file), "--stages", "collect")
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "run/run.json").read_text("utf-8"))["config"]
    assert kept["lambda_"] == 0.25
