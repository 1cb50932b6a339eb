"""Questions with contexts and answers, and tiny language models to answer them."""

import json
from pathlib import Path

from click.testing import CliRunner, Result
from transformers import AutoTokenizer, PretrainedConfig

from ragdistill.cli import main
from tiny_models import WORDS
from tiny_writers import save_writer

LAYERS = 4
QUICK = ("--answer-tokens", "6", "--epochs", "2", "--batch-tokens", "512")
NO_EXPORT = ("--stages", "collect,train,evaluate")


def answering(folder: Path, *, paragraphs: int = 30, known: bool = True) -> Path:
    """A collection with two questions about each paragraph, whose answers are words of it."""
    folder.mkdir(parents=True)
    documents, queries, judged = [], [], ["query-id\tcorpus-id\tscore"]
    for number in range(paragraphs):
        thing, colour, other = (WORDS[(number * step) % len(WORDS)] for step in (1, 7, 11))
        documents.append(
            {"_id": f"d{number}", "title": "", "text": f"{thing} {colour} and {other}"}
        )
        for kind, answer in (("first", thing), ("last", other)):
            name = f"q{number}{kind}"
            asked = {"_id": name, "text": f"{kind} {colour} {number}"}
            queries.append(asked | ({"answers": [answer]} if known else {}))
            judged.append(f"{name}\td{number}\t1")
    for name, rows in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("\n".join(judged) + "\n", encoding="utf-8")
    return folder


def save_answerer(folder: Path, config: PretrainedConfig | None = None) -> Path:
    """A tiny Llama, or what ``config`` makes, that reads a whole prompt, and ends its replies by ``[SEP]`` or,
    for it knows nothing, by one token in five."""
    save_writer(
        folder,
        config,
        ends=[3, *range(20, 140, 5)],
        num_hidden_layers=LAYERS,
        max_position_embeddings=2048,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 1024
    tokenizer.save_pretrained(folder)
    return folder


def run(tmp_path: Path, data: Path, *more: str, out: str = "run") -> Result:
    """``ragdistill generator`` with a tiny teacher, quickly."""
    teacher = tmp_path / "teacher"
    if not teacher.exists():
        save_answerer(teacher)
    words = [
        "generator",
        "--teacher",
        str(teacher),
        "--data",
        str(data),
        "--out",
        str(tmp_path / out),
    ]
    return CliRunner().invoke(main, [*words, "--store", str(tmp_path / "store"), *QUICK, *more])
