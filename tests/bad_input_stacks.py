"""Rows of tests/unit/test_bad_input.py: stacks, what they name, and where they are run."""

import json

import numpy as np

from bad_input_scenes import Scene, Set, as_is, both, several, written
from bad_input_table import case
from ragdistill.models.digest import digests

RUN = "rag compare t.yaml s.yaml --data data --out run"
GOOD = "embedder: teacher\n"
CUT = "embedder: {model: teacher, k: 5}\n"


def stacks(student: str, teacher: str = GOOD) -> Set:
    """The two files."""
    return both(written("t.yaml", teacher), written("s.yaml", student))


def a_run(component: str, *, trained: bool = True) -> Set:
    """The folder ``made`` of a run, whose export ``onnx`` is finished."""
    done = {"state": "done"}
    stages = {"train": done, "export": done} if trained else {"train": {"state": "running"}}
    state = {
        "schema": 1,
        "component": component,
        "config": {"teacher": "teacher"},
        "stages": stages,
    }
    return both(
        written("made/run.json", json.dumps(state)),
        written("made/student/config.json", "{}"),
        written("made/export/onnx/ragdistill.json", '{"schema": 1, "kind": "cross-encoder"}'),
    )


def an_index(*, dimensions: int, own: bool = False, ids: str = "d") -> Set:
    """An index of twelve documents; of the ``teacher`` itself, if ``own``."""

    def spoil(scene: Scene) -> None:
        from ragdistill.export import faiss_index

        vectors = np.eye(12, dimensions, dtype=np.float32)
        digest = digests(scene.folder / "teacher").weights if own else "f" * 64
        names = [f"{ids}{number}" for number in range(12)]
        faiss_index.write(vectors, names, scene.folder / "index", encoder_digest=digest)

    return spoil


def a_writer(scene: Scene) -> None:
    """A language model that reads 256 tokens, in the folder ``writer``."""
    from tiny_writers import save_writer

    save_writer(scene.folder / "writer")


INDEXED = "embedder: {model: teacher, index: index, k: 5}\n"
WRITING = GOOD + "generator: {{model: writer, {}}}\n"

ALL = "distill-all t.yaml --data data --out run"
BELOW = ("run/",)
"""Where a comparison that had begun leaves what parts said: the same command asks for the rest."""

