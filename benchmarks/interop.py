"""Claims, of what is served by libraries that need a transformers below 5 (``constraints-interop.txt``):

- colbert-ai gives the vectors and scores of a late-interaction student, and its PLAID, which indexes the
  passages and searches them for real, finds what exact MaxSim finds;
- Optimum's classes give what an exported ONNX folder gives here, of an embedder and of all students of the
  reranker: its scores of pairs, its vectors of tokens.

``python -m benchmarks.interop FOLDER [--onnx KIND=EXPORT]...``: the environment is made in FOLDER and kept
there. Without ``--onnx`` MiniLM is exported, as an embedder, with a head for pairs that is drawn at random, and with
a vector for each token. Ends with status 1 where something differs, and 3 where the
environment cannot be made.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sentence_transformers import CrossEncoder, MultiVectorEncoder
from transformers import set_seed

from benchmarks.common import minilm
from benchmarks.integrations import ROOT, Place, install, versions
from benchmarks.interop_there import DEPTH, KINDS, tokenise
from ragdistill.data.pydocs import load
from ragdistill.data.sampling import sample
from ragdistill.export.onnx import export_embedder
from ragdistill.export.rerankers import export_cross_encoder, export_multi_vector
from ragdistill.export.runtime import OnnxCrossEncoder, OnnxMultiVector
from ragdistill.metrics.ranking import as_rankings, overlap
from ragdistill.metrics.trec import Rankings
from ragdistill.models.resolve import resolve
from ragdistill_reranker.colbert_checkpoint import write_colbert_checkpoint
from ragdistill_reranker.late_interaction import make_late_interaction
from ragdistill_reranker.token_index import TokenCoding, TokenIndex, write_token_index

Vectors = NDArray[np.float32]
Outputs = dict[str, Vectors]
"""By what is read and the name of the output."""
HELPER = Path(__file__).with_name("interop_there.py")
PINS = ROOT / "constraints-interop.txt"
NAMED = ("colbert-ai", "faiss-cpu", "optimum-onnx", "onnxruntime", "torch")
PLACE = Place((*NAMED, "--constraint", str(PINS)), (), NAMED, beside=False)
TOLERANCE = 1e-4
QUERIES = 40
DIMENSIONS = 128


def main() -> None:
    """Print what agrees, and by how much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--onnx", action="append", default=[], metavar="KIND=EXPORT")
    parser.add_argument("--passages", type=int, default=240)
    given = parser.parse_args()
    folder: Path = given.folder.resolve()
    exports = [split(text) for text in given.onnx]
    make(folder / "environment")
    texts = choose(given.passages)
    (folder / "texts.json").write_text(json.dumps(texts))
    differences = [colbert(folder, texts)]
    for kind, export in exports or exported(folder, texts):
        differences.append(onnx(folder, texts, kind, export))
    sys.exit(int(max(differences) > TOLERANCE))


def split(text: str) -> tuple[str, Path]:
    """``KIND=EXPORT`` as its parts."""
    kind, _, export = text.partition("=")
    if kind not in KINDS or not export:
        sys.exit(f"--onnx {text}: give {' or '.join(f'{kind}=FOLDER' for kind in KINDS)}")
    return kind, Path(export).resolve()


def make(environment: Path) -> None:
    """The environment; exits with status 3 where it cannot be made."""
    if missing := [name for name in ("c++", "git") if shutil.which(name) is None]:
        print(f"colbert-ai needs {' and '.join(missing)}, which is not here", file=sys.stderr)
        sys.exit(3)
    try:
        took = install(environment, PLACE)
    except subprocess.CalledProcessError as error:
        print(f"the environment cannot be made: {error}", file=sys.stderr)
        sys.exit(3)
    installed = "" if took is None else f" (installed in {took:.0f} s)"
    print(f"{versions(environment, NAMED)}{installed}", flush=True)


def choose(count: int) -> dict[str, list[str]]:
    """Known-item queries of pydocs, and passages: what they ask for, and others."""
    data = load()
    asked = sample(sorted(data.qrels["test"]), QUERIES, 0, key=str)
    wanted = {document for query in asked for document in data.qrels["test"][query]}
    known = [document for document in data.documents if document.id in wanted]
    others = [document for document in data.documents if document.id not in wanted]
    known += sample(others, count - len(known), 0, key=lambda document: document.id)
    queries = {query.id: query.text for query in data.queries}
    return {
        "queries": [queries[query] for query in asked],
        "documents": [document.content for document in known],
    }


