"""The half of ``benchmarks.interop`` that runs where ragdistill and transformers 5 are not installed.

``python interop_there.py colbert FOLDER``: what colbert-ai makes of ``checkpoint`` and ``texts.json`` there,
its vectors, exact scores and PLAID's ranking. ``python interop_there.py onnx FOLDER KIND GRAPHS``: what
Optimum makes of the texts with an exported folder. Both write ``there-*`` into FOLDER.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

DEPTH = 10
KINDS = {
    "embedder": {"ORTModelForFeatureExtraction": "last_hidden_state"},
    "cross-encoder": {"ORTModelForSequenceClassification": "logits"},
    "multi-vector": {
        "ORTModelForFeatureExtraction": "last_hidden_state",
        "ORTModelForCustomTasks": "token_embeddings",
    },
}
"""Optimum's classes for each kind of export, and the output that is compared of each."""


def tokenise(folder: Path, kind: str, texts: dict[str, list[str]]) -> dict[str, Any]:
    """Inputs of a graph, padded, by what is read: documents, queries, or pairs of both."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    record = json.loads((folder / "ragdistill.json").read_text())
    asked, told = texts["queries"], texts["documents"][: len(texts["queries"])]
    read: dict[str, tuple[dict[str, Any], tuple[list[str], ...]]]
    if kind == "cross-encoder":
        read = {"pairs": (record, (asked, told))}
    elif kind == "multi-vector":
        read = {
            "queries": (record["queries"], (asked,)),
            "documents": (record["documents"], (told,)),
        }
    else:
        read = {"documents": (record, (told,))}
    return {
        name: tokenizer(
            [side.get("prompt", "") + text for text in first],
            *others,
            padding=True,
            truncation=True,
            max_length=side["max_seq_length"],
            return_tensors="np",
        )
        for name, (side, (first, *others)) in read.items()
    }


def onnx(folder: Path, texts: dict[str, list[str]], kind: str, graphs: Path) -> None:
    """Write what Optimum's own classes give."""
    import optimum.onnxruntime

    found: dict[str, Any] = {}
    for name, output in KINDS[kind].items():
        model = getattr(optimum.onnxruntime, name).from_pretrained(graphs)
        for what, inputs in tokenise(graphs, kind, texts).items():
            found[f"{what} {output}"] = np.asarray(model(**inputs)[output])
    np.savez(folder / f"there-{kind}.npz", **found)


def colbert(folder: Path, texts: dict[str, list[str]]) -> None:
    """Write vectors, exact scores and PLAID's ranking."""
    import torch
    from colbert import Indexer, Searcher
    from colbert.infra import ColBERTConfig, Run, RunConfig
    from colbert.modeling.checkpoint import Checkpoint
    from colbert.modeling.colbert import colbert_score

    checkpoint = str(folder / "checkpoint")
    model = Checkpoint(checkpoint, colbert_config=ColBERTConfig(checkpoint=checkpoint), verbose=0)
    queries = model.queryFromText(texts["queries"], bsize=32, to_cpu=True)
    documents = model.docFromText(texts["documents"], bsize=32, to_cpu=True)[0]
    whole = documents.abs().sum(-1, keepdim=True) > 0  # what is left out is zeros
    scores = [colbert_score(query[None], documents, whole) for query in queries]
    arrays = {f"query-{n}": one.numpy() for n, one in enumerate(queries)}
    arrays |= {
        f"document-{n}": one[kept[:, 0]].numpy()
        for n, (one, kept) in enumerate(zip(documents, whole, strict=True))
    }
    np.savez(folder / "there-colbert.npz", scores=torch.stack(scores).numpy(), **arrays)
    run = RunConfig(nranks=1, root=str(folder / "plaid"), experiment="interop")
    run.avoid_fork_if_possible = True
    with Run().context(run):
        settings = ColBERTConfig(nbits=2, avoid_fork_if_possible=True, gpus=0)
        Indexer(checkpoint, settings, verbose=0).index("plaid", texts["documents"], overwrite=True)
        searcher = Searcher("plaid", collection=texts["documents"], verbose=0)
        found = [searcher.search(query, k=DEPTH) for query in texts["queries"]]
    rows = [[list(pair) for pair in zip(places, said, strict=True)] for places, _, said in found]
    (folder / "there-plaid.json").write_text(json.dumps(rows))


def main(what: str, folder: Path, *rest: str) -> None:
    """Do one of both."""
    texts = json.loads((folder / "texts.json").read_text())
    if what == "colbert":
        colbert(folder, texts)
    else:
        onnx(folder, texts, rest[0], Path(rest[1]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
