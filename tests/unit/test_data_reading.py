"""What is read of Markdown, text, HTML and PDF files, whatever is in them."""

from pathlib import Path
from time import process_time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdownify import MarkdownConverter

from document_helpers import HANDBOOK, PAGE, encrypted, pdf, rows, take, write
from ragdistill.data import reading


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


CAFE = "Caf\xe9\nopen"
SAID = '<meta charset="%s"><pre>%s'


@pytest.mark.parametrize(
    ("name", "content", "encoding", "text"),
    [
        ("a_txt", "Caf\xe9\r\nopen".encode("utf-8-sig"), None, CAFE),
        ("a_md", "Caf\xe9\ropen".encode("utf-16"), None, CAFE),
        ("a_txt", CAFE.encode("utf-32"), "cp1252", CAFE),
        ("a_txt", CAFE.encode("cp1252"), "cp1252", CAFE),
        ("a_html", (SAID % ("latin-1", CAFE)).encode("cp1252"), "koi8-r", CAFE),
        ("a_html", (SAID % ("L1", "\u201cCaf\xe9\u201d")).encode("cp1252"), None, "\u201cCaf\xe9\u201d"),
        ("a_html", (SAID % ("no-such", CAFE)).encode(), None, CAFE),
        ("a_html", (SAID % ("ascii", CAFE)).encode("cp1252"), "utf-8", CAFE),
        ("a_html", (SAID % ("ascii", CAFE)).encode(), "utf-8", "Caf\xc3\xa9\nopen"),
        ("a_html", (SAID % ("x-sjis", "\u2460 \u9ad9")).encode("cp932"), None, "\u2460 \u9ad9"),
        ("a_html", (SAID % ("gb2312", "\u9555\u20ac")).encode("gb18030"), None, "\u9555\u20ac"),
        ("a_html", (SAID % ("euc-kr", "\ub620")).encode("cp949"), None, "\ub620"),
        *(
            ("a_html", (SAID % (wrong, CAFE)).encode(), None, CAFE)
            for wrong in ("utf-16", "utf-16le", "utf-32", "utf-7", "punycode", "unicode_escape", "cp037", "hex", "\xff")
        ),
    ],
)  # fmt: skip
def test_encodings(
    tmp_path: Path, name: str, content: bytes, encoding: str | None, text: str
) -> None:
    (row,) = rows(take(write(tmp_path / "docs", **{name: content}), encoding=encoding))
    assert row["text"].strip("`\n") == text


def markdown(page: str) -> str:
    from ragdistill.data import webpages

    return webpages.as_markdown(page)[1]


PLAIN = [
    "<ol start=9><li>a<li> <li><p>b<ul><li>c<br>d<ul><li>e</ul></ul></ol>f",
    "<ul><li>a<ol><li>b<pre>c\n\n d</pre><li>e</ol><li></ul><ol start=x><li>f</ol>",
    "<table><tr><td>b<td>c\nd<tr><td>e</table>",
    "<table><tr><th>a<th>b<tr><th>c<td>d</table><table><thead><tr><th>a</thead><tbody><tr><td>b</table>",
    "<p>a\n<b> b </b><pre>\n\n  c\n d \n\n</pre>e<h2>f</h2><dl><dt>g<dd>h</dl><blockquote>i<p>j</blockquote>",
]


@pytest.mark.parametrize("page", PLAIN)
def test_plain_pages_are_written_as_the_library_writes_them(page: str) -> None:
    whole = MarkdownConverter(heading_style="atx", bs4_options="lxml")
    assert markdown(page) == whole.convert(page)


def test_what_the_library_writes_otherwise() -> None:
    assert markdown('<ol start="\xb2"><li>e') == "1. e"
    table = "<table><thead><tr><td colspan=1000>a<th>b</thead>%s</table>"
    inner = "<tbody><tr><td>c<td><table><tr><td>d</table></tbody><tbody><tr><td>e<td>f</tbody>"
    assert markdown(table % inner).split("\n") == [
        "| a | b |", "| --- | --- |", "| c | |  | | --- | | d | |", "| e | f |",
    ]  # fmt: skip
    bare = markdown("<table><tr><td>a<td>b<tr><td>c<td>d</table>")
    assert bare.split("\n") == ["|  |  |", "| --- | --- |", "| a | b |", "| c | d |"]


