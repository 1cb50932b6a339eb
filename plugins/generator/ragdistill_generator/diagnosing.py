"""A student held against its teacher on what was held out of its training, token by token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ragdistill import causal, diagnosis
from ragdistill.losses import LogitObjective, SparseTargets, token_divergences
from ragdistill.losses.reshaping import entropies
from ragdistill.metrics.calibration import best_temperature, calibration
from ragdistill.signals.distributions import TokenDistributions
from ragdistill.signals.logits import TopK
from ragdistill.training.fitting import COLUMN
from ragdistill.training.language import LABELS
from ragdistill.training.reading import INPUTS, Reader
from ragdistill_generator.evaluation import finite, perplexity
from ragdistill_generator.lesson import PLACES, TARGETS, Batches, Lesson
from ragdistill_generator.setup import Setup
from ragdistill_generator.student import Student
from ragdistill_generator.telling import Teller

LOOKED_AT = 48
"""Answers, at most."""
LIKELIEST = 10
"""Tokens of the teacher's distribution whose log-probabilities are correlated."""
_WHOLE = TopK(mass=0.999, most=128)
_ALONE = LogitObjective(alpha=1.0, temperature=1.0)
_WORST, _TOP = 5, 4


@dataclass(frozen=True)
class Heard:
    """One token of which the teacher said something."""

    example: int
    label: int
    divergence: float
    entropy: float
    own_entropy: float
    same: bool
    theirs: list[tuple[int, float]]
    """Its likeliest ids, with the probabilities that the teacher gives them."""
    ours: list[tuple[int, float]]
    pairs: list[tuple[float, float]]
    """Log-probabilities that teacher and student give to the teacher's likeliest."""


def diagnose(setup: Setup, student: Student, show: int) -> dict[str, Any]:
    """See ``Distiller.diagnose``; of a teacher behind an endpoint nothing can be said."""
    if setup.served:
        return {}
    texts, told, lesson = _held_out(setup)
    teller = Teller(
        setup.mentor_network,
        _WHOLE,
        weights=setup.mentor.weights_digest,
        tokenizer=setup.mentor.tokenizer_digest,
        precision=setup.precision,
        words=causal.words(setup.mentors.tokenizer),
    )
    told, coverage = _said(teller, told), None
    taught = told
    if not setup.alike:
        taught, coverage = setup.translation.lesson(texts, told, lesson)
    heard = list(_heard(student.network, taught))
    if not heard:
        return {}
    agreement = _agreement(heard)
    calibrated = {}
    if setup.gold:
        networks = {"teacher": (setup.mentor_network, told), "student": (student.network, lesson)}
        calibrated = {name: _calibrated(*each) for name, each in networks.items()}
    found = diagnosis.of_agreement(agreement) + diagnosis.of_calibration(calibrated)
    if coverage is not None:
        found += diagnosis.of_coverage(coverage.as_json())
    decode = student.tokenizer.decode
    return {
        "answers": len(texts),
        "agreement": agreement,
        "coverage": None if coverage is None else coverage.as_json(),
        "calibration": calibrated,
        "most_different": {
            "tokens": _worst_tokens(heard, texts, decode),
            "answers": _worst_answers(heard, texts),
        },
        "shown": _shown(told, texts, show, setup.mentors.tokenizer.decode),
        "findings": [each.as_json() for each in found],
    }


def _held_out(setup: Setup) -> tuple[list[str], Lesson, Lesson]:
    """Answers that trained nothing, as the teacher and as the student reads them."""
    pairs, lesson, told = setup.learnt_pairs, setup.lesson, setup.told_lesson
    _, apart = lesson.divided(setup.config.seed)
    chosen = [place for place in apart if place < len(pairs)][:LOOKED_AT]
    parts = [
        replace(each, examples=[each.examples[place] for place in chosen])
        for each in (told, lesson)
    ]
    return [pairs[place][1] for place in chosen], parts[0], parts[1]


def _said(teller: Teller, lesson: Lesson) -> Lesson:
    """The lesson with nearly all that the teacher says of it at temperature 1."""
    lesson = lesson.read_by(teller.network)
    found: dict[int, TokenDistributions] = {}
    for row in lesson.rows(range(len(lesson.examples))):
        said = teller.said(lesson, row, False)
        found |= {span.place: each for span, each in zip(row.spans, said, strict=True)}
    examples = [replace(each, targets=found[place]) for place, each in enumerate(lesson.examples)]
    return replace(lesson, examples=examples)


@torch.inference_mode()
def _read(network: Any, lesson: Lesson) -> Iterator[tuple[list[int], dict[str, Tensor], Tensor]]:
    """Row by row the places of its examples, the batch, and the logits ``[n, v]`` at the answers' tokens."""
    lesson = lesson.read_by(network)
    rows = lesson.rows(range(len(lesson.examples)))
    batches, reader = Batches(lesson, rows), Reader(network)
    for place, row in enumerate(rows):
        batch = batches([{COLUMN: place}])
        inputs = {name: batch[name] for name in INPUTS & batch.keys()}
        logits = reader.logits(inputs, batch[PLACES]).float().cpu()
        yield [span.place for span in row.spans], batch, logits


