"""The built-in data set: its corpus, its known items, and the hand-written questions."""

import re
import subprocess
import sys
from importlib import import_module

import pytest

from ragdistill.data import pydocs, pydocs_corpus, pydocs_source
from ragdistill.data.collection import Collection
from ragdistill.errors import UserError

_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can do does for from have how i if in into is it its my no not of "
        "on one or than that the then this to what when which with you",
    )
)


@pytest.fixture(scope="module")
def collection() -> Collection:
    return pydocs.load()


@pytest.fixture(scope="module")
def texts(collection: Collection) -> dict[str, str]:
    return {document.id: _plain(document.text) for document in collection.documents}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def test_documents_are_distinct_and_many(collection: Collection, texts: dict[str, str]) -> None:
    assert len(texts) == len(collection.documents) > 5000
    assert all(texts.values())
    assert not any(re.search(r"\s", name) for name in texts)
    assert sum(name.startswith("topic.") for name in texts) > 200


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("json.JSONDecoder", "json.JSONDecoder(*, object_hook=None"),  # re-exported by a package
        ("heapq.heapify", "heapq.heapify("),  # from the extension module that replaces Python code
        ("datetime.datetime.isoformat", "datetime.datetime.isoformat"),
        ("socket.socket.sendall", "socket.socket.sendall"),  # inherited from an extension type
        ("os.path.join", "os.path.join(a, *p)"),
        ("str.split", "str.split(sep=None, maxsplit=-1)"),
        ("struct", "struct"),  # takes its docstring from an extension module
        ("topic.with", 'The "with" statement'),
        ("topic.specialnames#object.__call__", "object.__call__(self[, args...])"),
    ],
)
def test_entry_is_found_under_its_usual_name(collection: Collection, name: str, title: str) -> None:
    titles = {document.id: document.title for document in collection.documents}
    assert titles[name].startswith(title)


def test_what_has_side_effects_or_is_private_is_left_out(texts: dict[str, str]) -> None:
    left_out = ("antigravity", "test", "idlelib", "tkinter", "turtle", "posixpath", "lib2to3")
    assert not [name for name in texts if name.split(".")[0] in left_out or name.startswith("_")]


def test_known_item_query_is_missing_from_every_document(
    collection: Collection, texts: dict[str, str]
) -> None:
    everything = "\n".join(texts.values())
    trained, tested = collection.judged("train"), collection.judged("test")
    queries = [*trained, *tested]
    assert len(queries) > 1500
    assert 0.3 < len(trained) / len(queries) < 0.37
    assert not collection.qrels["train"].keys() & collection.qrels["test"].keys()
    assert len({_plain(query.text) for query in queries}) == len(queries)
    for query in queries:
        assert len(query.text.split()) >= pydocs_corpus.MIN_QUERY_WORDS
        (target,) = (collection.qrels["train"] | collection.qrels["test"])[query.id]
        assert target in texts
        assert _plain(query.text) not in everything


@pytest.mark.parametrize(
    ("name", "docstring", "query", "rest"),
    [
        ("m.f", "Do it\nwell.\n\nMore.\n\nEnd.", "Do it well.", "More.\n\nEnd."),
        ("range", "range(a) -> x\nrange(a, b) -> x\n\nOne.\n\nTwo.", "One.", None),
        ("m.only", "Just this.", "Just this.", ""),
        ("m.f", "g(x) is called here.\n\nMore.", "g(x) is called here.", "More."),
    ],
)
def test_split_docstring(name: str, docstring: str, query: str, rest: str | None) -> None:
    expected = "range(a) -> x\nrange(a, b) -> x\n\nTwo." if rest is None else rest
    assert pydocs_corpus.split_docstring(name, docstring) == (query, expected)


def test_another_process_builds_the_same_without_imports_or_warnings(
    collection: Collection,
) -> None:
    program = (
        "import sys; from ragdistill.data.pydocs import load; print(load().digest);"
        "print(*{'antigravity', 'this', 'tkinter', 'idlelib', 'test', 'readline', 'numpy'}"
        ".intersection(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.split("\n") == [collection.digest, "", ""]
    assert done.stderr == ""


def test_a_python_without_its_sources_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.setattr(pydocs_source, "library", lambda: empty)
    with pytest.raises(UserError, match="sources of the standard library"):
        pydocs.load()


def test_hook_announces_sets_that_load() -> None:
    entry, turns = pydocs.ragdistill_datasets()
    assert (entry.name, entry.licence) == ("pydocs", "PSF-2.0")
    assert entry.address == f"{pydocs.load.__module__}:{pydocs.load.__name__}"
    assert (turns.name, turns.licence) == ("pydocs-turns", "PSF-2.0")
    module, _, function = turns.address.partition(":")
    assert callable(getattr(import_module(module), function))


def test_questions_are_many_varied_and_distinct() -> None:
    asked = list(pydocs.questions())
    assert len(asked) >= 160
    assert len({question.id for question in asked}) == len(asked)
    assert len({_plain(question.text) for question in asked}) == len(asked)
    assert len({question.entries[0].split(".")[0] for question in asked}) >= 60
    for question in asked:
        assert question.answers
        assert all(answer and answer == answer.strip() for answer in question.answers)
        assert len(set(question.entries)) == len(question.entries) > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="some entries are for Linux only")
def test_every_entry_of_every_question_exists(collection: Collection) -> None:
    names = pydocs_corpus.build().canonical
    asked = list(pydocs.questions())
    assert [e for question in asked for e in question.entries if e not in names] == []
    assert [query.id for query in collection.judged("questions")] == [q.id for q in asked]


def test_documents_of_questions_are_whole(collection: Collection) -> None:
    docstrings = pydocs_corpus.docstrings()
    by_id = {document.id: document for document in collection.documents}
    for judged in collection.qrels["questions"].values():
        for name in judged:
            if not name.startswith("topic."):
                assert by_id[name].text == docstrings[name].doc


def test_questions_do_not_copy_the_documentation(
    collection: Collection, texts: dict[str, str]
) -> None:
    """At most half of a question's words in the first sentence, and no four words in a row."""
    for query in collection.judged("questions"):
        asked = set(_words(query.text)) - _COMMON
        for name in collection.qrels["questions"][query.id]:
            words = _words(texts[name])
            first = set(_words(re.split(r"(?<=\.)\s", texts[name])[0]))
            assert len(asked & first) <= max(2, len(asked) / 2), (query.text, name)
            runs = set(zip(*(words[i:] for i in range(4)), strict=False))
            shared = runs & set(zip(*(_words(query.text)[i:] for i in range(4)), strict=False))
            assert not shared, (query.text, name)
