"""Question: how many relevant documents that are listed as negatives do the teacher's scores find, and what
does it cost a real student to learn with them? (tests/unit/test_reranker_false_negatives.py has a student of
two weights, whom it costs much.)

Three layers of MiniLM as a bi-encoder on pydocs: a document less one piece is cut in parts, the piece is
the query, and every part answers it. The first part, which names the thing, is listed as the positive, as
by people who judge what they find first; the others are planted among the negatives of its list. The teacher is
made up: 1 for the parts, MiniLM's cosine for others, and noise, stretched to the spread of a log-likelihood.
"""

import argparse
import dataclasses
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import minilm
from ragdistill.data.pydocs import load
from ragdistill.data.sampling import sample
from ragdistill.metrics.bootstrap import compare
from ragdistill.metrics.ranking import per_query
from ragdistill.models.resolve import resolve
from ragdistill_reranker import training
from ragdistill_reranker.config import RerankerConfig
from ragdistill_reranker.lists import Lists, examine
from ragdistill_reranker.questions import cut_out
from ragdistill_reranker.students import Student, make
from ragdistill_reranker.training import Lesson, Objective, Recipe

PARTS, PART_WORDS, WAYS, DEPTH = 3, 25, 8, 20
SPREAD = 0.3
"""Of the teacher's scores in a list: about that of a log-likelihood per token."""


@dataclass(frozen=True)
class Asked:
    """A piece, and the parts of its document that answer it."""

    query: str
    parts: tuple[str, ...]


def main() -> None:
    """Print what is found, and what it costs not to look."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lists", type=int, default=200)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--noise", type=float, default=0.02, help="of the teacher")
    parser.add_argument("--margins", nargs="+", type=float, default=[RerankerConfig.margin])
    parser.add_argument("--objectives", nargs="+", default=["hinge", "margin-mse"])
    given = parser.parse_args()
    asked = made(given.lists + given.queries)
    lesson, left_out = taught(asked[: given.lists], given.noise)
    print(left_out, flush=True)
    task = candidates(asked[given.lists :])
    before = values(new_student(), task)
    print(f"before: nDCG@10 {before.mean():.4f}", flush=True)
    all_listed = dataclasses.replace(
        lesson, findings=dataclasses.replace(lesson.findings, usable=lesson.lists.there)
    )
    for objective in given.objectives:
        for margin in given.margins if objective == "hinge" else given.margins[:1]:
            found = [values(learn(each, objective, margin), task) for each in (lesson, all_listed)]
            print(
                f"{objective}, margin {margin}: nDCG@10 {found[0].mean():.4f} without them, "
                f"{found[1].mean():.4f} with them: {compare(found[0], found[1], 0)}",
                flush=True,
            )


def made(count: int) -> list[Asked]:
    """Pieces of documents that are long enough."""
    found = []
    for document in sample(list(load().documents), None, 0, key=lambda item: item.id):
        piece = cut_out(document, 0)
        words = piece[1].split() if piece else []
        if piece is None or len(words) < PARTS * PART_WORDS // 2:
            continue
        size = min(PART_WORDS, len(words) // PARTS)
        parts = [" ".join(words[n * size : (n + 1) * size]) for n in range(PARTS)]
        found.append(Asked(piece[0], tuple(parts)))
    return sample(found, count, 0, key=lambda item: item.query)


def taught(asked: Sequence[Asked], noise: float) -> tuple[Lesson, str]:
    """Lists with what the teacher says of them, and how much of what is planted was found."""
    draw, texts = random.Random(0), []
    for each in asked:
        others = draw.sample([other for other in asked if other is not each], WAYS - PARTS)
        texts.append([*each.parts, *(draw.choice(other.parts) for other in others)])
    there = np.ones((len(asked), WAYS), dtype=bool)
    lists = Lists([each.query for each in asked], texts, there)
    encoder = minilm()
    vectors = encoder.encode([text for row in texts for text in row]).reshape(*there.shape, -1)
    said = np.einsum("qd,qnd->qn", encoder.encode(list(lists.queries)), vectors)
    said[:, :PARTS] = 1
    said = said + np.random.default_rng(0).normal(0, noise, said.shape)
    scores = (said * SPREAD / said.std(axis=1).mean()).astype(np.float32)
    findings = examine(scores, there, np.ones(len(asked), dtype=bool))
    planted, others = ~findings.usable[:, 1:PARTS], ~findings.usable[:, PARTS:]
    told = (
        f"left out: {planted.sum()} of {planted.size} planted documents, {others.sum()} of "
        f"{others.size} others"
    )
    places = np.arange(there.size).reshape(there.shape)
    return Lesson(lists, scores, findings, places, places[:, :1].tolist()), told


@dataclass(frozen=True)
class Candidates:
    """What is reranked, and which of it is relevant ``[q, n]``."""

    lists: Lists
    relevant: NDArray[np.bool_]


def candidates(asked: Sequence[Asked]) -> Candidates:
    """MiniLM's first parts of each query that trained nothing."""
    encoder = minilm()
    parts = [part for each in asked for part in each.parts]
    cosines = encoder.encode([each.query for each in asked]) @ encoder.encode(parts).T
    first = np.argsort(-cosines, axis=1, kind="stable")[:, :DEPTH]
    texts = [[parts[place] for place in row] for row in first]
    lists = Lists([each.query for each in asked], texts, np.ones(first.shape, dtype=bool))
    return Candidates(lists, first // PARTS == np.arange(len(asked))[:, None])


def new_student() -> Student:
    """Three layers of MiniLM."""
    config = RerankerConfig(teacher="none", student="bi-encoder", student_layers="3", device="cpu")
    return make(config, resolve("MiniLM").path, [])


def learn(lesson: Lesson, objective: Objective, margin: float) -> Student:
    """A student after two passes."""
    student = new_student()
    recipe = Recipe(
        objective=objective,
        epochs=2,
        lr=5e-5,
        seed=0,
        batch_lists=RerankerConfig.batch_lists,
        chunk_tokens=RerankerConfig.chunk_tokens,
        margin=margin,
    )
    with tempfile.TemporaryDirectory() as folder:
        training.fit(student, lesson, recipe, Path(folder) / "checkpoints")
    return student


def values(student: Student, task: Candidates) -> NDArray[np.float64]:
    """nDCG@10 of each query ``[q]``, of the parts among its candidates."""
    qrels, ranked = {}, {}
    scored = zip(student.score(task.lists), task.relevant, strict=True)
    for number, (scores, relevant) in enumerate(scored):
        rows = [(str(place), float(score)) for place, score in enumerate(scores)]
        ranked[str(number)] = sorted(rows, key=lambda row: -row[1])
        qrels[str(number)] = {str(place): int(mark) for place, mark in enumerate(relevant)}
    return np.array(list(per_query(qrels, ranked, ["nDCG@10"])["nDCG@10"].values()))


if __name__ == "__main__":
    main()
