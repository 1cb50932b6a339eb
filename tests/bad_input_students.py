"""Rows of tests/unit/test_bad_input.py: students of other kinds, and indexes that are brought."""

import json

import faiss
import numpy as np

from bad_input_scenes import BASE, DOCUMENTS, Scene, Set, as_is, both, written
from bad_input_table import BEGUN, case

QUERIES = f"{BASE} --asymmetric"
INDEX = f"{QUERIES} --teacher-index vectors.npy"
_COUNT, _WIDE = len(DOCUMENTS), 32


def vectors(*shape: int, dtype: str = "f4", spoilt: float | None = None) -> Set:
    """``vectors.npy`` of random vectors; ``spoilt`` is put into the first."""

    def spoil(scene: Scene) -> None:
        made = np.random.default_rng(0).normal(size=shape)
        if spoilt is not None:
            made[0] = spoilt
        np.save(scene.folder / "vectors.npy", made.astype(dtype))

    return spoil


def faiss_file(scene: Scene) -> None:
    """``index.faiss`` whose rows have numbers of their own."""
    index = faiss.IndexIDMap(faiss.IndexFlatIP(_WIDE))
    index.add_with_ids(np.ones((_COUNT, _WIDE), "f4"), np.arange(_COUNT) + 100)
    faiss.write_index(index, str(scene.folder / "index.faiss"))


def nothing_learnt(scene: Scene) -> None:
    """Training of which no loss is a number."""
    scene.monkeypatch.setattr("ragdistill.training.fitting.losses_of", lambda history: [])


def ids(*names: str) -> Set:
    """``ids.json`` beside the vectors."""
    return written("ids.json", json.dumps(list(names)))


_ALL = [str(document["_id"]) for document in DOCUMENTS]

STUDENTS = [
    case("static-layers", as_is, f"{BASE} --student static", "--student-layers", "has no layers"),
    case("index-alone", vectors(_COUNT, _WIDE), f"{BASE} --teacher-index vectors.npy",
         "--teacher-index", "add --asymmetric"),
    case("price-alone", as_is, f"{BASE} --usd-per-hour 2", "--usd-per-hour", "add --asymmetric"),
    case("price-below-zero", as_is, f"{QUERIES} --usd-per-hour -1", "--usd-per-hour"),
    case("asymmetric-dims", as_is, f"{QUERIES} --dims 16", "--dims", "whole vectors"),
    case("asymmetric-mteb", as_is, f"{QUERIES} --mteb ./data", "--mteb", "not taught"),
    case("index-exported", vectors(_COUNT, _WIDE), f"{INDEX} --index hnsw", "--index",
         "one is brought"),
    case("no-index", as_is, INDEX, "vectors.npy", "no such file or folder"),
    case("index-no-array", written("vectors.npy", "vectors"), INDEX, "vectors.npy",
         "is no array of vectors", "numpy.save"),
    case("index-flat-array", vectors(_COUNT * _WIDE), INDEX, "vectors.npy", "not vectors [n, d]"),
    case("index-of-integers", vectors(_COUNT, _WIDE, dtype="i4"), INDEX, "holds int32"),
    case("index-of-nan", vectors(_COUNT, _WIDE, spoilt=float("nan")), INDEX, "vectors.npy",
         "holds NaN"),
    case("index-of-nothing", vectors(_COUNT, _WIDE, spoilt=0.0), INDEX, "a zero vector"),
    case("index-wide", vectors(_COUNT, 48), INDEX, "vectors of 48 dimensions", "have 32"),
    case("index-count", vectors(_COUNT + 1, _WIDE), INDEX, "--teacher-index", "holds 13 vectors",
         "12 documents", "ids.json"),
    case("index-other-teacher", vectors(_COUNT, _WIDE), f"{INDEX} --store probes",
         "vectors.npy", "is not this teacher's", leaves=("probes",)),
    case("ids-count", both(vectors(_COUNT, _WIDE), ids("d0")), INDEX, "1 ids"),
    case("ids-no-json", both(vectors(_COUNT, _WIDE), written("ids.json", "d0")), INDEX,
         "ids.json", "is no JSON"),
    case("ids-no-list", both(vectors(_COUNT, _WIDE), written("ids.json", "{}")), INDEX,
         "is no list of document ids"),
    case("ids-twice", both(vectors(_COUNT, _WIDE), ids(*_ALL[:-1], "d0")), INDEX,
         "names a document twice"),
    case("ids-missing", both(vectors(_COUNT, _WIDE), ids(*_ALL[:-1], "other")), INDEX,
         "lacks 1 of the 12 documents", "'d11'"),
    case("index-no-faiss", written("index.faiss", "index"),
         f"{QUERIES} --teacher-index index.faiss", "index.faiss", "FAISS"),
    case("index-own-numbers", faiss_file, f"{QUERIES} --teacher-index index.faiss",
         "index.faiss", "IndexIDMap"),
    case("index-no-folder", written("old/ids.json", "[]"), f"{QUERIES} --teacher-index old",
         "old", "no whole FAISS index"),
    case("negatives-many", as_is, f"{BASE} --method contrastive --negatives 21", "--negatives"),
    case("no-temperature", as_is, f"{BASE} --temperature 0", "--temperature"),
    case("no-room", as_is, f"{BASE} --max-length 2", "--max-length", "2 tokens hold no text"),
    case("diverged", nothing_learnt, BASE, "--lr", "training diverged", "lower it", leaves=BEGUN),
    case("sweep-collects", as_is, f"{BASE.rsplit(' ', 1)[0]} collect --sweep lr=1e-3,1e-4", "--sweep",
         "name train"),
    case("no-chunk", as_is, f"{BASE} --method listwise --chunk-tokens 0", "--chunk-tokens"),
]  # fmt: skip
