"""Claim: token vectors in codes of a few bytes rank as the whole ones do.

MiniLM, untrained, keeps 128 dimensions of each token; known-item queries of pydocs rank the candidates that
MiniLM itself finds. Each way of keeping documents against float32: bytes, nDCG@10, how much of the first ten
is the same, and milliseconds to score the candidates of one query on one thread.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

from benchmarks.common import minilm
from ragdistill.data.pydocs import load
from ragdistill.metrics.ranking import as_rankings, overlap, per_query
from ragdistill.metrics.retrieval import Task, make_task, rank
from ragdistill.metrics.trec import Rankings
from ragdistill.models.resolve import resolve
from ragdistill_reranker.late_interaction import make_late_interaction
from ragdistill_reranker.token_index import (
    CODINGS,
    TokenCoding,
    TokenIndex,
    Vectors,
    write_token_index,
)

DEPTH = 20
POOLED = (2, 4)
_POOLED_CODINGS: tuple[TokenCoding, ...] = ("float32", "residual", "pq")


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--dims", type=int, default=128)
    parser.add_argument("--expanded", action="store_true")
    asked = parser.parse_args()
    task = make_task(load(), limit=asked.queries, seed=0)
    encoder = minilm()
    vectors = (encoder.encode(task.query_texts), encoder.encode(task.document_texts))
    first = {query: found[:DEPTH] for query, found in rank(task, *vectors).items()}
    ids = sorted({document for found in first.values() for document, _ in found})
    texts = {document.id: document.content for document in task.documents}
    told = [texts[document] for document in ids]
    model = make_late_interaction(
        resolve("MiniLM").path, asked.dims, told[:400], "cpu", expanded=asked.expanded
    )
    queries = model.encode_query(task.query_texts, convert_to_numpy=True)
    documents = model.encode_document(told, convert_to_numpy=True)
    print(f"{len(ids)} documents, {len(first)} queries; first stage {ndcg(task, first):.4f}")
    exact = measure(task, first, queries, ids, documents, "float32", None, "")
    for coding in CODINGS[1:]:
        measure(task, first, queries, ids, documents, coding, exact, "")
    for factor in POOLED:
        pooling = HierarchicalTokenPooling(factor)
        fewer = model.encode_document(told, convert_to_numpy=True, token_pooling=pooling)
        for coding in _POOLED_CODINGS:
            measure(task, first, queries, ids, fewer, coding, exact, f", pooled by {factor}")


def measure(
    task: Task,
    first: Rankings,
    queries: Sequence[Vectors],
    ids: Sequence[str],
    documents: Sequence[Vectors],
    coding: TokenCoding,
    exact: Rankings | None,
    suffix: str,
) -> Rankings:
    """One way; its ranking."""
    with tempfile.TemporaryDirectory() as name:
        write_token_index(Path(name), ids, documents, coding)
        index = TokenIndex.read(Path(name))
        ranking: Rankings = {}
        taken = []
        for (query, found), tokens in zip(first.items(), queries, strict=True):
            places = [index.places[document] for document, _ in found]
            started = time.perf_counter()
            scores = index.scores(tokens, places)
            taken.append(time.perf_counter() - started)
            names = [ids[place] for place in places]
            rows = np.arange(len(places))[None]
            ranking[query] = as_rankings(scores[None], rows, names)[0]
        shared = overlap(exact or ranking, ranking)
        print(
            f"{coding}{suffix}: {index.bytes_per_document:.0f} bytes, {index.codes.shape[1]} a token, "
            f"nDCG@10 {ndcg(task, ranking):.4f}, overlap@10 {shared:.3f}, "
            f"{1000 * np.median(taken):.2f} ms",
            flush=True,
        )
    return ranking


def ndcg(task: Task, ranking: Rankings) -> float:
    """Mean over queries."""
    return float(np.mean(list(per_query(task.qrels, ranking, ["nDCG@10"])["nDCG@10"].values())))


if __name__ == "__main__":
    main()
