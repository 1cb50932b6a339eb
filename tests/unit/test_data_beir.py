"""Folders in BEIR's layout: what is read, and every fault named with its line."""

import codecs
import dataclasses
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from data_helpers import CORPUS, QRELS, QUERIES, jsonl, real_set, write_collection
from ragdistill.data import beir
from ragdistill.data.collection import Document, Query
from ragdistill.data.faults import Faults
from ragdistill.errors import UserError


def test_reads_every_known_field(tmp_path: Path) -> None:
    collection = beir.load(write_collection(tmp_path / "mine"))
    assert collection.name == "mine"
    assert collection.source == tmp_path / "mine"
    assert collection.documents[2] == Document("3", "Three is a number.")
    assert collection.documents[0].content == "Paris The capital of France."
    assert collection.queries == (
        Query("q1", "Where is the Louvre?", answers=("Paris",), answerable=True),
        Query("2", "Which river?", context_turns=("Bonn?", "Yes."), rewrite="The Rhine?"),
    )
    assert collection.qrels == {"test": {"q1": {"d1": 1}, "2": {"d2": 2, "3": 0}}}
    assert len(collection.digest) == 64


def test_a_bare_corpus_is_a_collection(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(jsonl(CORPUS))
    collection = beir.load(tmp_path)
    assert len(collection.documents) == 3
    assert (collection.queries, collection.qrels) == ((), {})


def test_marks_line_ends_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    plain = beir.load(write_collection(tmp_path / "plain" / "x"))
    disguised = codecs.BOM_UTF8 + jsonl(CORPUS).replace(b"\n", b"\r\n") + b"\r\n\n  \n"
    qrels = codecs.BOM_UTF8 + QRELS.replace("\n", "\r\n").encode() + b"\r\n"
    other = beir.load(write_collection(tmp_path / "dressed" / "x", corpus=disguised, test=qrels))
    assert other.digest == plain.digest


@pytest.mark.parametrize(
    "qrels",
    [
        "q1\td1\t1\n2\td2\t2\n2\t3\t0\n",
        "q1 0 d1 1\n2 0 d2 2\n2 Q0 3 0",
        "QUERY_ID\tCorpus-Id\tscore\nq1\td1\t1.0\n2\td2\t2\n2\td2\t2\n2\t3\t0\n",
    ],
    ids=["no header", "TREC", "other spelling, whole floats, a line twice"],
)
def test_qrels_in_other_clothes(tmp_path: Path, qrels: str) -> None:
    collection = beir.load(write_collection(tmp_path, test=qrels))
    assert collection.qrels["test"] == {"q1": {"d1": 1}, "2": {"d2": 2, "3": 0}}


def test_unicode_line_separators_stay_inside_a_text(tmp_path: Path) -> None:
    text = "one\u2028two\x85three"
    folder = write_collection(tmp_path, corpus=jsonl([*CORPUS, {"_id": "u", "text": text}]))
    assert beir.load(folder).documents[-1].text == text


def test_an_id_may_hold_blanks(tmp_path: Path) -> None:
    corpus = jsonl([*CORPUS, {"_id": "my notes.txt", "text": "x"}])
    folder = write_collection(tmp_path, corpus=corpus, test=QRELS + "q1\tmy notes.txt\t1\n")
    assert beir.load(folder).qrels["test"]["q1"] == {"d1": 1, "my notes.txt": 1}


def test_splits_are_named_by_their_files(tmp_path: Path) -> None:
    folder = write_collection(tmp_path, train="2\td2\t1\n", dev="q1\td1\t1\n")
    collection = beir.load(folder)
    assert sorted(collection.qrels) == ["dev", "test", "train"]
    assert [query.id for query in collection.judged("train")] == ["2"]


BIG = "x" * ((1 << 20) + 1)
FAULTS: dict[str, tuple[dict[str, bytes | str | None], str, str]] = {
    # name: (files, where, what)
    "no corpus": ({"corpus": None}, "", "no corpus.jsonl"),
    "empty corpus": ({"corpus": b""}, "corpus.jsonl", "no document"),
    "blank corpus": ({"corpus": b"\n \n"}, "corpus.jsonl", "no document"),
    "duplicate document": (
        {"corpus": jsonl([*CORPUS, {"_id": "d1", "text": "x"}])},
        "corpus.jsonl:4",
        "duplicate _id 'd1', first in line 1",
    ),
    "duplicate, number and string": (
        {"corpus": jsonl([*CORPUS, {"_id": "3", "text": "x"}])},
        "corpus.jsonl:4",
        "duplicate _id '3'",
    ),
    "broken JSON": ({"corpus": jsonl(CORPUS) + b'{"_id": "d4",'}, "corpus.jsonl:4", "broken JSON"),
    "deep JSON": ({"corpus": jsonl(CORPUS) + b"[" * 200_000}, "corpus.jsonl:4", "broken JSON"),
    "long integer": (
        {"corpus": jsonl(CORPUS) + b'{"_id": ' + b"1" * 5000 + b"}"},
        "corpus.jsonl:4",
        "broken JSON",
    ),
    "not an object": ({"corpus": jsonl(CORPUS) + b"[1, 2]\n"}, "corpus.jsonl:4", "a list, not"),
    "no _id": ({"corpus": b'{"id": "d1", "text": "x"}'}, "corpus.jsonl:1", "no '_id' (keys found"),
    "null _id": ({"corpus": b'{"_id": null, "text": "x"}'}, "corpus.jsonl:1", "not null"),
    "boolean _id": ({"corpus": b'{"_id": true, "text": "x"}'}, "corpus.jsonl:1", "not a boolean"),
    "float _id": ({"corpus": b'{"_id": 1.5, "text": "x"}'}, "corpus.jsonl:1", "not a number"),
    "empty _id": ({"corpus": b'{"_id": "", "text": "x"}'}, "corpus.jsonl:1", "empty"),
    "tab in _id": ({"corpus": b'{"_id": "a\\tb", "text": "x"}'}, "corpus.jsonl:1", "white space"),
    "blank at an end": ({"corpus": b'{"_id": "a ", "text": "x"}'}, "corpus.jsonl:1", "white space"),
    "empty column": ({"test": QRELS + "\td1\t1\n"}, "test.tsv:5", "the query id is empty"),
    "no text": ({"corpus": b'{"_id": "d1"}'}, "corpus.jsonl:1", "no 'text'"),
    "text a list": ({"corpus": b'{"_id": "d1", "text": ["x"]}'}, "corpus.jsonl:1", "not a list"),
    "text null": ({"corpus": b'{"_id": "d1", "text": null}'}, "corpus.jsonl:1", "not null"),
    "title a number": (
        {"corpus": b'{"_id": "d1", "text": "x", "title": 1}'},
        "corpus.jsonl:1",
        "'title' must be a string",
    ),
    "nothing to read": (
        {"corpus": b'{"_id": "d1", "text": " ", "title": ""}'},
        "corpus.jsonl:1",
        "neither text nor title",
    ),
    "Latin-1": (
        {"corpus": jsonl(CORPUS) + '{"_id": "d4", "text": "né"}'.encode("latin-1")},
        "corpus.jsonl:4",
        "not UTF-8 (byte 0xe9, at byte",
    ),
    "UTF-16": ({"corpus": jsonl(CORPUS).decode().encode("utf-16")}, "corpus.jsonl:1", "UTF-16"),
    "NUL byte": ({"corpus": b'{"_id": "d1", "text": "\0"}'}, "corpus.jsonl:1", "a NUL byte"),
    "NUL escaped": (
        {"corpus": b'{"_id": "d1", "text": "a\\u0000b"}'},
        "corpus.jsonl:1",
        "a NUL character",
    ),
    "half a surrogate pair": (
        {"corpus": b'{"_id": "d1", "text": "a\\ud83d"}'},
        "corpus.jsonl:1",
        "half of a surrogate pair",
    ),
    "over 1 MiB": (
        {"corpus": jsonl([{"_id": "d1", "text": BIG}])},
        "corpus.jsonl:1",
        "over the limit of 1 MiB; split the document",
    ),
    "endless line": ({"corpus": b"[" * (17 << 20)}, "corpus.jsonl:1", "more than 8 MiB"),
    "empty queries": ({"queries": b"", "test": None}, "queries.jsonl", "no query"),
    "duplicate query": (
        {"queries": jsonl([*QUERIES, QUERIES[0]])},
        "queries.jsonl:3",
        "duplicate _id 'q1', first in line 1",
    ),
    "empty query": ({"queries": b'{"_id": "q1", "text": " "}'}, "queries.jsonl:1", "is empty"),
    "answers a string": (
        {"queries": b'{"_id": "q1", "text": "x", "answers": "Paris"}'},
        "queries.jsonl:1",
        "'answers' must be a list of strings, not a string",
    ),
    "an answer a number": (
        {"queries": b'{"_id": "q1", "text": "x", "answers": [1]}'},
        "queries.jsonl:1",
        "an element of 'answers' must be a string",
    ),
    "turns an object": (
        {"queries": b'{"_id": "q1", "text": "x", "context_turns": {}}'},
        "queries.jsonl:1",
        "not an object",
    ),
    "rewrite a number": (
        {"queries": b'{"_id": "q1", "text": "x", "rewrite": 7}'},
        "queries.jsonl:1",
        "'rewrite' must be a string",
    ),
    "answerable a string": (
        {"queries": b'{"_id": "q1", "text": "x", "answerable": "no"}'},
        "queries.jsonl:1",
        "'answerable' must be a boolean",
    ),
    "qrels without queries": ({"queries": None}, "", "qrels without queries.jsonl"),
    "no split": ({"test": None}, "qrels", "no <split>.tsv"),
    "unknown query": ({"test": QRELS + "q9\td1\t1\n"}, "test.tsv:5", "unknown query 'q9'"),
    "unknown document": ({"test": QRELS + "q1\td9\t1\n"}, "test.tsv:5", "unknown document 'd9'"),
    "grade a word": ({"test": QRELS + "q1\td2\thigh\n"}, "test.tsv:5", "'high' is no integer"),
    "grade a fraction": ({"test": QRELS + "q1\td2\t0.5\n"}, "test.tsv:5", "'0.5' is no integer"),
    "grade beyond all": ({"test": QRELS + "q1\td2\t9999999999\n"}, "test.tsv:5", "no integer"),
    "two grades": ({"test": QRELS + "q1\td1\t2\n"}, "test.tsv:5", "judged twice, 1 and 2"),
    "wrong header": ({"test": "query\tdoc\tlabel\nq1\td1\t1\n"}, "test.tsv:1", "neither a header"),
    "two columns": ({"test": QRELS + "q1\td1\n"}, "test.tsv:5", "2 columns; expected three"),
    "only the header": ({"test": "query-id\tcorpus-id\tscore\n"}, "test.tsv", "no relevant pair"),
    "nothing relevant": ({"test": "q1\td1\t0\n"}, "test.tsv", "no relevant pair"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_one_line_that_names_the_place(tmp_path: Path, case: str) -> None:
    files, where, what = FAULTS[case]
    folder = write_collection(tmp_path, **files)
    with pytest.raises(UserError) as caught:
        beir.load(folder)
    message = caught.value.message
    place, _, _ = message.partition(": ")
    assert place.endswith(where)
    assert place.startswith(str(folder))
    assert what in message
    assert "\n" not in message
    assert len(message) < 400 + len(str(folder))


def test_checking_goes_past_every_fault(tmp_path: Path) -> None:
    corpus = jsonl(CORPUS) + b"{\n\xff\n" + jsonl([{"_id": "d1", "text": "x"}, {"_id": "d5"}])
    folder = write_collection(tmp_path, corpus=corpus, test=QRELS + "q1\td9\t1\nq9\td5\t1\n\t\n")
    faults = Faults()
    collection = beir.load(folder, faults)
    places = [fault.message.partition(": ")[0].rpartition("/")[2] for fault in faults.kept]
    lines = [4, 5, 6, 7]
    assert places == [*(f"corpus.jsonl:{line}" for line in lines), "test.tsv:5", "test.tsv:6"]
    assert len(collection.documents) == 3  # d5 has no text, but its id is known: one fault, not two
    assert collection.qrels["test"]["q1"] == {"d1": 1}


def test_what_is_kept_of_the_faults_is_bounded() -> None:
    faults = Faults(limit=2)
    for number in range(5):
        faults(UserError(f"fault {number}"))
    assert (faults.count, len(faults.kept)) == (5, 2)


def test_no_byte_makes_another_error_than_a_users(tmp_path: Path) -> None:
    good = jsonl(CORPUS)
    mutate: list[Callable[[int], bytes]] = [
        lambda at: good[:at],
        lambda at: good[:at] + b"\xf0" + good[at + 1 :],
        lambda at: good[:at] + b'"' + good[at:],
        lambda at: good[:at] + b"\\" + good[at + 1 :],
    ]
    for number, change in enumerate(mutate):
        for at in range(0, len(good), 7):
            folder = write_collection(tmp_path / f"{number}-{at}", corpus=change(at))
            beir.load(folder, Faults())


def test_a_line_without_end_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(b"x" * (48 << 20) + b"\n{\n")
    faults = Faults()
    tracemalloc.start()
    try:
        beir.load(tmp_path, faults)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20
    assert "corpus.jsonl:1: a line of more than 8 MiB" in faults.kept[0].message
    assert "corpus.jsonl:2: broken JSON" in faults.kept[1].message


COUNTS = {"vaswani_npl": (11429, 93, 93), "xquad": (240, 1190, 1190), "clapnq": (596, 600, 300)}


@pytest.mark.parametrize("name", [*COUNTS, "canard"])
def test_real_sets_load_without_a_fault(name: str) -> None:
    collection = beir.load(real_set(name))
    documents, queries, judged = COUNTS.get(name, (2179, 3430, 2199))
    assert len(collection.documents) == documents
    assert len(collection.queries) == queries
    assert len(collection.judged("test")) == judged
    first = json.loads((real_set(name) / "corpus.jsonl").read_bytes().partition(b"\n")[0])
    assert collection.documents[0].text == first["text"]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    read = beir.load(write_collection(tmp_path / "mine"))
    made = dataclasses.replace(read, queries=read.queries[:1], qrels={"dev": {"q1": {"d1": 1}}})
    beir.write(tmp_path / "made/mine", made)
    assert beir.load(tmp_path / "made/mine").digest == made.digest
    # Corpora can be large, so one that is there is not written again.
    corpus = [tmp_path / where / "corpus.jsonl" for where in ("mine", "made/mine")]
    assert corpus[0].samefile(corpus[1])
    beir.write(tmp_path / "made/mine", dataclasses.replace(read, source=None))
    assert beir.load(tmp_path / "made/mine").digest == read.digest
    assert not corpus[0].samefile(corpus[1])
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["mine"]