def _heard(network: Any, lesson: Lesson) -> Iterator[Heard]:
    """Of each token that the teacher said something of, what both say."""
    for places, batch, logits in _read(network, lesson):
        targets = SparseTargets(*(batch[name] for name in TARGETS))
        owners = [place for place in places for _ in lesson.examples[place].told]
        logs = logits[: len(targets)].log_softmax(dim=-1)
        lost = token_divergences(logits[: len(targets)], targets, _ALONE)
        probs, theirs = targets.buckets(torch.float32)
        surprise = -(probs * theirs).sum(dim=1)
        own = -(logs.exp() * logs).sum(dim=1)
        top = logs.topk(_TOP, dim=1)
        order = targets.probs.argsort(dim=1, descending=True)[:, :LIKELIEST]
        for at, owner in enumerate(owners):
            chosen = [int(column) for column in order[at] if targets.probs[at, column] > 0]
            ids = [int(targets.ids[at, column]) for column in chosen]
            said = [float(targets.probs[at, column]) for column in chosen]
            yield Heard(
                owner,
                int(batch[LABELS][at]),
                float(lost[at]),
                float(surprise[at]),
                float(own[at]),
                bool(ids) and ids[0] == int(top.indices[at, 0]),
                list(zip(ids, said, strict=True))[:_TOP],
                [
                    (int(i), float(p.exp()))
                    for i, p in zip(top.indices[at], top.values[at], strict=True)
                ],
                [(float(np.log(p)), float(logs[at, i])) for i, p in zip(ids, said, strict=True)],
            )


def _agreement(heard: Sequence[Heard]) -> dict[str, Any]:
    """Means over tokens, in nats; ``correlation`` is Pearson's, over the log-probabilities of the teacher's
    likeliest tokens, all places together; None where they do not vary."""
    pairs = np.array([pair for each in heard for pair in each.pairs]).reshape(-1, 2)
    varies = len(pairs) > 2 and (pairs.std(axis=0) > 0).all()
    return {
        "tokens": len(heard),
        "kl": float(np.mean([each.divergence for each in heard])),
        "top1": float(np.mean([each.same for each in heard])),
        "correlation": float(np.corrcoef(pairs.T)[0, 1]) if varies else None,
        "entropy": float(np.mean([each.entropy for each in heard])),
        "entropy_student": float(np.mean([each.own_entropy for each in heard])),
    }


def _calibrated(network: Any, lesson: Lesson) -> dict[str, Any]:
    """Calibration on right answers as it is and at the best temperature of these same tokens."""
    parts = [(logits.numpy(), batch[LABELS].numpy()) for _, batch, logits in _read(network, lesson)]
    logits, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    best = best_temperature(logits, labels)
    before, after = (_reliable(logits / np.float32(heat), labels) for heat in (1.0, best))
    found = {
        "tokens": len(labels),
        "accuracy": before["accuracy"],
        "confidence": before["confidence"],
        "perplexity": _perplexity(logits, labels),
        "ece": before["equal_mass"]["ece"],
        "temperature": best,
        "ece_at_temperature": after["equal_mass"]["ece"],
        "reliability": before["equal_width"]["bins"],
        "reliability_at_temperature": after["equal_width"]["bins"],
    }
    return finite(found)


def _perplexity(logits: Any, labels: Any) -> float:
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    return perplexity(float(loss))


def _reliable(logits: Any, labels: Any) -> dict[str, Any]:
    probs = torch.from_numpy(logits).softmax(dim=-1).max(dim=-1)
    return calibration(probs.values.numpy().clip(0, 1), probs.indices.numpy() == labels)


def _worst_tokens(
    heard: Sequence[Heard], texts: Sequence[str], decode: Any
) -> list[dict[str, Any]]:
    worst = sorted(heard, key=lambda each: -each.divergence)[:_WORST]
    return [
        {
            "token": decode([each.label]),
            "answer": texts[each.example],
            "kl": each.divergence,
            "teacher": _named(each.theirs, decode),
            "student": _named(each.ours, decode),
        }
        for each in worst
    ]


def _worst_answers(heard: Sequence[Heard], texts: Sequence[str]) -> list[dict[str, Any]]:
    lost: dict[int, list[float]] = {}
    for each in heard:
        lost.setdefault(each.example, []).append(each.divergence)
    worst = sorted(lost, key=lambda place: -float(np.mean(lost[place])))[:_WORST]
    return [{"answer": texts[place], "kl": float(np.mean(lost[place]))} for place in worst]


def _shown(told: Lesson, texts: Sequence[str], show: int, decode: Any) -> list[dict[str, Any]]:
    """What the teacher says of each token of some answers, in its own tokens."""
    return [
        {
            "question": decode(list(example.question)).strip(),
            "answer": text,
            "tokens": _soft(example.targets, decode),
        }
        for text, example in list(zip(texts, told.examples, strict=True))[:show]
        if example.targets is not None
    ]


def _soft(said: TokenDistributions, decode: Any) -> list[dict[str, Any]]:
    found = []
    for at, entropy in enumerate(entropies(said)):
        own = slice(said.starts[at], said.starts[at + 1])
        ids, probs = said.ids[own], said.probs[own]
        best = np.argsort(-probs, kind="stable")[:_TOP]
        found.append(
            {
                "token": decode([int(said.labels[at])]),
                "probability": float(np.exp(said.label_log_probs[at])),
                "entropy": float(entropy),
                "top": _named([(int(ids[n]), float(probs[n])) for n in best], decode),
            }
        )
    return found


def _named(said: Sequence[tuple[int, float]], decode: Any) -> list[list[Any]]:
    return [[decode([id]), prob] for id, prob in said]
