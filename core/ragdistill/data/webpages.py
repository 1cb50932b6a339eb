"""HTML as Markdown: what a reader of the page would read, in time that grows with its length alone.

Beautiful Soup on lxml reads it, markdownify writes it. Where the latter takes far longer for a long list or table
than for two short ones, or writes far more than there is, its ways are replaced here.
"""

import codecs
import re
from collections import Counter
from typing import Any, cast

from bs4 import BeautifulSoup
from bs4.dammit import EncodingDetector
from bs4.element import (
    PYTHON_SPECIFIC_ENCODINGS,
    Declaration,
    NavigableString,
    ProcessingInstruction,
)
from markdownify import MarkdownConverter

_WITHOUT_TEXT = {
    "title",
    "script",
    "style",
    "template",
    "noscript",
    "svg",
    "iframe",
    "nav",
    "footer",
}
_NUMBER = re.compile("[0-9]{1,9}")
_DEEPEST = 10
_BLANKS = re.compile(r"[\t ]{100,}")
"""No layout of anything: expressions of markdownify take the square of their length."""
_HEAD = 1 << 16
"""Bytes of a page in which it is looked for what encoding it names."""
_OF_BROWSERS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
"""What names stand for in pages, where that is more than what they say: https://encoding.spec.whatwg.org."""
_OF_PROGRAMS = {*PYTHON_SPECIFIC_ENCODINGS, "utf-7"}
"""What no browser obeys."""


def declared_encoding(raw: bytes) -> str | None:
    """The encoding that a page says it is in, as browsers understand it; None where it says nothing that could be
    so. What is UTF-16 cannot say so in the letters that were read just now."""
    said = EncodingDetector.find_declared_encoding(raw[:_HEAD], is_html=True)
    try:
        known = codecs.lookup((said or "").removeprefix("x-")).name
        readable = b"<meta>".decode(known) == "<meta>"
    except (LookupError, ValueError):
        return None
    obeyed = readable and known not in _OF_PROGRAMS
    return _OF_BROWSERS.get(known, known) if obeyed else None


def as_markdown(text: str) -> tuple[str, str]:
    """The title of a page, "" where it has none, and its text as Markdown.

    Raises:
        RecursionError: it is nested too deeply.
    """
    soup = BeautifulSoup(text, "lxml")  # which ends <p> and <li> where HTML does
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    return title, _Converter().convert_soup(soup)


def _is_deep(el: Any) -> bool:
    """Whether so much is around it that the indentation of its lines would be more than they are."""
    return sum(each.name in ("li", "blockquote", "dd") for each in el.parents) >= _DEEPEST


class _Converter(MarkdownConverter):
    """Writes one page."""

    def __init__(self) -> None:
        super().__init__(
            strip=["a"], heading_style="atx", escape_asterisks=False, escape_underscores=False
        )
        self._items: Counter[int] = Counter()
        """How many items of each list were written."""
        self._begun: set[int] = set()
        """Tables of which a row was."""

    def process_element(self, node: Any, parent_tags: Any = None) -> str:
        """What is no text of the page is not even looked into."""
        if isinstance(node, Declaration | ProcessingInstruction) or node.name in _WITHOUT_TEXT:
            return ""
        written: str = cast(Any, super()).process_element(node, parent_tags=parent_tags)
        return written

    def process_text(self, el: Any, parent_tags: Any = None) -> str:
        """Text, without runs of blanks that nobody sees."""
        if _BLANKS.search(el):
            short = NavigableString(_BLANKS.sub(" ", el))
            short.parent, short.next_sibling = el.parent, el.next_sibling
            short.previous_sibling = el.previous_sibling
            el = short
        written: str = cast(Any, super()).process_text(el, parent_tags=parent_tags)
        return written

    def convert_img(self, el: Any, text: str, parent_tags: Any) -> str:
        """What stands for a picture."""
        return " ".join(str(el.get("alt") or "").split())

    def convert_li(self, el: Any, text: str, parent_tags: Any) -> str:
        """An item, numbered by counting instead of by looking at all before it."""
        ordered, place = el.parent.name == "ol", self._items[id(el.parent)]
        self._items[id(el.parent)] += 1
        text = (text or "").strip()
        if not text:
            return "\n"
        if ordered:
            start = str(el.parent.get("start"))
            bullet = f"{(int(start) if _NUMBER.fullmatch(start) else 1) + place}. "
        else:
            bullet = "*+-"[(len(el.find_parents("ul")) - 1) % 3] + " "
        # As the lines of a nested list are, those of the item are indented to where its text begins.
        blank = "" if _is_deep(el) else " " * len(bullet)
        return bullet + re.sub(r"\n(?=[^\n])", f"\n{blank}", text) + "\n"

    def convert_blockquote(self, el: Any, text: str, parent_tags: Any) -> str:
        """A quotation, marked unless it is one of too many."""
        if _is_deep(el):
            return f"\n\n{text.strip()}\n\n"
        written: str = cast(Any, super()).convert_blockquote(el, text, parent_tags)
        return written

    def convert_dd(self, el: Any, text: str, parent_tags: Any) -> str:
        """What a word means, indented unless it is too deep."""
        if _is_deep(el):
            return f"\n\n{text.strip()}\n\n"
        written: str = cast(Any, super()).convert_dd(el, text, parent_tags)
        return written

    def convert_pre(self, el: Any, text: str, parent_tags: Any) -> str:
        """Code, in a fence that is longer than any within it."""
        text = text.rstrip(" \n")
        first = len(text) - len(text.lstrip(" \n"))
        text = text[text.rfind("\n", 0, first) + 1 :]
        longest = max(map(len, re.findall("`{3,}", text)), default=2)
        fence = "`" * (longest + 1)
        return f"\n\n{fence}\n{text}\n{fence}\n\n" if text else ""

    def convert_td(self, el: Any, text: str, parent_tags: Any) -> str:
        """A cell, once, however many columns it is as wide as."""
        line = text.strip().replace("\n", " ")
        return f" {line} |"

    convert_th = convert_td

    def convert_tr(self, el: Any, text: str, parent_tags: Any) -> str:
        """A row; the first of a table is its head if all its cells are, else the head is empty."""
        table = id(el.find_parent("table"))
        if table in self._begun:
            return f"|{text}\n"
        self._begun.add(table)
        cells = el.find_all(["td", "th"], recursive=False)
        rule = f"| {' | '.join(['---'] * len(cells))} |\n"
        if el.parent.name == "thead" or all(cell.name == "th" for cell in cells):
            return f"|{text}\n{rule}"
        return f"| {' | '.join([''] * len(cells))} |\n{rule}|{text}\n"
