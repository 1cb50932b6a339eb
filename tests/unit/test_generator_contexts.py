"""A student that lost layers learns what the teacher says of the contexts, too."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lesson_helpers import WORDS, examples, llama, recipe
from ragdistill.signals.distributions import TokenDistributions, top_k
from ragdistill.training.fitting import COLUMN
from ragdistill_generator.lesson import Batches, Example, Lesson
from ragdistill_generator.objective import AnswerLoss


def test_what_was_said_of_contexts_weighs_as_told() -> None:
    plain = examples(6, taught=6)
    rng = np.random.default_rng(1)
    told: dict[tuple[int, ...], tuple[np.ndarray, TokenDistributions]] = {}
    for each in plain:
        labels = np.array(each.beginning[1:])
        logits = rng.normal(scale=3, size=(len(labels), WORDS)).astype(np.float32)
        said = top_k(logits, labels, mass=1.0, most=WORDS, temperature=2.0)
        told.setdefault(tuple(each.beginning), (logits, said))
    with_contexts = [replace(each, read=told[tuple(each.beginning)][1]) for each in plain]
    network = llama()
    objective = recipe().objective

    def loss(made: list[Example], weight: float) -> float:
        lesson = Lesson(made, 512)
        rows = lesson.rows(range(len(made)))
        batch = Batches(lesson, rows)([{COLUMN: place} for place in range(len(rows))])
        with torch.no_grad():
            found = AnswerLoss(network, objective, reading=weight)(**batch, normaliser=1.0)
        return float(found)

    answers = loss(plain, 0.5)
    assert loss(with_contexts, 0.0) == pytest.approx(answers, rel=1e-6)
    # Each context counts once, however many questions share it, by the full forward KL times T squared.
    expected = 0.0
    for beginning, (logits, _) in told.items():
        with torch.no_grad():
            ours = network(torch.tensor([beginning])).logits[0, :-1]
        p = (torch.from_numpy(logits).double() / 2).log_softmax(dim=-1)
        q = (ours / 2).log_softmax(dim=-1)
        expected += 4 * float((p.exp() * (p - q)).sum())
    assert loss(with_contexts, 0.5) == pytest.approx(answers + 0.5 * expected, rel=1e-4)
    lesson = Lesson(with_contexts, 512)
    contexts = sum(len(beginning) - 1 for beginning in told)
    spoken = sum(len(each.answer) for each in plain)
    assert lesson.answers_to_contexts == pytest.approx(spoken / contexts)