def exported(folder: Path, texts: dict[str, list[str]]) -> list[tuple[str, Path]]:
    """MiniLM's ONNX exports, of each kind."""
    model = resolve("MiniLM")
    digest = model.weights_digest
    plain, pairs, tokens = (folder / f"onnx-{kind}" for kind in KINDS)
    export_embedder(minilm().model, plain, source_digest=digest)
    set_seed(0)
    scorer = CrossEncoder(str(model.path), num_labels=1, max_length=192, device="cpu")
    network: Any = scorer.model
    torch.nn.init.normal_(network.classifier.weight)  # or all pairs would score about the same
    export_cross_encoder(scorer, pairs, source_digest=digest)
    late = make_late_interaction(model.path, DIMENSIONS, texts["documents"], "cpu")
    export_multi_vector(late, tokens, source_digest=digest)
    return list(zip(KINDS, (plain, pairs, tokens), strict=True))


def there(folder: Path, *words: str) -> None:
    """Run the other half."""
    environment = folder / "environment"
    known = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",  # ninja
        "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
    }
    known.pop("PYTHONPATH", None)
    for lock in folder.glob("extensions/*/lock"):  # a killed compiler's, which torch waits for
        lock.unlink()
    python = [str(environment / "bin/python"), "-P"]
    log = folder / f"there-{words[0]}.log"
    with log.open("w") as stream:
        done = subprocess.run(
            [*python, str(HELPER), words[0], str(folder), *words[1:]],
            env=known,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{log}: {' | '.join(log.read_text().splitlines()[-5:])}")


def colbert(folder: Path, texts: dict[str, list[str]]) -> float:
    """Largest difference of a component of a token's vector."""
    base = resolve("MiniLM").path
    model = make_late_interaction(base, DIMENSIONS, texts["documents"], "cpu")
    write_colbert_checkpoint(model, folder / "checkpoint")
    there(folder, "colbert")
    queries, documents = vectors(model, texts)
    with np.load(folder / "there-colbert.npz") as said:
        theirs = {name: said[name] for name in said.files}
    furthest = max(
        apart(theirs[f"{kind}-{place}"], mine)
        for kind, all_mine in (("query", queries), ("document", documents))
        for place, mine in enumerate(all_mine)
    )
    print(f"colbert-ai: components of vectors differ by {furthest:.1e} at most")
    exact = scores(folder, queries, documents, "float32")
    tell_scores(exact, theirs["scores"])
    tell_rankings(exact, folder, queries, documents)
    return furthest


def vectors(
    model: MultiVectorEncoder, texts: dict[str, list[str]]
) -> tuple[list[Vectors], list[Vectors]]:
    """Of the tokens of queries and of documents."""
    return (
        model.encode_query(texts["queries"], convert_to_numpy=True),
        model.encode_document(texts["documents"], convert_to_numpy=True),
    )


def apart(theirs: Vectors, mine: Vectors) -> float:
    """Largest difference; infinity where there are other tokens. What a query is padded with has
    vectors of zeros there, and none here."""
    kept = theirs[np.abs(theirs).sum(axis=1) > 0]
    return apart_by(kept, mine)


def scores(
    folder: Path, queries: Sequence[Vectors], documents: Sequence[Vectors], coding: TokenCoding
) -> Vectors:
    """MaxSim of each query with each document through an index, ``[q, n]``."""
    ids = [str(place) for place in range(len(documents))]
    write_token_index(folder / coding, ids, documents, coding)
    index = TokenIndex.read(folder / coding)
    print(f"{coding}: {index.bytes_per_document:.0f} bytes a document")
    return np.stack([index.scores(query, range(len(documents))) for query in queries])


def tell_scores(mine: Vectors, theirs: Vectors) -> None:
    """Scores of the same texts, by colbert-ai's own function."""
    top = np.argsort(-mine, axis=1)[:, :DEPTH]
    pairs = [np.take_along_axis(all_scores, top, axis=1) for all_scores in (mine, theirs)]
    ranks = [float(spearmanr(*rows).statistic) for rows in zip(*pairs, strict=True)]
    print(
        f"colbert-ai: scores of the first {DEPTH} differ by {np.abs(pairs[0] - pairs[1]).max():.1e} "
        f"at most; Spearman {min(ranks):.4f} at least",
        flush=True,
    )


def tell_rankings(
    exact: Vectors, folder: Path, queries: Sequence[Vectors], documents: Sequence[Vectors]
) -> None:
    """PLAID's ranking, and that of our codes of the same kind, against exact MaxSim's."""
    found = json.loads((folder / "there-plaid.json").read_text())
    plaid = {
        str(query): [(str(place), score) for place, score in row] for query, row in enumerate(found)
    }
    coded = ranked(scores(folder, queries, documents, "residual"))
    for name, rankings in (("PLAID, 2 bits", plaid), ("residual", coded)):
        share = overlap(ranked(exact), rankings, DEPTH)
        print(f"{name}: overlap@{DEPTH} with exact MaxSim {share:.3f}", flush=True)


def ranked(found: Vectors) -> Rankings:
    """Scores ``[q, n]`` as rankings by place."""
    rows = np.broadcast_to(np.arange(found.shape[1]), found.shape)
    ids = [str(place) for place in range(found.shape[1])]
    return {str(query): row for query, row in enumerate(as_rankings(found, rows, ids))}


def onnx(folder: Path, texts: dict[str, list[str]], kind: str, export: Path) -> float:
    """Largest difference of what Optimum gives to what is given here."""
    there(folder, "onnx", kind, str(export))
    read = tokenise(export, kind, texts)
    with np.load(folder / f"there-{kind}.npz") as said:
        theirs: Outputs = {name: said[name] for name in said.files}
    furthest = max(
        apart_by(theirs[f"{what} {output}"], one)
        for what, inputs in read.items()
        for output, one in run(export, kind, inputs).items()
    )
    print(
        f"Optimum, {kind} {export.name}: outputs of {', '.join(KINDS[kind])} differ by "
        f"{furthest:.1e} at most",
        flush=True,
    )
    return max(furthest, served(texts, kind, export, read, theirs))


def run(export: Path, kind: str, inputs: Any) -> Outputs:
    """ONNX Runtime's outputs here."""
    graph = onnxruntime.InferenceSession(export / "model.onnx", providers=["CPUExecutionProvider"])
    names = [given.name for given in graph.get_inputs()]
    outputs = [*KINDS[kind].values()]
    found = graph.run(outputs, {name: inputs[name] for name in names})
    return dict(zip(outputs, found, strict=True))


def served(
    texts: dict[str, list[str]], kind: str, export: Path, read: dict[str, Any], theirs: Outputs
) -> float:
    """Largest difference of what comes of Optimum's outputs to what our own runtime makes of the texts; 0
    of an embedder, whose pooling Optimum leaves to others."""
    few = texts | {"documents": texts["documents"][: len(texts["queries"])]}
    if kind == "cross-encoder":
        pairs = [*zip(few["queries"], few["documents"], strict=True)]
        scores = OnnxCrossEncoder(export).scores(pairs)
        furthest = apart_by(theirs["pairs logits"][:, 0], scores)
        told = f"scores, which spread {scores.std():.2f},"
    elif kind == "multi-vector":
        furthest, told = tokens_apart(few, export, read, theirs), "components of tokens' vectors"
    else:
        return 0.0
    print(f"Optimum, {kind} {export.name}: {told} differ by {furthest:.1e} at most", flush=True)
    return furthest


def tokens_apart(
    texts: dict[str, list[str]], export: Path, read: dict[str, Any], theirs: Outputs
) -> float:
    """Largest difference of a component of the vector of a token that counts."""
    runtime = OnnxMultiVector(export)
    sides = {
        "queries": (runtime.record.queries, runtime.encode_queries),
        "documents": (runtime.record.documents, runtime.encode_documents),
    }
    furthest = []
    for what, (side, encode) in sides.items():
        kept = read[what]["attention_mask"].astype(bool)
        kept &= ~np.isin(read[what]["input_ids"], side.dropped)
        rows = zip(theirs[f"{what} token_embeddings"], kept, encode(texts[what]), strict=True)
        furthest += [apart_by(vectors[mask], mine) for vectors, mask, mine in rows]
    return max(furthest)


def apart_by(theirs: Vectors, mine: Vectors) -> float:
    """Largest difference; infinity where the shapes differ, or a value is none."""
    if theirs.shape != mine.shape or not np.isfinite(theirs - mine).all():
        return float("inf")
    return float(np.abs(theirs - mine).max())


if __name__ == "__main__":
    main()
