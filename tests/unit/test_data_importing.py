"""A directory of documents as a corpus: what is read, what is told to be left out, and what stays the same."""

import json
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from document_helpers import encrypted, pdf
from ragdistill.data import importing, loading, reading
from ragdistill.data.importing import Imported
from ragdistill.errors import UserError

HANDBOOK = """\
---
title: Handbook
tags: [a, b]
---
Read this first.

# VPN

## Install *the* `client`

From the portal.

```sh
# no heading
```

> ## Nor this

## Printers

### Queue

A job is kept.

Setext
------

## Last words
"""
PAGE = """\
<!doctype html><html><head><title>Leave &amp; sickness</title><style>p {}</style></head>
<body><nav><a href="/">Home</a></nav><p>Ask <a href="https://example.org/x">your manager</a> first.</p>
<h2>Days</h2><ul><li>thirty<li>or more</ul><script>track()</script>
<p><img src="data:image/png;base64,AAAA" alt="a calendar"> 2_days_more</p><footer>2026</footer></body></html>
"""


def write(folder: Path, **files: bytes | str) -> Path:
    """Files by name, with ``_`` for the dot before the ending."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / ".".join(name.rsplit("_", 1))
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def rows(told: Imported) -> list[dict[str, str]]:
    return [json.loads(line) for line in told.corpus.read_text(encoding="utf-8").splitlines()]


def take(folder: Path, out: str = "out", **options: Any) -> Imported:
    """Import ``folder`` into a folder beside it."""
    chosen = {"size": 1000, "overlap": 0, "encoding": None} | options
    return importing.import_folder(folder, folder.parent / out, **chosen)


def run(*arguments: object) -> Result:
    from ragdistill.cli import main

    return CliRunner().invoke(main, ["data", "import", *map(str, arguments)])


def test_headings_are_titles_and_lines_are_places(tmp_path: Path) -> None:
    found = rows(take(write(tmp_path / "docs", handbook_md=HANDBOOK)))
    lines = HANDBOOK.split("\n")
    assert [(row["title"], row["text"].split("\n")[0]) for row in found] == [
        ("Handbook", "Read this first."),
        ("VPN > Install the client", "From the portal."),
        ("VPN > Printers > Queue", "A job is kept."),
        ("VPN > Setext", "Setext"),
        ("VPN > Last words", "Last words"),
    ]
    for row in found:
        unit, number = row["place"].split()
        assert unit == "line"
        assert row["text"].split("\n")[0] in lines[int(number) - 1]
    assert "# no heading" in found[1]["text"]
    assert "Nor this" in found[1]["text"]
    assert {row["path"] for row in found} == {"handbook.md"}


def test_html_is_text_without_its_trimmings(tmp_path: Path) -> None:
    first, second = rows(take(write(tmp_path / "docs", leave_html=PAGE)))
    assert first["title"] == "Leave & sickness"
    assert first["text"] == "Ask your manager first."
    assert second["title"] == "Leave & sickness > Days"
    assert second["text"] == "* thirty\n* or more\n\na calendar 2_days_more"
    assert [first["place"], second["place"]] == ["section 1", "section 2"]


def test_pdf_has_pages_for_places(tmp_path: Path) -> None:
    pages = ["Badges open\nthe door.", None, "The caf\xe9 closes at four. " * 20]
    folder = write(tmp_path / "docs", a_pdf=pdf(*pages, title="House rules"), b_pdf=pdf("Alone."))
    told = take(folder, size=200)
    found = [row for row in rows(told) if row["path"] == "a.pdf"]
    assert {row["title"] for row in found} == {"House rules"}
    assert [row["place"] for row in found] == ["page 1", *["page 3"] * (len(found) - 1)]
    assert "caf\xe9" in found[1]["text"]
    assert found[0]["text"] == "Badges open\nthe door."
    assert told.in_part == [("a.pdf", "1 of 3 pages without text")]
    assert rows(told)[-1]["title"] == "b"


def test_pdf_without_text_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", scan_pdf=pdf(None, None), torn_pdf=pdf("x")[:90], a_txt="a b")
    encrypted(pdf("A secret."), "key", folder / "secret.pdf")
    encrypted(pdf("No secret."), "", folder / "open.pdf")
    told = take(folder)
    left = dict(told.left_out)
    assert left.keys() == {"scan.pdf", "secret.pdf", "torn.pdf"}
    assert "no text on its 2 pages" in left["scan.pdf"]
    assert "password" in left["secret.pdf"]
    assert left["torn.pdf"].startswith("cannot be read")
    assert [row["text"] for row in rows(told)] == ["a b", "No secret."]


def test_a_broken_page_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pypdf

    real = pypdf.PageObject.extract_text

    def extract(page: pypdf.PageObject) -> str:
        text = real(page)
        if "broken" in text:
            raise KeyError("/Font")
        return text

    monkeypatch.setattr(pypdf.PageObject, "extract_text", extract)
    told = take(write(tmp_path / "docs", a_pdf=pdf("broken", "whole"), b_pdf=pdf("broken")))
    assert told.in_part == [("a.pdf", "1 of 2 pages unreadable")]
    assert "1 unreadable" in dict(told.left_out)["b.pdf"]
    assert [(row["text"], row["place"]) for row in rows(told)] == [("whole", "page 2")]


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("a_txt", "Caf\xe9\r\nopen".encode("utf-8-sig"), None),
        ("a_md", "Caf\xe9\ropen".encode("utf-16"), None),
        ("a_txt", "Caf\xe9\nopen".encode("utf-32"), "cp1252"),
        ("a_txt", "Caf\xe9\nopen".encode("cp1252"), "cp1252"),
        ("a_html", '<meta charset="latin-1"><pre>Caf\xe9\nopen'.encode("cp1252"), "koi8-r"),
        ("a_html", '<meta charset="no-such"><pre>Caf\xe9\nopen', None),
        ("a_html", '<meta charset="ascii"><pre>Caf\xe9\nopen'.encode(), "utf-8"),
    ],
)
def test_encodings(tmp_path: Path, name: str, content: bytes, encoding: str | None) -> None:
    (row,) = rows(take(write(tmp_path / "docs", **{name: content}), encoding=encoding))
    assert row["text"].strip("`\n") in ("Caf\xe9\nopen", "Caf\xc3\xa9\nopen")


def test_what_is_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(
        tmp_path / "docs", good_md="Good.", latin_txt=b"\xe9", data_txt=b"a\0b", empty_md="", blank_txt=" \n",
        big_txt="x" * 99, picture_png="x", README="x", marks_txt="-- ** --",
    )  # fmt: skip
    write(folder / ".git", config_txt="hidden")
    write(tmp_path / "elsewhere", other_txt="secret")
    (folder / "link.txt").symlink_to(tmp_path / "elsewhere" / "other.txt")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe.txt")
    deep = "<div>" * 5000 + "deep"
    write(folder, deep_html=deep)
    monkeypatch.setattr(reading, "LARGEST", len(deep))
    (folder / "big.txt").write_text("x" * (len(deep) + 1))
    told = take(folder)
    assert [row["text"] for row in rows(told)] == ["Good."]
    left = dict(told.left_out)
    assert left.keys() == {
        ".git", "README", "big.txt", "blank.txt", "data.txt", "deep.html", "empty.md", "latin.txt", "link.txt",
        "linked", "pipe.txt", "picture.png", "round",
    }  # fmt: skip
    assert left[".git"] == "hidden"
    assert left["latin.txt"].startswith("not utf-8; --encoding")
    assert left["picture.png"] == ".png is not read"
    assert "link" in left["round"]
    assert "nested" in left["deep.html"]
    assert "limit" in left["big.txt"]


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_names_of_any_bytes(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", plain_txt="plain")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9 \n.TXT")).write_text("odd")
    write(folder, z_md='---\ntitle: "\\ud800 half"\n---\nx')
    told = take(folder)
    assert [row["path"] for row in rows(told)] == ["caf\ufffd \n.TXT", "plain.txt", "z.md"]
    assert [row["title"] for row in rows(told)] == ["caf\ufffd", "plain", "\ufffd half"]
    assert len(loading.load(str(told.corpus.parent)).documents) == 3


def test_ids_stay_when_files_come_go_and_move(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", handbook_md=HANDBOOK, leave_html=PAGE, b_pdf=pdf("Doors."))
    before = {row["_id"]: row["text"] for row in rows(take(folder))}
    write(folder, a_md="# New\n" + " ".join(f"New {n}." for n in range(500)), zz_txt="Newer.")
    write(folder / "below", again_md=HANDBOOK)
    (folder / "leave.html").rename(folder / "below" / "leave.html")
    told = take(folder, "after")
    after = {row["_id"]: row["text"] for row in rows(told)}
    assert before.items() <= after.items()
    assert told.repeated == 5, "the copy of the handbook"
    assert told.documents == len(after) == len(rows(told))


def test_the_same_bytes_again(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "docs", handbook_md=HANDBOOK, leave_html=PAGE, b_txt="One. Two. " * 300
    )
    write(folder / "a", b_md="# B\nx")
    first, second = (take(folder, name).corpus.read_bytes() for name in ("one", "two"))
    assert first == second
    assert next(json.loads(line)["path"] for line in first.splitlines()) == "a/b.md"


def test_size_and_overlap(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", a_txt=" ".join(f"word{n}" for n in range(500)))
    apart = [row["text"].split() for row in rows(take(folder, size=100))]
    lapped = [row["text"].split() for row in rows(take(folder, "lapped", size=100, overlap=30))]
    assert [word for text in apart for word in text] == [f"word{n}" for n in range(500)]
    assert all(later[0] in earlier for earlier, later in pairwise(lapped))
    assert len(lapped) > len(apart)


@given(
    text=st.text("ab. \n#`>-*[]()é\U0001d11e\x85\u2028\ud800", max_size=400),
    size=st.integers(50, 80),
)
@settings(max_examples=60, deadline=None, derandomize=True)
@pytest.mark.parametrize("markup", [False, True])
def test_every_word_is_in_a_passage(markup: bool, text: str, size: int) -> None:
    clean = reading._clean(text)
    sections = list(reading.sections(clean, "t")) if markup else [reading._lines("t", clean, 1)]
    splitter = importing._Splitter(size, 0)
    passages = [part for section in sections for part in splitter.split(section)]
    assert all(0 < len(part) <= size for _, part in passages)
    for section in sections:
        for offset, part in splitter.split(section):
            assert section.text[offset : offset + len(part)] == part
            number = int(section.place(offset).removeprefix("line "))
            begun = next(line for line in part.split("\n"))
            assert begun in clean.split("\n")[number - 1] or section.title.endswith(part)
    told = "".join(part for _, part in passages) + "".join(s.title for s in sections)
    assert sum(map(told.count, "ab")) >= sum(map(clean.count, "ab"))


def test_long_texts_are_split_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"Sentence {n} is here.\n\n" for n in range(400))
    section = reading.Section("t", text, "line")
    monkeypatch.setattr(importing, "_AT_ONCE", 300)
    splitter = importing._Splitter(50, 0)
    assert splitter._at_once == 800
    assert "".join(part for _, part in splitter.split(section)).count("Sentence") == 400
    assert all(text[at : at + len(part)] == part for at, part in splitter.split(section))
    assert "".join(piece for _, piece in importing._pieces("x" * 1000, 64)) == "x" * 1000


GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(["---\n", "title: [", "*a", "<p>", "</", "<!--", "&#0;", "&#xd800;", "%PDF-1.4\n", "stream\n"])
    ).map(lambda parts: "".join(parts).encode()),
    st.integers(0, 700).map(lambda place: pdf("torn")[:place] + b"/" + pdf("torn")[place + 3 :]),
)  # fmt: skip


@pytest.mark.parametrize("ending", ["md", "txt", "html", "pdf"])
@given(content=GARBAGE)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_garbage_is_read_or_left_out(ending: str, tmp_path: Path, content: bytes) -> None:
    path, told = tmp_path / f"a.{ending}", ""
    path.write_bytes(content)
    try:
        found = reading.read(path, None)
    except reading.Unread as why:
        told = str(why)
    assert told.splitlines() == [told] if told else found.sections


@pytest.mark.parametrize(
    "stop", [KeyboardInterrupt, OSError(28, "full")], ids=["interrupted", "full"]
)
def test_nothing_is_left_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    folder = write(tmp_path / "docs", a_txt="a", b_txt="b")
    real: Callable[..., Any] = importing._identifier

    def identifier(title: str, text: str) -> Any:
        if text == "b":
            raise stop
        return real(title, text)

    monkeypatch.setattr(importing, "_identifier", identifier)
    with pytest.raises((KeyboardInterrupt, UserError)):
        take(folder)
    assert not (tmp_path / "out").exists()
    (tmp_path / "kept").mkdir()
    with pytest.raises((KeyboardInterrupt, UserError)):
        take(folder, "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_out_may_lie_in_the_directory(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", a_txt="a")
    write(folder / "out", notes_txt="of the corpus")
    assert run(folder, "--out", folder / "out").exit_code == 0
    (folder / "out" / "corpus.jsonl").unlink()
    done = run(folder, "--out", folder / "out", "--json")
    assert json.loads(done.output) == {
        "corpus": str(folder / "out" / "corpus.jsonl"),
        "documents": 1,
        "repeated": 0,
        "files": {".txt": 1},
        "left_out": [],
        "in_part": [],
    }


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    many = {f"p{number}_png": "x" for number in range(5)}
    folder = write(
        tmp_path / "docs", a_md="# A\ntext", b_md="# A\ntext", c_pdf=pdf("c", None), **many
    )
    done = run(folder, "--out", tmp_path / "made")
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "left out: p0.png, p1.png, p2.png and 2 more: .png is not read",
        "in part: c.pdf: 1 of 2 pages without text",
        "left out: 1 passages that repeat another",
        f"{tmp_path / 'made' / 'corpus.jsonl'}: 2 documents from 3 files (2 .md, 1 .pdf)",
    ]
    assert [d.title for d in loading.load(str(tmp_path / "made")).documents] == ["A", "c"]
