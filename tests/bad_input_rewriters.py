"""Rows of tests/unit/test_bad_input.py: what a query rewriter is taught by, on and with."""

import json
import shutil
from collections.abc import Callable
from typing import Any

from bad_input_scenes import Scene, Set, both, written
from bad_input_table import case
from conversation_helpers import rows, write
from expansion_helpers import asking, save_seq2seq
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


EXPAND = (
    "query-rewriter --task expand --student-model scratch --made-queries 0 --data asked --out run --store store --epochs 1"
    " --stages collect,train"
)
"""A good command in a scene that is :func:`expanding`."""


def expanding(scene: Scene) -> None:
    """Queries that stand by themselves."""
    asking(scene.folder / "asked")


def with_models(scene: Scene) -> None:
    """An encoder-decoder, and a language model that ends no reply."""
    expanding(scene)
    save_seq2seq(scene.folder / "t5")
    save_writer(scene.folder / "writer", max_position_embeddings=2048)


def judged_once(scene: Scene) -> None:
    """A split that judges the queries for evaluation alone: nobody judged what is learnt from."""
    expanding(scene)
    path = scene.folder / "asked/qrels/test.tsv"
    head, *lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([head, *lines[:4]]) + "\n", encoding="utf-8")
    (scene.folder / "asked/qrels/train.tsv").write_text(f"{head}\nq0f0\tboth00\t1\n")


def nothing_found(scene: Scene) -> None:
    """Queries without a word of the documents."""
    expanding(scene)
    path = scene.folder / "asked/queries.jsonl"
    every = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for number, query in enumerate(every):
        query["text"] = f"nothing {number} zzz"
    path.write_text("".join(json.dumps(query) + "\n" for query in every), encoding="utf-8")


SEQUENCE = '{"schema": 1, "task": "expand", "window": 32, "new_tokens": 8}'
RECORD = '{"schema": 1, "kind": "seq2seq", "end_ids": [3], "source_digest": "ab", "window": 9}'
"""What lies beside the weights of an export."""


def no_queries(scene: Scene) -> None:
    """A corpus that nobody asks anything of."""
    expanding(scene)
    (scene.folder / "asked/queries.jsonl").unlink()
    shutil.rmtree(scene.folder / "asked/qrels")


def damaged_t5(scene: Scene) -> None:
    """An encoder-decoder without its tokenizer."""
    with_models(scene)
    for path in (scene.folder / "t5").glob("tokenizer*"):
        path.unlink()


COMPARE = "rag compare t.yaml s.yaml --data data --out run"


def exported(record: str, settings: str = SEQUENCE) -> Set:
    """A stack with an export of a student that expands, in the run ``made``; it has no weights."""
    at = "made/export/ctranslate2-int8"
    done = {stage: {"state": "done"} for stage in ("collect", "train", "evaluate", "export")}
    state = {"schema": 1, "component": "query-rewriter", "config": {}, "stages": done}
    return both(
        written("made/run.json", json.dumps(state)),
        written(f"{at}/ragdistill.json", record),
        written(f"{at}/rewriter.json", settings),
        written(f"{at}/config.json", "{}"),
        written(f"{at}/shared_vocabulary.json", "[]"),
        written("t.yaml", "bm25: true\n"),
        written("s.yaml", f"bm25: true\nrewriter: {at}\n"),
    )


EXPANDERS = [
    case("expand-export-no-weights", exported(RECORD), COMPARE, "made/export/ctranslate2-int8: ctranslate2 cannot load "
         "it", "export the model again", leaves=("run/",)),
    case("expand-export-record", exported(RECORD.replace("seq2seq", "causal")), COMPARE,
         "ragdistill.json: the record of an exported causal, not of an exported seq2seq", leaves=("run/",)),
    case("expand-export-damaged", exported(RECORD.replace("end_ids", "ends")), COMPARE, "ragdistill.json: damaged",
         "export the model again", leaves=("run/",)),
    case("expand-export-settings", exported(RECORD, SEQUENCE.replace("8", "0")), COMPARE, "s.yaml: rewriter:",
         "rewriter.json: damaged (a value is out of its range)"),
    case("expand-no-queries", no_queries, EXPAND, "asked: has no query to learn from", "queries.jsonl"),
    case("expand-human", expanding, f"{EXPAND} --teacher human", "--teacher: humans rewrote turns", "rm3"),
    case("expand-terms", expanding, f"{EXPAND} --student terms", "--student: terms picks words", "seq2seq"),
    case("expand-rrf-of-words", expanding, f"{EXPAND} --combine rrf", "--combine: the words of rm3 are no queries"),
    case("expand-precision", expanding, f"{EXPAND} --precision float32", "--precision: rm3 computes nothing"),
    case("expand-no-embedder", expanding, f"{EXPAND} --feedback-from embedder", "--feedback-from: no embedder is "
         "named", "--embedder"),
    case("expand-feedback-of-writer", with_models, f"{EXPAND} --teacher writer --feedback-from embedder "
         "--embedder teacher", "--feedback-from: the teacher 'writer' asks no retriever"),
    case("expand-causal-scratch", expanding, f"{EXPAND} --student causal", "--student-model: what is made from scratch "
         "is an encoder-decoder"),
    case("expand-layers", expanding, f"{EXPAND} --student-layers 1", "--student-layers: layers of an encoder-decoder"),
    case("expand-weight", expanding, f"{EXPAND} --original-weight 1", "--original-weight"),
    case("expand-url", expanding, f"{EXPAND} --teacher-url http://host/v1", "--teacher-url: the teacher 'rm3' is not "
         "behind an endpoint"),
    case("expand-encoder", expanding, EXPAND.replace("model scratch", "model teacher"), "--student-model",
         "which is no encoder-decoder"),
    case("expand-damaged", damaged_t5, EXPAND.replace("model scratch", "model t5"), "t5: the model has no tokenizer"),
    case("expand-endless-student", with_models, EXPAND.replace("model scratch", "model writer") + " --student causal",
         "--student-model: has no token that ends a reply"),
    case("expand-unknown-model", expanding, EXPAND.replace("model scratch", "model flan-t5-smal"), "did you mean "
         "'flan-t5-small'"),
    case("expand-unjudged", judged_once, EXPAND, "asked: no query that is learnt from has a judged document",
         "--no-effect-filter"),
    case("expand-nothing-found", nothing_found, EXPAND, "--teacher: none of the expansions of", "empty",
         leaves=("run/", "store/")),
    case("expand-no-delimiter", with_models, f"{EXPAND} --teacher writer --expansion-tokens 2", "--teacher: none of the "
         "expansions of", "length", leaves=("run/", "store/")),
    case("expand-method", expanding, f"{EXPAND} --method terms", "--method: terms picks words", "--task rewrite"),
    case("rewrite-method", talking, f"{REWRITE} --method sequence", "--method: sequence learns", "--task expand"),
    case("rewrite-rm3", talking, f"{REWRITE} --teacher rm3", "--teacher: retrieval feedback tells no turn"),
    case("rewrite-seq2seq", talking, f"{REWRITE} --student seq2seq", "--student: seq2seq writes expansions"),
    case("rewrite-combine", talking, f"{REWRITE} --combine rrf", "--combine: a turn has one rewrite"),
]  # fmt: skip

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
