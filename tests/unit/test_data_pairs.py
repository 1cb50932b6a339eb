"""Pairs of texts from JSONL, CSV and Parquet."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_helpers import jsonl
from ragdistill.data import pairs
from ragdistill.data.faults import Faults
from ragdistill.errors import UserError

ROWS = [
    {"query": "where is it?", "positive": 'in "Paris",\nFrance'},
    {"query": "where is it?", "positive": "in Texas"},
    {"query": "who?", "positive": "in Texas"},
]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_bytes(jsonl(rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8-sig") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_texts_become_documents_queries_and_judgments(tmp_path: Path, suffix: str) -> None:
    collection = pairs.load(write(tmp_path / f"mine{suffix}", ROWS))
    assert collection.name == "mine"
    assert [d.text for d in collection.documents] == ['in "Paris",\nFrance', "in Texas"]
    assert [q.text for q in collection.queries] == ["where is it?", "who?"]
    (split, rows), *others = collection.qrels.items()
    assert (split, others) == ("test", [])
    assert [len(row) for row in rows.values()] == [2, 1]


def test_ids_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    one = pairs.load(write(tmp_path / "a.jsonl", ROWS))
    other = pairs.load(write(tmp_path / "b.jsonl", ROWS[::-1]))
    assert one.qrels == other.qrels
    assert set(one.documents) == set(other.documents)


@pytest.mark.parametrize("columns", pairs.COLUMNS)
def test_known_columns(tmp_path: Path, columns: tuple[str, str]) -> None:
    row = dict(zip(columns, ("a query", "a document"), strict=True)) | {"other": "x"}
    collection = pairs.load(write(tmp_path / "train.jsonl", [row]))
    assert collection.queries[0].text == "a query"
    assert collection.documents[0].text == "a document"
    assert list(collection.qrels) == ["train"]


def test_a_column_of_grades_is_heeded(tmp_path: Path) -> None:
    rows = [{**row, "label": grade} for row, grade in zip(ROWS, "021", strict=True)]
    collection = pairs.load(write(tmp_path / "dev.csv", rows))
    assert sorted(g for row in collection.qrels["dev"].values() for g in row.values()) == [0, 1, 2]
    rows[1]["label"] = "0.83"
    with pytest.raises(UserError, match=r"graded\.csv:4: the grade '0.83' is no integer"):
        pairs.load(write(tmp_path / "graded.csv", rows))


FAULTS = {
    "other columns.jsonl": (b'{"left": "a", "right": "b"}', "columns.jsonl:1: no pair of columns"),
    "a corpus.jsonl": (b'{"_id": "a", "text": "b"}', "name the folder that holds it"),
    "nothing.jsonl": (b"", "no pair in 'test'"),
    "empty text.jsonl": (b'{"query": "a", "positive": " "}', "text.jsonl:1: 'positive' is empty"),
    "key lost.jsonl": (
        b'{"query": "a", "positive": "b"}\n{"query": "a"}',
        "lost.jsonl:2: no 'positive'",
    ),
    "a number.jsonl": (b'{"query": 1, "positive": "b"}', "'query' must be a string, not a number"),
    "fields.csv": (b"query,positive\na,b\na,b,c\n", "fields.csv:3: 3 fields, but the header has 2"),
    "open quote.csv": (b'query,positive\na,"b\n', "broken CSV: unexpected end of data"),
    "twice.csv": (b"query,query\na,b\n", "two columns of one name"),
    "Latin-1.csv": (b"query,positive\na,b\xe9\n", "Latin-1.csv:2: not UTF-8"),
    "text.parquet": (b"query,positive\na,b\n", "cannot be read as Parquet"),
    "notes.docx": (b"PK", "no format of data has the suffix '.docx'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(tmp_path: Path, name: str) -> None:
    content, expected = FAULTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        pairs.load(tmp_path / name)
    assert expected in caught.value.message


def test_parquet_without_the_columns_names_those_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [{"left": "a", "right": "b"}])
    with pytest.raises(UserError, match=r"found: 'left', 'right'"):
        pairs.load(path)


def test_parquet_with_a_text_that_is_not_utf8(tmp_path: Path) -> None:
    texts = pa.array([b"\xff\xfe"]).view(pa.string())
    pq.write_table(pa.table({"query": texts, "positive": ["b"]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        pairs.load(tmp_path / "x.parquet")


def test_checking_goes_past_a_row(tmp_path: Path) -> None:
    rows = [ROWS[0], {"query": "", "positive": "b"}, ROWS[1]]
    faults = Faults()
    collection = pairs.load(write(tmp_path / "x.csv", rows), faults)
    assert (faults.count, len(collection.documents)) == (1, 2)


def test_a_long_field_fits_and_the_limit_is_put_back(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "word " * 100_000
    collection = pairs.load(write(tmp_path / "x.csv", [{"query": "a", "positive": long}]))
    assert collection.documents[0].text == long
    assert csv.field_size_limit() == before