def test_code_of_pages_keeps_its_fences() -> None:
    assert markdown("<pre>\n\n  a\n b \n</pre>") == "```\n  a\n b\n```"
    assert markdown("<pre>````sh\nx\n````</pre>") == "`````\n````sh\nx\n````\n`````"


def test_what_nobody_reads_is_no_text() -> None:
    page = "<?php secret ?><!--secret--><p>a<img alt='b\n c'> <script>secret()</script>d<![CDATA[secret]]>"
    assert markdown(page) == "ab c d"


@pytest.mark.parametrize("tag", ["ul><li", "blockquote", "dl><dd"])
def test_deep_pages_are_not_indented_for_ever(tag: str) -> None:
    text = markdown(f"<{tag}>" * 60 + "<pre>" + "line\n" * 1_000)
    assert text.count("line") == 1_000
    assert len(text) < 60_000


LONG = {
    "items": "<ol>" + "<li>a" * 8_000,
    "cells": "<table>" + "<tr><td colspan=1000>a" * 1_000,
    "bodies": "<table>" + "<tbody><tr><td>a" * 3_000,
    "heads": "<table><thead>" + "<tr><td>a<th>b" * 3_000,
    "blanks": "<p>a" + " " * 100_000 + "b<pre>a" + "&#32;" * 100_000 + "b",
    "pictures": "<p>a" + "<img alt=b><i>c</i>" * 5_000,
    "scripts": "<p>a" + "<b>a</b><script>b</script>" * 5_000,
    "declared": "<meta " * 200_000 + "<p>a",
}


@pytest.mark.parametrize("name", LONG)
def test_long_pages_take_no_longer_than_they_are(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(LONG[name])
    began = process_time()
    content = reading.read(path, None)
    assert process_time() - began < 10  # what takes the square of their length takes far longer
    assert sum(len(section.text) for section in content.sections) < 10 * len(LONG[name])


@pytest.mark.parametrize(
    ("front", "title"),
    [
        ("title: T\na: &a {x: 1}\nb: {<<: [*a, *a]}", "T"),
        ("title: T\ndate: 2023-02-30", "T"),
        ("!ENV a: !ENV b\ntitle: 'T'", "T"),
        ("title: 2023\n[a, b]: c", "a"),
    ],
)  # fmt: skip
def test_of_front_matter_nothing_but_the_title_is_looked_at(
    tmp_path: Path, front: str, title: str
) -> None:
    told = take(write(tmp_path / "docs", a_md=f"---\n{front}\n---\ntext"))
    assert [(row["title"], row["text"]) for row in rows(told)] == [(title, "text")]


def test_front_matter_of_a_billion_values(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 11)]
    front = "\n".join(["a0: &a0 {k: v}", *levels, "title: T"])
    (row,) = rows(take(write(tmp_path / "docs", a_md=f"---\n{front}\n---\ntext")))
    assert row["title"] == "T"


def test_long_headings_are_cut_in_titles_alone() -> None:
    heading = "w" * 100_000
    found = list(reading.sections(f"# {heading}\n" + "## b\nc\n" * 1_000 + f"# {heading}", "t"))
    assert {section.title for section in found} == {"w" * 300}
    assert found[-1].text == heading


def test_text_of_a_pdf_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST", 20)
    folder = write(tmp_path / "docs", a_pdf=pdf("0123456789", "0123456789"))
    write(folder, b_pdf=pdf("0123456789", "0123456789", "x"))
    told = take(folder)
    assert told.left_out == [("b.pdf", "over the limit of 0 MiB of text")]
    assert told.files == {".pdf": 1}


def test_messages_of_libraries_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, encoding: str | None) -> reading.Content:
        raise ValueError("one\ntwo" + "x" * 999)

    monkeypatch.setitem(reading.KINDS, ".txt", broken)
    write(tmp_path, a_txt="x")
    with pytest.raises(
        reading.Unread, match=r"^cannot be read: ValueError: one twox{10,}$"
    ) as told:
        reading.read(tmp_path / "a.txt", None)
    assert len(str(told.value)) == 200


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
