"""A directory of documents as a corpus: what is read, what is told to be left out, and what stays the same."""

import json
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from document_helpers import HANDBOOK, PAGE, pdf, rows, run, take, write
from ragdistill.data import importing, loading, reading
from ragdistill.errors import UserError


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
        "linked", "marks.txt", "pipe.txt", "picture.png", "round",
    }  # fmt: skip
    assert left[".git"] == "hidden"
    assert left["latin.txt"].startswith("not utf-8; --encoding")
    assert left["picture.png"] == ".png is not read"
    assert "link" in left["round"]
    assert "nested" in left["deep.html"]
    assert "limit" in left["big.txt"]
    assert left["marks.txt"] == "neither letters nor digits in it"
    assert told.files == {".md": 1}


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_names_of_any_bytes(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", plain_txt="plain")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9 \n.TXT")).write_text("odd")
    write(folder, z_md='---\ntitle: "\\ud800 half"\n---\nx')
    told = take(folder)
    assert [row["path"] for row in rows(told)] == ["caf\ufffd \n.TXT", "plain.txt", "z.md"]
    assert [row["title"] for row in rows(told)] == ["caf\ufffd", "plain", "\ufffd half"]
    assert len(loading.load(str(told.corpus.parent)).documents) == 3


def test_names_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", a_txt="a")
    write(folder, **{"z\x1b[2J\n_png": "x", "b\x1b[1m_txt": "- -"})
    done = run(folder, "--out", tmp_path / "made")
    assert done.output.splitlines()[:2] == [
        "left out: z\ufffd[2J\ufffd.png: .png is not read",
        "left out: b\ufffd[1m.txt: neither letters nor digits in it",
    ]
    (folder / "a.txt").unlink()
    told = run(folder, "--out", tmp_path / "again")
    assert told.exit_code == 2
    assert "b\ufffd[1m.txt: neither letters" in told.output
    told = run(folder, "--out", tmp_path / "made", "--json")
    assert told.exit_code == 2


def test_a_name_has_one_title_on_every_system(tmp_path: Path) -> None:
    apart, together = (
        rows(take(write(tmp_path / f"docs{number}", **{f"{name}_txt": "x"}), f"out{number}"))
        for number, name in enumerate(("Cafe\u0301", "Caf\xe9"))
    )
    assert apart[0]["_id"] == together[0]["_id"]


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
    with pytest.raises((KeyboardInterrupt, UserError)) as told:
        take(folder)
    assert "goes on from there" not in str(told.value)
    assert not (tmp_path / "out").exists()
    (tmp_path / "kept").mkdir()
    with pytest.raises((KeyboardInterrupt, UserError)):
        take(folder, "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_corpus_that_came_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = write(tmp_path / "docs", a_txt="a"), reading.read

    def meanwhile(path: Path, encoding: str | None) -> reading.Content:
        write(tmp_path / "out", corpus_jsonl="another's")
        return real(path, encoding)

    monkeypatch.setattr(reading, "read", meanwhile)
    with pytest.raises(UserError, match="exists already"):
        take(folder)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["corpus.jsonl"]
    assert (tmp_path / "out" / "corpus.jsonl").read_text() == "another's"


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
