"""Small data sets on disk, right ones and broken ones."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

CORPUS: Sequence[Mapping[str, Any]] = (
    {"_id": "d1", "title": "Paris", "text": "The capital of France."},
    {"_id": "d2", "title": "", "text": "A river that flows through Bonn."},
    {"_id": 3, "text": "Three is a number.", "extra": {"kept": False}},
)
QUERIES: Sequence[Mapping[str, Any]] = (
    {"_id": "q1", "text": "Where is the Louvre?", "answers": ["Paris"], "answerable": True},
    {"_id": 2, "text": "Which river?", "context_turns": ["Bonn?", "Yes."], "rewrite": "The Rhine?"},
)
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\n2\td2\t2\n2\t3\t0\n"


def jsonl(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows as JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write_collection(folder: Path, **files: bytes | str | None) -> Path:
    """A good collection, but for ``corpus``, ``queries`` or a split named otherwise in ``files``;
    None leaves the file out."""
    contents: dict[str, bytes | str | None] = {
        "corpus": jsonl(CORPUS),
        "queries": jsonl(QUERIES),
        "test": QRELS,
        **files,
    }
    (folder / "qrels").mkdir(parents=True)
    for name, content in contents.items():
        known = name in ("corpus", "queries")
        path = folder / (f"{name}.jsonl" if known else f"qrels/{name}.tsv")
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def real_set(name: str) -> Path:
    """The folder of a real evaluation set; the test is skipped where there is none."""
    root = os.environ.get("RAGDISTILL_TEST_DATA")
    if not root or not (Path(root) / name).is_dir():
        pytest.skip(f"RAGDISTILL_TEST_DATA holds no {name}")
    return Path(root) / name
