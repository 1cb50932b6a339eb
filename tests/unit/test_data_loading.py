"""From a name to a collection: paths, built-ins, the Hub; and the verb ``ragdistill data``."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from data_helpers import CORPUS, QRELS, QUERIES, jsonl, write_collection
from ragdistill.data import hub, loading
from ragdistill.data.collection import Collection, Document
from ragdistill.data.entries import DatasetEntry
from ragdistill.errors import UserError


def tiny() -> Collection:
    """A built-in data set."""
    return Collection("tiny", (Document("d", "text"),))


def broken() -> None:
    """A loader that returns nothing."""


TINY = DatasetEntry("tiny", "One document", "CC0-1.0", f"{__name__}:tiny")


@pytest.fixture(autouse=True)
def _tiny_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, [TINY])


def offer(monkeypatch: pytest.MonkeyPatch, *answers: list[DatasetEntry]) -> None:
    """Let the plugins answer the hook with ``answers``, one list each."""
    monkeypatch.setattr(
        "ragdistill.plugins.announced", lambda pm, hook: [entry for one in answers for entry in one]
    )


def run(*arguments: str) -> Result:
    from ragdistill.cli.data import data

    return CliRunner().invoke(data, arguments)


def test_a_path_wins_over_a_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loading.load("tiny").documents[0].text == "text"
    write_collection(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    assert len(loading.load("tiny").documents) == 3
    (tmp_path / "p.jsonl").write_bytes(jsonl([{"query": "a", "positive": "b"}]))
    assert loading.load("p.jsonl").documents[0].text == "b"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("tinny", "no data named 'tinny', did you mean 'tiny'?"),
        ("", "no data named ''"),
        ("./nothing", "no such file or folder"),
        ("nothing.jsonl", "no such file or folder"),
        ("~nobody-of-this-name/x", "cannot be reached"),
        ("a/b/c", "no such file or folder"),
        ("x" * 5000, "cannot be reached"),
    ],
)
def test_what_is_not_there_is_said(reference: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        loading.load(reference)
    assert message in caught.value.message


def test_a_path_misspelt_is_mended(tmp_path: Path) -> None:
    write_collection(tmp_path / "handbook")
    with pytest.raises(UserError, match="did you mean 'handbook'"):
        loading.load(str(tmp_path / "hanbdook"))


def test_a_corpus_file_is_no_collection(tmp_path: Path) -> None:
    folder = write_collection(tmp_path)
    with pytest.raises(UserError, match="name the folder that holds it"):
        loading.load(str(folder / "corpus.jsonl"))


def test_two_built_ins_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = DatasetEntry("tiny", "Another", "MIT", "elsewhere:load")
    offer(monkeypatch, [TINY], [other])
    with pytest.raises(UserError, match=r"test_data_loading:tiny, elsewhere:load"):
        loading.builtin()


def test_an_entry_that_does_not_keep_its_word() -> None:
    with pytest.raises(ValueError, match="module:function"):
        DatasetEntry("x", "", "", "no.colon").load()
    with pytest.raises(TypeError, match="returned"):
        DatasetEntry("x", "", "", f"{__name__}:broken").load()


# -- the Hub. A local folder with the same card is read by the same library code, without a network.


@pytest.fixture
def hub_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a data set repository and returns its name; the question to the Hub is left out."""
    import datasets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub, "_probe", lambda reference: None)
    datasets.disable_progress_bars()

    def write(name: str, configurations: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
        card = ["---", "configs:"]
        for configuration, tables in configurations.items():
            card += [f"- config_name: {configuration}", "  data_files:"]
            for split, rows in tables.items():
                path = Path(name) / configuration / f"{split}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(jsonl(rows))
                card += [f"  - split: {split}", f"    path: {configuration}/{split}.jsonl"]
        (Path(name) / "README.md").write_text("\n".join([*card, "---", ""]))
        return name

    return write


DOCUMENTS = [{"_id": str(row["_id"]), "text": row["text"]} for row in CORPUS]
ASKED = [{"_id": str(row["_id"]), "text": row["text"]} for row in QUERIES]
JUDGED = [
    dict(zip(("query-id", "corpus-id", "score"), (q, d, float(g)), strict=True))
    for q, d, g in (line.split("\t") for line in QRELS.splitlines()[1:])
]


@pytest.mark.parametrize("shape", ["qrels", "default", "second set", "id for _id"])
def test_beirs_shapes_on_the_hub(hub_set: Any, shape: str) -> None:
    def renamed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"id" if key == "_id" else key: row[key] for key in row} for row in rows]

    change = renamed if shape == "id for _id" else list
    tables = {"corpus": {"corpus": change(DOCUMENTS)}, "queries": {"queries": change(ASKED)}}
    if shape == "second set":
        hub_set("owner/x-qrels", {"default": {"test": JUDGED}})
    else:
        tables["default" if shape == "default" else "qrels"] = {"test": JUDGED}
    collection = hub.load(hub_set("owner/x", tables))
    assert [document.id for document in collection.documents] == ["d1", "d2", "3"]
    assert collection.qrels == {"test": {"q1": {"d1": 1}, "2": {"d2": 2, "3": 0}}}