STACKS = [
    case("stack-missing", as_is, RUN, "t.yaml: cannot be read", "a YAML file of parts"),
    case("stack-yaml", stacks("embedder: ["), RUN, "s.yaml:1: is not YAML"),
    case("stack-list", stacks("- teacher"), RUN, "s.yaml: holds no mapping", "embedder: MiniLM"),
    case("stack-part", stacks("embeder: teacher"), RUN, "s.yaml: unknown key 'embeder', did you mean 'embedder'"),
    case("stack-key", stacks("embedder: {model: teacher, kk: 5}"), RUN,
         "s.yaml: embedder: unknown key 'kk', did you mean 'k'", "query_prompt"),
    case("stack-key-words", stacks(GOOD + "bm25: {k1: 5}"), RUN, "s.yaml: bm25: unknown key 'k1'"),
    case("stack-no-model", stacks("embedder: {k: 5}"), RUN, "s.yaml: embedder: names no model"),
    case("stack-number", stacks("embedder: 5"), RUN, "s.yaml: embedder: names no model"),
    case("stack-type", stacks("embedder: {model: teacher, k: many}"), RUN,
         "s.yaml: embedder: k: 'many' is not usable", "integer"),
    case("stack-bool", stacks("embedder: {model: teacher, k: true}"), RUN,
         "s.yaml: embedder: k: True is not usable"),
    case("stack-anchor", stacks(GOOD + "rewriter: {model: teacher, anchor: true}"), RUN,
         "s.yaml: rewriter: anchor: True is not usable"),
    case("stack-range", stacks("embedder: {model: teacher, k: 0}"), RUN, "s.yaml: embedder: k: 0 is not",
         "greater than 0"),
    case("stack-vectors", stacks("embedder: {model: teacher, vectors: int4}"), RUN,
         "s.yaml: embedder: vectors: 'int4'", "'int8'"),
    case("stack-device", stacks(GOOD + "device: tpu"), RUN, "s.yaml: device: 'tpu'", "'cuda'"),
    case("stack-option", both(a_writer, stacks(GOOD + "generator: {model: writer, style: long}")), RUN,
         "s.yaml: generator: style: 'long' is not usable", "'short' or 'cited'"),
    case("stack-nothing", stacks("reranker: teacher"), RUN, "s.yaml: finds no documents", "bm25: true"),
    case("stack-fusion", stacks(GOOD + "fusion: {constant: 60}"), RUN, "s.yaml: fusion: one thing alone"),
    case("stack-k-in", stacks(CUT + "reranker: {model: teacher, k_in: 6, k_out: 2}"), RUN,
         "s.yaml: reranker: k_in: 6 documents of 5", "lower it"),
    case("stack-k-out", stacks(GOOD + "reranker: {model: teacher, k_in: 6, k_out: 7}"), RUN,
         "s.yaml: reranker: k_out: 7 documents of 6"),
    case("stack-contexts", stacks(CUT + "generator: {model: teacher, contexts: 6}"), RUN,
         "s.yaml: generator: contexts: 6 documents of 5"),
    case("stack-model", stacks("embedder: ./nowhere"), RUN, "s.yaml: embedder: no such model folder",
         "ragdistill models list"),
    case("stack-component", stacks("embedder: {model: teacher, component: embeder}"), RUN,
         "s.yaml: embedder: no component 'embeder'", "did you mean 'embedder'"),
    case("stack-other-run", both(stacks("embedder: made"), a_run("reranker")), RUN,
         "s.yaml: embedder: made is a run of reranker", "name a run of embedder"),
    case("stack-unfinished", both(stacks("embedder: made"), a_run("embedder", trained=False)), RUN,
         "s.yaml: embedder: made has not trained its student yet", "again"),
    case("stack-export", both(stacks("embedder: made/export/onx"), a_run("embedder")), RUN,
         "s.yaml: embedder: made has no finished export 'onx', did you mean 'onnx'", "there are: onnx"),
    case("stack-damaged-export", both(stacks("embedder: made/export/onnx"), a_run("embedder")), RUN,
         "made/export/onnx/ragdistill.json: damaged", "export the model again"),
    case("stack-run-json", both(stacks("embedder: made"), written("made/run.json", "{")), RUN,
         "s.yaml: embedder: made/run.json: cannot be read"),
    case("stack-no-scores", stacks(GOOD + "reranker: teacher"), RUN, "s.yaml: reranker:", "scores no pairs"),
    case("stack-no-text", stacks(GOOD + "generator: teacher"), RUN, "s.yaml: generator:", "writes no text"),
    case("stack-one-answers", both(a_writer, stacks(WRITING.format("contexts: 2"))), RUN,
         "t.yaml: names no generator, and s.yaml does"),
    case("stack-window", both(a_writer, stacks(WRITING.format("contexts: 5, window: 250, answer_tokens: 220"),
         WRITING.format("contexts: 1, window: 250"))), RUN, "s.yaml: generator:", "no room for 5 contexts", "answer_tokens"),
    case("stack-wide", both(a_writer, stacks(WRITING.format("contexts: 5, window: 999"),
         WRITING.format("contexts: 1, window: 250"))), RUN, "s.yaml: generator:", "999 tokens", "reads 256"),
    case("stack-same", stacks(GOOD), RUN, "s.yaml: is the same stack as t.yaml", "name another part"),
    case("stack-index", stacks("embedder: {model: teacher, index: flatt}"), RUN,
         "s.yaml: embedder: index: no kind of index, and no folder, 'flatt'", "flat, hnsw, ivfpq"),
    case("stack-ivfpq", stacks("embedder: {model: teacher, index: ivfpq}"), RUN,
         "s.yaml: embedder: index: ivfpq learns", "not 12"),
    case("stack-other-index", both(stacks(INDEXED), an_index(dimensions=32)), RUN,
         "s.yaml: embedder: index: ", "holds vectors of the embedder ffffffffffff, and teacher is",
         "the index of this embedder"),
    case("stack-other-documents", both(stacks(INDEXED), an_index(dimensions=32, own=True, ids="x")), RUN,
         "s.yaml: embedder: index:", "holds 'x0', which --data has not"),
    case("stack-dimensions", both(stacks(INDEXED), an_index(dimensions=16, own=True)), RUN,
         "s.yaml: embedder: index:", "16 dimensions", "such of 32", leaves=BELOW),
    case("stack-no-index", both(stacks(INDEXED), written("index/index.faiss", "?")), RUN,
         "s.yaml: embedder: index: ", "index: no whole FAISS index"),
    case("stack-finds-nothing", both(stacks("bm25: {k: 5}", "bm25: {k: 6}"), written("data/queries.jsonl",
         "".join(f'{{"_id": "q{n}", "text": "zzz"}}\n' for n in range(4)))), RUN,
         "--data: the teacher's stack finds no document for any query", leaves=BELOW),
    case("stack-out", both(stacks(CUT), written("run/thesis.txt", "mine")), RUN, "run: is not empty",
         "thesis.txt"),
    case("stack-out-file", both(stacks(CUT), written("run", "mine")), RUN, "run: is a file"),
    case("stack-out-run", both(stacks(CUT), a_run("embedder")), RUN.replace("--out run", "--out made"),
         "made: holds a run of component 'embedder'", "choose another --out"),
    case("stack-swaps", stacks(CUT), f"{RUN} --swaps some", "--swaps", "'one-at-a-time'"),
    case("stack-concurrency", stacks(CUT), f"{RUN} --concurrency 0", "--concurrency", "0 is not in the range"),
    case("stack-concurrency-word", stacks(CUT), f"{RUN} --concurrency many", "--concurrency", "'many'"),
    case("all-missing", as_is, ALL, "t.yaml: cannot be read", "a YAML file of parts"),
    case("all-model", written("t.yaml", "embedder: ./nowhere"), ALL, "t.yaml: embedder: no such model folder"),
    case("all-out", as_is, "distill-all t.yaml --data data", "distill-all: Missing option '--out'"),
    case("all-strangers", both(written("t.yaml", GOOD), written("run/thesis.txt", "mine")), ALL,
         "run: is not empty", "thesis.txt"),
    case("all-out-run", both(written("t.yaml", GOOD), a_run("embedder")), ALL.replace("--out run", "--out made"),
         "made: holds a run of component 'embedder'"),
    case("all-students", written("t.yaml", GOOD), f"{ALL} --students s.yaml", "s.yaml: cannot be read"),
    case("all-students-part", both(written("t.yaml", GOOD), written("s.yaml", "reranker: {seed: 1}")),
         f"{ALL} --students s.yaml", "there is no reranker in t.yaml", "it has embedder"),
    case("all-students-list", both(written("t.yaml", GOOD), written("s.yaml", "embedder: 3")),
         f"{ALL} --students s.yaml", "s.yaml: embedder: holds no mapping of options"),
    case("all-option", written("t.yaml", GOOD), f"{ALL} --set embedder.layers=3",
         "embedder: --set: unknown option 'layers'"),
    case("all-value", written("t.yaml", GOOD), f"{ALL} --set embedder.lr=fast", "embedder: --lr: 'fast' is not usable"),
    case("all-layers", written("t.yaml", GOOD), f"{ALL} --set embedder.student_layers=9",
         "embedder: --student-layers: cannot keep 9 layers"),
    case("all-data", written("t.yaml", GOOD), ALL.replace("--data data", "--data nowhere"), "nowhere"),
    case("all-prompts", written("t.yaml", "embedder: {model: teacher, query_prompt: 'ask: '}"), ALL,
         "embedder: query_prompt is the stack's own", "--keep embedder"),
    case("all-torchrun", both(written("t.yaml", GOOD), several()), ALL,
         "distill-all: runs in one process", "without torchrun"),
    case("all-words", written("t.yaml", "bm25: true"), ALL, "leaves no part to distil"),
    case("all-answers", both(a_writer, written("t.yaml", GOOD + "generator: {model: writer, contexts: 1}")), ALL,
         "cannot be split 80/10/10", "bring more queries"),
    case("init-no-run", as_is, "rag init --embedder teacher", "teacher: holds no run.json", "a run's folder"),
    case("init-exists", both(a_run("embedder"), written("t/teacher.yaml", "mine")),
         "rag init --embedder made --out t", "t/teacher.yaml: exists already", "choose another --out"),
]  # fmt: skip
