"""Which way of running SmolLM2-135M-Instruct scores pairs fastest on this processor, and how far what it
says is from float32: padded batches, rows without padding (what ``ragdistill reranker`` runs) in float32 and
bfloat16, and, where it is installed (``pip install ctranslate2``), ctranslate2 in float32 and int8.

What another processor would give can be seen on a better one, by the variables that hold libraries
back: ``ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 CT2_FORCE_CPU_ISA=AVX2``.
"""

import argparse
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn import functional

from benchmarks.common import in_turns, told
from benchmarks.scorers import scores
from ragdistill.data.pydocs import load
from ragdistill.first_stage import NONE, Words
from ragdistill.metrics.retrieval import make_task
from ragdistill.models.resolve import resolve
from ragdistill_reranker.language_model import LanguageModel
from ragdistill_reranker.scoring import Pair, Scores

DEPTH, BATCH = 20, 16
Score = Callable[[], Scores]


def main() -> None:
    """Print each way's speed against padded batches, and its agreement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    pairs, teacher = pairs_of(asked.queries), resolve("SmolLM2-135M-Instruct")
    plain = LanguageModel(teacher, "cpu")
    ways: dict[str, Score] = {"rows in float32": lambda: scores(plain, pairs)}
    half = LanguageModel(teacher, "cpu", precision="bfloat16")
    ways["rows in bfloat16"] = lambda: scores(half, pairs)
    with tempfile.TemporaryDirectory() as scratch:
        if find_spec("ctranslate2"):
            ways |= converted(plain, pairs, Path(scratch))
        wanted = padded(plain, pairs)
        print(f"{len(pairs)} pairs, {torch.get_num_threads()} threads, {capability()}", flush=True)
        for name, score in ways.items():
            found = score()
            ratios = in_turns(lambda: padded(plain, pairs), score, asked.rounds)
            print(f"{name}: {told(ratios)} as fast as padded batches, {agreement(wanted, found)}")


def capability() -> str:
    """The instructions that torch uses."""
    return f"torch on {torch.backends.cpu.get_cpu_capability()}"


def pairs_of(queries: int) -> list[Pair]:
    """Queries of pydocs with the first documents that BM25 finds."""
    task = make_task(load(), limit=queries, seed=0)
    found = Words(task.document_texts).find(task.query_texts, DEPTH).places
    return [
        (query, task.document_texts[place])
        for query, places in zip(task.query_texts, found, strict=True)
        for place in places
        if (places != NONE).all()
    ]


def agreement(wanted: Scores, found: Scores) -> str:
    """Spearman's correlation within lists, the mean over them, and the largest difference."""
    lists = zip(wanted.reshape(-1, DEPTH), found.reshape(-1, DEPTH), strict=True)
    orders = [float(spearmanr(one, other).statistic) for one, other in lists]
    return f"Spearman {np.mean(orders):.4f}, {np.abs(wanted - found).max():.1e} apart at most"


def rows_of(scorer: LanguageModel, pairs: list[Pair]) -> list[tuple[list[int], int]]:
    """Of each pair all tokens, and how many of them are the query's."""
    made: dict[int, tuple[list[int], int]] = {}
    for group in scorer.groups(pairs):
        for place, tokens in group.continuations:
            made[place] = ([*group.beginning, *tokens], len(tokens))
    return [made[place] for place in range(len(pairs))]


@torch.inference_mode()
def padded(scorer: LanguageModel, pairs: list[Pair]) -> Scores:
    """As one would write it: batches by length, padded on the left."""
    rows = rows_of(scorer, pairs)
    order = sorted(range(len(rows)), key=lambda place: len(rows[place][0]))
    found = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), BATCH):
        part = order[start : start + BATCH]
        wide = max(len(rows[place][0]) for place in part)
        ids = torch.zeros(len(part), wide, dtype=torch.long)
        seen = torch.zeros(len(part), wide, dtype=torch.long)
        for number, place in enumerate(part):
            ids[number, wide - len(rows[place][0]) :] = torch.tensor(rows[place][0])
            seen[number, wide - len(rows[place][0]) :] = 1
        longest = max(rows[place][1] for place in part)
        logits = scorer.network(ids, attention_mask=seen, logits_to_keep=longest + 1).logits
        for number, place in enumerate(part):
            count = rows[place][1]
            said = logits[number, -count - 1 : -1].float()
            loss = functional.cross_entropy(said, ids[number, -count:])
            found[place] = -loss.item()
    return found


def converted(scorer: LanguageModel, pairs: list[Pair], folder: Path) -> dict[str, Score]:
    """The same weights in ctranslate2."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    scorer.network.save_pretrained(folder / "plain")
    scorer.tokenizer.save_pretrained(folder / "plain")
    TransformersConverter(str(folder / "plain")).convert(str(folder / "converted"))
    rows = rows_of(scorer, pairs)
    words = [scorer.tokenizer.convert_ids_to_tokens(tokens) for tokens, _ in rows]

    def way(kind: str) -> Score:
        model: Any = ctranslate2.Generator(
            str(folder / "converted"), compute_type=kind, intra_threads=torch.get_num_threads()
        )

        def score() -> Scores:
            said = model.score_batch(words, max_batch_size=2048, batch_type="tokens")
            means = [
                float(np.mean(each.log_probs[-count:]))
                for each, (_, count) in zip(said, rows, strict=True)
            ]
            return np.array(means, dtype=np.float32)

        return score

    return {f"ctranslate2 in {kind}": way(kind) for kind in ("float32", "int8")}


if __name__ == "__main__":
    main()
