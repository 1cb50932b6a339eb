"""Two stacks of fake parts compared on texts that would break a careless page."""

import json
from pathlib import Path
from typing import Any

from data_helpers import jsonl
from page_helpers import HOSTILE
from rag_helpers import FakePart, fake_stack, write_conversations
from ragdistill.rag.compare import Comparison, compare

ID = "</script><img/src=x/onerror=document.title='run'>"
"""What a document and a query are called."""
NAME = "<b onclick=\"document.title='run'\">student</b>"
"""What the students' stack is called."""


def hostile_data(folder: Path, count: int = 30) -> Path:
    """Conversations with :data:`HOSTILE` in questions, documents and references."""
    write_conversations(folder, count)
    for name, key in (("corpus", "text"), ("queries", "text")):
        file = folder / f"{name}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for place, (row, text) in enumerate(zip(rows, HOSTILE.values(), strict=False)):
            last = f" a{place}" if name == "corpus" else ""
            row[key] = f"{row[key]} {text}{last}"
            if name == "queries":
                row["answers"].append(text)
        rows[0]["_id"] = ID
        file.write_bytes(jsonl(rows))
    qrels = folder / "qrels/test.tsv"
    qrels.write_text(qrels.read_text().replace("q0\td0\t", f"{ID}\t{ID}\t"))
    return folder


def compared(folder: Path, **asked: Any) -> dict[str, Any]:
    """The report on stacks that lose some queries and win others, with one part that fails at times, in
    ``folder / "run"``."""
    calls = []

    def trouble(part: str, what: tuple[Any, ...]) -> None:
        calls.append(part)
        if part == "reranker other" and calls.count(part) == 3:
            raise RuntimeError(HOSTILE["end of script"])

    teacher = fake_stack(folder / "teacher.yaml", generator="fair")
    student = fake_stack(
        folder / "student.yaml",
        rewriter="other",
        embedder="fair",
        reranker="other",
        generator="other",
    )
    student.write_text(f"name: {json.dumps(NAME)}\n{student.read_text()}")
    data = folder / "data"
    if not data.exists():
        hostile_data(data)
    FakePart.trouble = trouble
    try:
        return compare(Comparison(teacher, student, str(data), folder / "run", **asked))
    finally:
        FakePart.trouble = None
