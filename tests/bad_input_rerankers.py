"""Rows of tests/unit/test_bad_input.py: what a reranker is taught by, on and with."""

import json
import shutil
from collections.abc import Callable

import torch
from safetensors.torch import load_file, save_file

from bad_input_scenes import DOCUMENTS, Scene, Set, as_is, both, written
from bad_input_table import case
from tiny_models import save_static, texts
from tiny_scorers import save_cross_encoder, save_in_its_words, save_language_model

RERANK = (
    "reranker --teacher scorer --student-model teacher --token-dims 16 --data data --out run"
    " --store store --candidates 3 --ways 3 --epochs 1 --stages collect,train"
)
"""A good command in a scene that is :func:`scored`."""
SPOILT = ("run/", "store/")
"""Left by a teacher that is at fault itself: what it said is stored, and another --out is needed."""


def scored(scene: Scene) -> None:
    """A cross-encoder ``scorer``, and documents that leave something when a piece is cut out."""
    save_cross_encoder(scene.folder / "scorer")
    others = texts(24)[12:]
    rows = [
        {**row, "text": f"{row['text']}. {other}. And {row['text']}."}
        for row, other in zip(DOCUMENTS, others, strict=True)
    ]
    scene.write("data/corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def language(scene: Scene) -> None:
    """A language model in the scorer's place."""
    scored(scene)
    save_language_model(scene.folder / "scorer")


def own_words(scene: Scene) -> None:
    """A language model that says how it is read."""
    scored(scene)
    save_in_its_words(scene.folder / "scorer")


def classes(scene: Scene) -> None:
    """A scorer that sorts into three classes."""
    scored(scene)
    save_cross_encoder(scene.folder / "scorer", labels=3)


def head(change: Callable[[torch.Tensor], torch.Tensor]) -> Set:
    """A scorer whose head's weights are changed."""

    def spoil(scene: Scene) -> None:
        scored(scene)
        path = scene.folder / "scorer/model.safetensors"
        weights = load_file(path)
        weights["classifier.weight"] = change(weights["classifier.weight"])
        save_file(weights, path, metadata={"format": "pt"})

    return spoil


def ranked(*rows: str) -> Set:
    """``others.trec`` with these rows: a query, a document, a score."""
    lines = [f"{q} Q0 {d} 1 {s} x" for q, d, s in (row.split() for row in rows)]
    return both(scored, written("others.trec", "\n".join(lines) + "\n"))


def of_one_word(scene: Scene) -> None:
    """Documents of which nothing can be cut."""
    scored(scene)
    rows = [{"_id": row["_id"], "text": str(row["text"]).split()[0]} for row in DOCUMENTS]
    scene.write("data/corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def one_document(scene: Scene) -> None:
    """Nothing to rank."""
    scored(scene)
    row = {"_id": "d0", "text": f"{texts(1)[0]}. {texts(2)[1]}. And more of it."}
    scene.write("data/corpus.jsonl", json.dumps(row) + "\n")
    (scene.folder / "data/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\n")


def table(scene: Scene) -> None:
    """A student of token vectors alone."""
    scored(scene)
    save_static(scene.folder / "table")


def begun(scene: Scene) -> None:
    """A run of an embedder that has no student yet."""
    scored(scene)
    scene.write("other/run.json", json.dumps({"schema": 1, "stages": {}}))


def asymmetric(scene: Scene) -> None:
    """A run whose student searches what its teacher has indexed."""
    scored(scene)
    told = {"schema": 1, "stages": {}, "config": {"asymmetric": True}}
    scene.write("other/run.json", json.dumps(told))
    shutil.copytree(scene.folder / "teacher", scene.folder / "other/student")


_GOOD = tuple(f"q{n} d{d} {9 - d}" for n in range(4) for d in range(3))

RERANKERS = [
    case("rerank-no-teacher", scored, RERANK.replace("--teacher scorer", ""), "--teacher: is needed"),
    case("rerank-embedder", scored, f"{RERANK} --teacher MiniLM", "MiniLM is of kind embedder, not cross-encoder"),
    case("rerank-no-head", scored, f"{RERANK} --teacher teacher", "teacher: is made as BertModel",
         "ForSequenceClassification"),
    case("rerank-tokenizer", both(scored, written("scorer/tokenizer.json", "{")), RERANK, "scorer: does not load as a "
         "tokenizer"),
    case("rerank-tokenizer-config", both(scored, written("scorer/tokenizer_config.json", "[")), RERANK, "scorer: does not "
         "load as a tokenizer"),
    case("rerank-unknown", scored, f"{RERANK} --teacher bge-reranker-v2-m4", "did you mean"),
    case("rerank-gap", scored, f"{RERANK} --teacher scorer,", "--teacher", "nothing between commas"),
    case("rerank-twice", scored, f"{RERANK} --teacher scorer,scorer", "--teacher: scorer and scorer are one"),
    case("rerank-classes", classes, RERANK, "scorer: sorts pairs into 3 classes and has no score"),
    case("rerank-student-classes", both(classes, lambda scene: save_cross_encoder(scene.folder / "other")),
         RERANK.replace("--teacher scorer", "--teacher other --student cross-encoder --first-stage bm25")
         .replace("teacher --token-dims 16", "scorer"), "scorer: sorts pairs into 3 classes", "--student-model"),
    case("rerank-precision-own", own_words, f"{RERANK} --teacher scorer/whole --precision float32", "--precision: whole "
         "is read as", "--reading"),
    case("rerank-constant", head(torch.zeros_like), RERANK, "--teacher: scorer scores all", "alike",
         leaves=SPOILT),
    case("rerank-nan", head(lambda weights: weights * float("nan")), RERANK, "NaN or infinity",
         leaves=SPOILT),
    case("rerank-infinite", head(lambda weights: weights * float("inf")), RERANK, "NaN or infinity",
         leaves=SPOILT),
    case("rerank-reading", scored, f"{RERANK} --reading yes-no", "--reading: is of language models"),
    case("rerank-precision", scored, f"{RERANK} --precision float32", "--precision: is of language"),
    case("rerank-length-language", language, f"{RERANK} --max-length 8", "--max-length: cuts pairs of cross"),
    case("rerank-length-short", scored, f"{RERANK} --max-length 3", "--max-length: 3 tokens hold no"),
    case("rerank-length-long", scored, f"{RERANK} --max-length 999", "--max-length: 999 tokens are more"),
    case("rerank-student", scored, f"{RERANK} --student colber", "'colber'", "bi-encoder"),
    case("rerank-student-model", scored, f"{RERANK} --student-model MiniML", "did you mean 'MiniLM'"),
    case("rerank-dims-many", scored, f"{RERANK} --token-dims 999", "--token-dims: 999 dimensions", "up to 32"),
    case("rerank-query-length-bi", scored, f"{RERANK} --student bi-encoder".replace("--token-dims 16", "--query-length 9"),
         "--query-length: a bi-encoder has no vectors of tokens"),
    case("rerank-one-document", one_document, RERANK, "data: holds one document, and there is nothing to rank"),
    case("rerank-static", table, RERANK.replace("--token-dims 16", "--student bi-encoder --first-stage bm25")
         .replace("student-model teacher", "student-model table"), "table: is a table of token vectors"),
    case("rerank-dims-bi", scored, f"{RERANK} --student bi-encoder", "--token-dims: a bi-encoder has no vec"),
    case("rerank-in-batch-joint", scored, RERANK.replace("--token-dims 16", "--student cross-encoder --in-batch 1"), "--in-batch: a cross-encoder would have to"),
    case("rerank-neurons", scored, f"{RERANK} --student-intermediate 999", "--student-intermediate: cannot keep 999 neurons", "from 1 to"),
    case("rerank-neurons-all", scored, f"{RERANK} --student-intermediate 64", "--student-intermediate: keeps all 64 neurons", "fewer"),
    case("rerank-layers", scored, f"{RERANK} --student-layers 9", "--student-layers: cannot keep 9 layers"),
    case("rerank-itself", scored, RERANK.replace("--token-dims 16", "--student cross-encoder")
         .replace("--student-model teacher", ""), "--student-layers: the student would be the teacher itself"),
    case("rerank-one-candidate", scored, f"{RERANK} --candidates 1", "--candidates", "equal to 2"),
    case("rerank-one-way", scored, f"{RERANK} --ways 1", "--ways", "equal to 2"),
    case("rerank-one-item", scored, f"{RERANK} --train-items 1", "--train-items", "equal to 2"),
    case("rerank-cold", scored, f"{RERANK} --temperature 0", "--temperature", "greater than 0"),
    case("rerank-margin", scored, f"{RERANK} --margin -1", "--margin", "equal to 0"),
    case("rerank-weights-few", scored, f"{RERANK} --fuse on --teacher-weights 1", "'1' is not 2 numbers above 0"),
    case("rerank-weights-alone", scored, f"{RERANK} --teacher-weights 1", "--teacher-weights: there is one"),
    case("rerank-weights-scales", scored, f"{RERANK} --fuse on --teacher-weights 1,1", "--teacher-weights: scores "
         "on different scales", "scorer: logit"),
    case("rerank-first-stage", scored, f"{RERANK} --first-stage bm24", "bm24"),
    case("rerank-first-scorer", scored, f"{RERANK} --first-stage bge-reranker-base", "is of kind cross-encoder"),
    case("rerank-first-folder", scored, f"{RERANK} --first-stage scorer", "scorer: is made as "
         "BertForSequenceClassification, not as an embedder", "--first-stage"),
    case("rerank-first-language", language, f"{RERANK} --first-stage scorer", "scorer: is made as LlamaForCausalLM"),
    case("rerank-joint-language", language, RERANK.replace("--token-dims 16", "--student cross-encoder --first-stage bm25")
         .replace("student-model teacher", "student-model scorer --student-layers 1"), "scorer: writes text", "--student-model"),
    case("rerank-coding-few", scored, f"{RERANK} --token-coding pq", "--token-coding: pq is learnt from 9,984"),
    case("rerank-first-both", begun, f"{RERANK} --candidates-from other --first-stage bm25", "--first-stage: "
         "the candidates are those of"),
    case("rerank-run-early", begun, f"{RERANK} --candidates-from other", "other: has no student"),
    case("rerank-no-file", scored, f"{RERANK} --candidates-from others.trec", "others.trec", "No such file"),
    case("rerank-no-file-first", scored, f"{RERANK} --teacher nowhere --candidates-from others.trec", "others.trec"),
    case("rerank-no-run", scored, f"{RERANK} --candidates-from data", "data: holds no run"),
    case("rerank-unknown-document", ranked(*_GOOD, "q3 d99 1"), f"{RERANK} --candidates-from others.trec --candidates 9",
         "others.trec: names the document 'd99' for the query 'q3'", "not in the corpus"),
    case("rerank-few", ranked(*_GOOD[:-2]), f"{RERANK} --candidates-from others.trec",
         "others.trec: ranks 1 document for the query 'q3'", "rank two or more"),
    case("rerank-unranked", ranked(*_GOOD[:-3]), f"{RERANK} --candidates-from others.trec",
         "others.trec: ranks no documents for the query 'q3'"),
    case("rerank-nan-rank", ranked(*_GOOD[:-1], "q3 d2 nan"), f"{RERANK} --candidates-from others.trec",
         "others.trec:12: the score 'nan' ranks nothing"),
    case("rerank-endless-rank", ranked(*_GOOD[:-1], "q3 d2 9e38"), f"{RERANK} --candidates-from others.trec",
         "others.trec:12: the score '9e38' ranks nothing"),
    case("rerank-run-asymmetric", asymmetric, f"{RERANK} --candidates-from other", "other: has a student for queries "
         "alone", "other/rankings/student.trec"),
    case("rerank-nothing-to-ask", of_one_word, RERANK, "data: holds nothing that could be put as a question"),
    case("rerank-generated", scored, f"{RERANK} --questions generated", "--questions: the teacher 'scorer' writes "
         "none"),
    case("rerank-generated-endpoint", scored, f"{RERANK} --teacher rerank:tiny --teacher-url http://127.0.0.1:9/v1"
         " --questions generated", "--questions: the teacher 'rerank:tiny' writes none"),
    case("rerank-questions", scored, f"{RERANK} --questions generatd", "'generatd'", "pieces"),
    case("rerank-ranked-twice", ranked(*_GOOD[:-1], "q3 d1 1"), f"{RERANK} --candidates-from others.trec",
         "others.trec: ranks a document twice for the query 'q3'"),
    case("rerank-url", scored, f"{RERANK} --teacher-url http://host/v1", "--teacher-url: the teacher 'scorer' is not",
         "rerank:NAME"),
    case("rerank-scale", scored, f"{RERANK} --teacher-scale logit", "--teacher-scale: the teacher 'scorer' is not"),
    case("rerank-budget", scored, f"{RERANK} --teacher-budget 1", "--teacher-budget: the teacher 'scorer' is not"),
    case("rerank-hot", scored, f"{RERANK} --temperature 1e30", "--temperature", "less than or equal to 100"),
    case("rerank-no-place", scored, f"{RERANK} --store /proc/x", "/proc/x", "cannot be written", leaves=("run/",)),
    case("rerank-swept", scored, f"{RERANK.replace('--token-dims 16', '--student cross-encoder')} --sweep in_batch=0,1",
         "--in-batch: a cross-encoder would have"),
    case("rerank-no-url", scored, f"{RERANK} --teacher rerank:tiny", "--teacher-url"),
    case("rerank-down", scored, f"{RERANK} --teacher rerank:tiny --teacher-url http://127.0.0.1:9/v1",
         "127.0.0.1:9", "no usable answer"),
    case("rerank-trackers", scored, f"{RERANK} --report-to wandbb", "--report-to"),
    case("rerank-no-data", both(scored, as_is), f"{RERANK} --data elsewhere", "elsewhere"),
]  # fmt: skip
