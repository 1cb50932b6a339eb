"""Teacher and student answer the same questions from the same contexts."""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ragdistill.batching import token_budget_batches
from ragdistill.causal import ending_ids, reply_text, write
from ragdistill.files import write_text
from ragdistill.local_writer import BATCH_TOKENS
from ragdistill.metrics.calibration import calibration
from ragdistill.training.fitting import COLUMN
from ragdistill.training.language import LABELS
from ragdistill.training.reading import INPUTS, Reader
from ragdistill_generator.cases import Case
from ragdistill_generator.lesson import PLACES, Batches, Lesson
from ragdistill_generator.prompts import Prompter
from ragdistill_generator.student import Student

_MOST_NATS = math.log(sys.float_info.max)


def answer(
    student: Student, prompter: Prompter, cases: Sequence[Case], new_tokens: int
) -> list[str]:
    """The student's answers, the likeliest words taken."""
    prompts = [prompter.encode(case).ids for case in cases]
    network, tokenizer = student.network, student.tokenizer
    ends = ending_ids(network, tokenizer)
    said = [""] * len(cases)
    lengths = [len(prompt) + new_tokens for prompt in prompts]
    for places in token_budget_batches(lengths, BATCH_TOKENS[network.device.type]):
        replies = write(network, tokenizer, [prompts[place] for place in places], new_tokens)
        for place, reply in zip(places, replies, strict=True):
            said[place] = reply_text(tokenizer, reply, ends).strip()
    return said


def keep(
    folder: Path,
    name: str,
    cases: Sequence[Case],
    answers: Sequence[str],
    replies: Sequence[str] | None = None,
) -> None:
    """``answers/NAME.jsonl``: of each question its id, what is known of its answer, and the answer; the
    whole reply, too, where that is more."""
    rows = [
        {
            "id": case.id,
            "question": case.question,
            "contexts": list(case.contexts),
            "references": list(case.references),
            "answerable": case.answerable,
            "answer": said,
            **({} if reply == said else {"reply": reply}),
        }
        for case, said, reply in zip(cases, answers, replies or answers, strict=True)
    ]
    path = folder / "answers" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def kept(folder: Path, name: str) -> tuple[list[Case], list[str]]:
    """What :func:`keep` wrote."""
    lines = (folder / "answers" / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    cases = [
        Case(
            row["id"],
            row["question"],
            tuple(row["contexts"]),
            tuple(row["references"]),
            row["answerable"],
        )
        for row in rows
    ]
    return cases, [row["answer"] for row in rows]


def agreement(
    teacher: Any, student: Any, lesson: Lesson, words: int | None = None
) -> dict[str, Any]:
    """How alike two networks of one vocabulary foretell the tokens of a lesson's answers.

    Args:
        words: ids that exist, from 0, however many rows their heads have; None for all that both have.

    Returns:
        Means over ``tokens``, in nats: forward ``kl`` and ``entropy`` of the teacher; ``top1``, the share
        of tokens of which both have the same likeliest; and each one's perplexity of them. None where that is
        more than a number holds, with the ``reason``.
    """
    sums, tokens = np.zeros(5), 0
    rows = [len(each.get_output_embeddings().weight) for each in (teacher, student)]
    words = min(rows) if words is None else min(words, *rows)
    for labels, (theirs, ours) in _foretold((teacher, student), lesson, words):
        p = theirs.exp()
        # Nothing times the logarithm of nothing is nothing; infinity stays what it is.
        lost = (p * (theirs - ours)).nan_to_num(posinf=math.inf).sum()
        same = (theirs.argmax(dim=-1) == ours.argmax(dim=-1)).sum()
        entropy = -(p * theirs).nan_to_num().sum()
        own = [-said.gather(1, labels[:, None]).sum() for said in (theirs, ours)]
        sums += [float(each) for each in (lost, same, entropy, *own)]
        tokens += len(labels)
    kl, top1, entropy_of, teacher_loss, student_loss = (sums / max(tokens, 1)).tolist()
    found = {
        "kl": kl,
        "top1": top1,
        "entropy": entropy_of,
        "perplexity_teacher": perplexity(teacher_loss),
        "perplexity_student": perplexity(student_loss),
        "tokens": float(tokens),
    }
    return finite(found)


def perplexity(nats: float) -> float:
    """Of a mean loss a token; infinite where that is more than a number holds."""
    return math.exp(nats) if nats < _MOST_NATS else math.inf


def finite(found: Mapping[str, Any]) -> dict[str, Any]:
    """``found`` with None in place of numbers that are none, and then the ``reason``: a report has no
    others."""
    beyond = [name for name, value in found.items() if not _is_finite(value)]
    if not beyond:
        return dict(found)
    reason = f"{', '.join(beyond)}: more than a number holds, as tokens of the answers have next to no probability"
    return {name: None if name in beyond else value for name, value in found.items()} | {
        "reason": reason
    }


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def calibrated(network: Any, lesson: Lesson) -> dict[str, Any]:
    """How far a network's confidence in the tokens of right answers can be believed; see
    :func:`ragdistill.metrics.calibration.calibration`."""
    sure, right = [], []
    for labels, (said,) in _foretold((network,), lesson):
        best = said.max(dim=-1)
        sure.append(best.values.exp().cpu().numpy())
        right.append((best.indices == labels).cpu().numpy())
    return calibration(np.concatenate(sure).clip(0, 1), np.concatenate(right))


@torch.inference_mode()
def _foretold(
    networks: Sequence[Any], lesson: Lesson, words: int | None = None
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Row by row the tokens of a lesson's answers ``[n]``, and each network's log-probabilities there
    ``[n, v]``, of the first ``words`` ids."""
    for network in networks:
        lesson = lesson.read_by(network)
    rows = lesson.rows(range(len(lesson.examples)))
    batches, readers = Batches(lesson, rows), [Reader(network) for network in networks]
    for place in range(len(rows)):
        batch = batches([{COLUMN: place}])
        inputs = {name: batch[name] for name in INPUTS & batch.keys()}
        said = [reader.logits(inputs, batch[PLACES])[:, :words].float() for reader in readers]
        yield batch[LABELS].to(said[0].device), [each.log_softmax(dim=-1) for each in said]