def test_pairs_on_the_hub(hub_set: Any) -> None:
    rows = [{"anchor": "a", "positive": "b"}]
    name = hub_set("owner/p", {"default": {"train": rows, "validation": rows}})
    assert list(hub.load(name).qrels) == ["train", "validation"]


def test_faults_of_the_hub_name_the_row(hub_set: Any) -> None:
    tables = {"corpus": {"corpus": [*DOCUMENTS, {"_id": "d1", "text": "again"}]}}
    with pytest.raises(UserError, match="owner/y corpus:4: duplicate _id 'd1'"):
        hub.load(hub_set("owner/y", tables))
    with pytest.raises(UserError, match="several configurations"):
        hub.load(hub_set("owner/z", {"a": {"train": JUDGED}, "b": {"train": JUDGED}}))
    with pytest.raises(UserError, match="no pair of columns"):
        hub.load(hub_set("owner/w", {"default": {"train": JUDGED}}))


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi, constants

    def refuse(self: HfApi, reference: str, timeout: float) -> None:
        assert timeout <= 10
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "dataset_info", refuse)
    with pytest.raises(UserError, match=r"owner/name: neither .* reached \(ConnectionRefused"):
        loading.load("owner/name")


# -- ragdistill data


def test_data_list() -> None:
    assert run("list").output == "tiny  One document (CC0-1.0)\n"
    listed = json.loads(run("list", "--json").output)
    assert listed == [{"name": "tiny", "summary": "One document", "licence": "CC0-1.0"}]


def test_data_show(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "mine")
    shown = json.loads(run("show", str(folder), "--json").output)
    assert shown["documents"] == 3
    assert shown["splits"] == {"test": {"judged_queries": 2, "relevant_pairs": 2}}
    assert shown["words"]["queries"] == {"median": 3, "p95": 4, "longest": 4}
    assert shown["example"]["document"] == "d1"
    text = run("show", str(folder)).output
    assert "test: 2 judged queries, 2 relevant pairs" in text
    assert "Where is the Louvre?" in text
    assert "document   d: text" in run("show", "tiny").output


def test_data_check_is_quiet_on_good_data(tmp_path: Path) -> None:
    result = run("check", str(write_collection(tmp_path)))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output == "no fault: 3 documents, 2 queries (test: 2 judged)\n"
    assert run("check", "tiny").exit_code == 0


def test_data_check_names_every_fault(tmp_path: Path) -> None:
    folder = write_collection(tmp_path, corpus=jsonl(CORPUS) + b"{\n{\n", test=QRELS + "x\td1\t1\n")
    result = run("check", str(folder))
    assert result.exit_code == 2
    assert [line.partition(":")[0] for line in result.output.splitlines()] == [
        *["fault"] * 3,
        "3 faults",
    ]
    found = json.loads(run("check", str(folder), "--json").output)
    assert found["fault_count"] == len(found["faults"]) == 3
    assert found["summary"]["documents"] == 3
    result = run("check", str(tmp_path / "elsewhere"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1


def test_data_check_warns_of_leaks(tmp_path: Path) -> None:
    queries = jsonl([*QUERIES, {"_id": "q3", "text": "where is the louvre"}])
    corpus = jsonl([*CORPUS, {"_id": "d4", "text": "Paris the capital of France."}])
    folder = write_collection(tmp_path, corpus=corpus, queries=queries, train="q3\td4\t1\n")
    result = run("check", str(folder))
    assert result.exit_code == 0
    assert "warning: 1 documents repeat" not in result.output
    assert "warning: 1 queries of 'test' (50.0%) nearly repeat some of 'train'" in result.output
    assert "warning: 1 positives of 'test' (50.0%)" in result.output
    audits = json.loads(run("check", str(folder), "--json").output)["near_duplicates"]
    assert audits["test"]["queries"]["examples"][0]["evaluation"] == "Where is the Louvre?"
