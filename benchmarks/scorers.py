"""Claims, of SmolLM2-135M-Instruct as the teacher of a reranker on pydocs, candidates MiniLM's first 20:

- queries of one document scored in one pass cost a fraction of pairs scored one by one, and say the
  same;
- its query likelihood finds more than MiniLM alone, and fused with MiniLM's cosine more still.

Factors of the fusion are fitted on the first half of the queries and measured on the other.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import minilm, seconds, told
from ragdistill.data.pydocs import load
from ragdistill.data.sampling import sample
from ragdistill.metrics.bootstrap import compare
from ragdistill.metrics.mixing import fit_factors
from ragdistill.metrics.ranking import per_query
from ragdistill.metrics.retrieval import Task, make_task, rank
from ragdistill.metrics.trec import Rankings
from ragdistill.models.resolve import resolve
from ragdistill_reranker.language_model import LanguageModel, Reading
from ragdistill_reranker.scoring import Pair, Scores

DEPTH = 20
_READINGS: tuple[Reading, ...] = ("likelihood", "yes-no")


def main() -> None:
    """Print both claims."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=120, help="pairs that speed is measured on")
    parser.add_argument("--skip-speed", action="store_true")
    asked = parser.parse_args()
    task = make_task(load(), limit=asked.queries, seed=0)
    encoder = minilm()
    vectors = (encoder.encode(task.query_texts), encoder.encode(task.document_texts))
    first = {query: found[:DEPTH] for query, found in rank(task, *vectors).items()}
    teacher = resolve("SmolLM2-135M-Instruct")
    if not asked.skip_speed:
        speed(LanguageModel(teacher, "cpu"), pairs_of(task, first), asked.pairs)
    for reading in _READINGS:
        quality(task, first, LanguageModel(teacher, "cpu", reading))


def pairs_of(task: Task, first: Rankings) -> list[Pair]:
    """All pairs that are to be scored, by document."""
    texts = {document.id: document.content for document in task.documents}
    pairs = [
        (query.text, texts[document]) for query in task.queries for document, _ in first[query.id]
    ]
    return sorted(pairs, key=lambda pair: pair[1])


def speed(scorer: LanguageModel, pairs: list[Pair], count: int) -> None:
    """Pairs of some documents in shared rows against one by one, in turns."""
    documents = sample(sorted({text for _, text in pairs}), max(1, count // 8), 0, key=str)
    chosen = [pair for pair in pairs if pair[1] in set(documents)][:count]
    found: dict[str, Scores] = {}

    def shared() -> None:
        found["shared"] = scores(scorer, chosen)

    def alone() -> None:
        found["alone"] = np.concatenate([scores(scorer, [pair]) for pair in chosen])

    scores(scorer, chosen[:8])
    ratios = [seconds(alone) / seconds(shared) for _ in range(3)]
    apart = float(np.abs(found["shared"] - found["alone"]).max())
    print(
        f"{len(chosen)} pairs of {len(documents)} documents: sharing documents is {told(ratios)} as "
        f"fast as pairs one by one; scores differ by {apart:.1e} at most",
        flush=True,
    )


def scores(scorer: LanguageModel, pairs: list[Pair]) -> Scores:
    """Scores ``[n]``."""
    found = np.empty(len(pairs), dtype=np.float32)
    for places, said, _ in scorer.answers(pairs):
        found[places] = said
    return found


def quality(task: Task, first: Rankings, scorer: LanguageModel) -> None:
    """nDCG@10 of the first stage, the teacher, and both."""
    pairs = pairs_of(task, first)
    said = dict(zip(pairs, scores(scorer, pairs), strict=True))
    texts = {document.id: document.content for document in task.documents}
    asked = {query.id: query.text for query in task.queries}
    by_model = [
        [said[asked[query], texts[document]] for document, _ in found]
        for query, found in first.items()
    ]
    cosines = [[cosine for _, cosine in found] for found in first.values()]
    both = np.array([by_model, cosines], dtype=np.float64)
    relevant = np.array(
        [
            [task.qrels[query].get(document, 0) > 0 for document, _ in found]
            for query, found in first.items()
        ]
    )
    half = len(first) // 2
    usable = relevant[:half].any(axis=1)
    factors = fit_factors(both[:, :half][:, usable], relevant[:half][usable])
    print(f"{scorer.reading}: factors {factors}")
    tell(task, first, half, scorer.reading, both[0])
    tell(task, first, half, f"{scorer.reading}, fused", np.tensordot(factors, both, axes=1))


def tell(task: Task, first: Rankings, half: int, name: str, scored: NDArray[np.float64]) -> None:
    """One system against the first stage, on the second half of the queries."""
    tested = list(first)[half:]
    found = {
        query: sorted(
            (
                (document, float(score))
                for (document, _), score in zip(first[query], row, strict=True)
            ),
            key=lambda item: -item[1],
        )
        for query, row in zip(tested, scored[half:], strict=True)
    }
    qrels = {query: task.qrels[query] for query in tested}
    before, after = (
        np.array(list(per_query(qrels, rankings, ["nDCG@10"])["nDCG@10"].values()))
        for rankings in ({query: first[query] for query in tested}, found)
    )
    row = compare(before, after, 0)
    print(f"{name}: nDCG@10 {after.mean():.4f}, first stage {before.mean():.4f}: {row}", flush=True)


if __name__ == "__main__":
    main()
