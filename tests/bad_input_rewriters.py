"""Rows of tests/unit/test_bad_input.py: what a query rewriter is taught by, on and with."""

import json
from collections.abc import Callable
from typing import Any

from bad_input_scenes import Scene, Set
from bad_input_table import case
from conversation_helpers import rows, write
from tiny_writers import save_writer

REWRITE = (
    "query-rewriter --student-model teacher --data talks --out run --store store --epochs 1"
    " --stages collect,train"
)
"""A good command in a scene that is :func:`talking`."""


def talking(scene: Scene) -> None:
    """Ten conversations."""
    write(scene.folder / "talks", *rows(10))


def queries(change: Callable[[dict[str, Any]], Any]) -> Set:
    """The same, with every query changed."""

    def spoil(scene: Scene) -> None:
        talking(scene)
        path = scene.folder / "talks/queries.jsonl"
        every = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for query in every:
            change(query)
        path.write_text("".join(json.dumps(query) + "\n" for query in every), encoding="utf-8")

    return spoil


def one_conversation(scene: Scene) -> None:
    """Nothing to hold out."""
    write(scene.folder / "talks", *rows(1))


def unjudged(scene: Scene) -> None:
    """Queries that nobody judged."""
    talking(scene)
    (scene.folder / "talks/qrels/test.tsv").unlink()
    (scene.folder / "talks/qrels").rmdir()


def irrelevant(scene: Scene) -> None:
    """Judgments of which none is above 0."""
    talking(scene)
    path = scene.folder / "talks/qrels/test.tsv"
    path.write_text(path.read_text("utf-8").replace("\t1\n", "\t0\n"), encoding="utf-8")


def writer(scene: Scene) -> None:
    """A language model that never comes to an end."""
    talking(scene)
    save_writer(scene.folder / "writer", max_position_embeddings=2048)


def begun(scene: Scene) -> None:
    """The run of an embedder that has no student yet."""
    talking(scene)
    scene.write("other/run.json", json.dumps({"schema": 1, "stages": {}}))


REWRITERS = [
    case("rewrite-no-turns", queries(lambda query: query.pop("context_turns")), REWRITE,
         "talks: no turn that is learnt from has a conversation before it", "context_turns"),
    case("rewrite-turns-text", queries(lambda query: query.update(context_turns="what?")), REWRITE,
         "queries.jsonl:1", "'context_turns'"),
    case("rewrite-equal", queries(lambda query: query.update(rewrite=query["text"])), REWRITE,
         "talks: no rewrite has a word of its conversation that its turn lacks", "--label-weight 0"),
    case("rewrite-nobody", queries(lambda query: query.pop("rewrite")), f"{REWRITE} --effect-weight 0",
         "talks: no turn that is learnt from has a rewrite", "--teacher"),
    case("rewrite-number", queries(lambda query: query.update(rewrite=7)), REWRITE, "queries.jsonl:1",
         "'rewrite' must be a string"),
    case("rewrite-one-conversation", one_conversation, REWRITE, "talks: 4 queries in 1 groups (by conversation)",
         "cannot be split"),
    case("rewrite-unjudged", unjudged, REWRITE, "talks: no judged query"),
    case("rewrite-irrelevant", irrelevant, REWRITE, "test.tsv: no relevant pair"),
    case("rewrite-nothing-learnt", talking, f"{REWRITE} --label-weight 0 --effect-weight 0", "--label-weight",
         "nothing is learnt"),
    case("rewrite-precision", talking, f"{REWRITE} --precision float32", "--precision: the data's own rewrites"),
    case("rewrite-url", talking, f"{REWRITE} --teacher-url http://host/v1", "--teacher-url: the teacher 'human' is "
         "not behind an endpoint", "openai:NAME"),
    case("rewrite-task", talking, f"{REWRITE} --task summarise", "'summarise'"),
    case("rewrite-student", talking, f"{REWRITE} --student t5", "'t5'"),
    case("rewrite-threshold", talking, f"{REWRITE} --threshold 1.5", "--threshold"),
    case("rewrite-small-window", talking, f"{REWRITE} --window 8", "--window: 8 tokens hold no conversation"),
    case("rewrite-wide-window", talking, f"{REWRITE} --window 4096", "--window: 4096 tokens are more than the "
         "student reads (64)"),
    case("rewrite-layers", talking, f"{REWRITE} --student-layers 9", "--student-layers: cannot keep 9 layers"),
    case("rewrite-unknown-model", talking, REWRITE.replace("model teacher", "model MiniML"), "did you mean 'MiniLM'"),
    case("rewrite-causal-student", writer, REWRITE.replace("model teacher", "model writer"), "--student-model",
         "reads from left to right alone"),
    case("rewrite-no-writer", talking, f"{REWRITE} --teacher teacher", "--teacher", "writes no text"),
    case("rewrite-endless", writer, f"{REWRITE} --teacher writer --rewrite-tokens 2 --effect-weight 0", "--teacher: no "
         "turn that is learnt from has a rewrite", leaves=("run/", "store/")),
    case("rewrite-embedder", begun, f"{REWRITE} --embedder other", "other: has no student that embeds texts"),
    case("rewrite-embedder-unknown", talking, f"{REWRITE} --embedder MiniML", "did you mean 'MiniLM'"),
]  # fmt: skip
