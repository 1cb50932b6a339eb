"""Files of Markdown, plain text, HTML and PDF as sections of text, each with its title and its places.

The libraries are those of the extra ``documents``: markdown-it-py finds headings, Beautiful Soup on lxml and
markdownify turn HTML into Markdown, pypdf reads PDF. None of them reaches the network or starts a model.
"""

import codecs
import logging
import re
import unicodedata
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ragdistill.errors import UserError

if TYPE_CHECKING:
    import pypdf

Unit = Literal["line", "section", "page"]

EXTRA = "ragdistill[documents]"
LARGEST = 32 << 20
"""Bytes of a text file: many times what its text takes is needed to read it."""
LARGEST_PDF = 512 << 20
"""Bytes of a PDF, which are its pictures for the most part."""

_LONGEST_TITLE = 300
_STRING = "tag:yaml.org,2002:str"
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.{0,65536}?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_PICTURE = re.compile(r"data:image/[\w.+-]+;base64,[\w+/=]+")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Unread(Exception):
    """Why a file gives no text, in words that go on a line behind its name."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a file under one heading, or the whole of a file that has none."""

    title: str
    text: str
    unit: Unit
    markup: bool = False
    """Whether ``text`` is Markdown."""
    first: int = 1
    """The number of the line, section or page at which ``text`` begins."""
    starts: Sequence[int] = (0,)
    """Where each further line or page begins in ``text``, in characters; the first is 0."""

    def place(self, offset: int) -> str:
        """What a reader looks up to find the character at ``offset``: ``"line 12"``."""
        return f"{self.unit} {self.first + bisect_right(self.starts, offset) - 1}"


@dataclass(frozen=True, slots=True)
class Content:
    """What was read of a file."""

    sections: Sequence[Section]
    lacks: str = ""
    """What of it could not be read."""


def require() -> None:
    """
    Raises:
        UserError: a library of the extra is missing.
    """
    try:
        import bs4  # noqa: F401
        import lxml  # noqa: F401
        import markdown_it  # noqa: F401
        import markdownify  # noqa: F401
        import pypdf  # noqa: F401
        import semantic_text_splitter  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f"needs the Python package {error.name!r}",
            where="ragdistill data import",
            mend=f"pip install '{EXTRA}'",
        ) from error


def read(path: Path, encoding: str | None) -> Content:
    """The text of ``path``, by the kind that its name ends in (see :data:`KINDS`). ``encoding`` is that of
    text files that are not UTF-8 and do not say what they are.

    Raises:
        Unread: it gives no text.
    """
    kind = KINDS[path.suffix.lower()]
    try:
        size = path.stat().st_size
        if size > (limit := LARGEST_PDF if kind is _pdf else LARGEST):
            raise Unread(f"over the limit of {limit >> 20} MiB")
        if not size:
            raise Unread("empty")
        content = kind(path, encoding)
    except Unread:
        raise
    except RecursionError as error:
        raise Unread("cannot be read: nested too deeply") from error
    except OSError as error:
        raise Unread(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # what a stranger's file makes the libraries raise
        told = " ".join(f"cannot be read: {type(error).__name__}: {error}".split())
        raise Unread(told[:200]) from error
    if not content.sections:
        raise Unread("no text in it")
    return content


def _markdown(path: Path, encoding: str | None) -> Content:
    text = _decoded(path.read_bytes(), encoding)
    front = _FRONT_MATTER.match(text)
    told = _front_title(front[1]) if front else None
    if front and told is not None:  # its lines stay, so that the others keep their numbers
        text = "\n" * front[0].count("\n") + text[front.end() :]
    return Content(list(sections(text, told or _stem(path))))


def _front_title(text: str) -> str | None:
    """The title that front matter gives, or ""; None where ``text`` is no front matter."""
    import yaml

    try:  # its nodes alone: values of few lines may be without end, or wrong where nobody asks for them
        told = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return None
    if not isinstance(told, yaml.MappingNode):
        return None
    titles = (value for key, value in told.value if key.value == "title")
    title = next(titles, None)
    return title.value.strip() if title is not None and title.tag == _STRING else ""


def _plain(path: Path, encoding: str | None) -> Content:
    text = _decoded(path.read_bytes(), encoding)
    return Content([_lines(_stem(path), text, 1)] if text.strip() else [])


def _html(path: Path, encoding: str | None) -> Content:
    from ragdistill.data import webpages

    raw = path.read_bytes()
    text = _decoded(raw, encoding, webpages.declared_encoding(raw))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what looks like XML is read as HTML all the same
        title, converted = webpages.as_markdown(text)
    found = enumerate(sections(_clean(converted), title or _stem(path)), 1)
    return Content([Section(s.title, s.text, "section", True, number) for number, s in found])


def _pdf(path: Path, encoding: str | None) -> Content:
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of each oddity that it copes with
    with path.open("rb") as stream:
        reader = pypdf.PdfReader(stream)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unread("encrypted: it opens with a password only")
        pages = list(_page_texts(reader))
        title = (_pdf_title(reader) or _stem(path))[:_LONGEST_TITLE]
    texts = [text or "" for text in pages]
    if not any(texts):
        broken = f", {pages.count(None)} unreadable" if None in pages else ""
        raise Unread(
            f"no text on its {len(pages)} pages{broken}: perhaps scanned, OCR gives them text"
        )
    starts = list(accumulate((len(text) + 2 for text in texts[:-1]), initial=0))
    lacks = [
        f"{count} of {len(pages)} pages {what}"
        for count, what in ((pages.count(""), "without text"), (pages.count(None), "unreadable"))
        if count
    ]
    return Content([Section(title, "\n\n".join(texts), "page", starts=starts)], ", ".join(lacks))


def _page_texts(reader: "pypdf.PdfReader") -> Iterator[str | None]:
    """:func:`_page_text` of each page.

    Raises:
        Unread: they have more text than a text file may have.
    """
    left = LARGEST
    for page in reader.pages:
        text = _page_text(page)
        if (left := left - len(text or "")) < 0:
            raise Unread(f"over the limit of {LARGEST >> 20} MiB of text")
        yield text


def _page_text(page: "pypdf.PageObject") -> str | None:
    """The text of a page; None where it is broken, which the others need not be."""
    try:
        return _clean(page.extract_text()).strip()
    except Exception:  # noqa: BLE001  as with the whole file, whatever the library raises
        return None


def _pdf_title(reader: "pypdf.PdfReader") -> str:
    try:
        found = reader.metadata.title if reader.metadata else None
    except Exception:  # noqa: BLE001  broken metadata are no reason to lose the text
        return ""
    return " ".join(_clean(str(found or "")).split())


KINDS: dict[str, Callable[[Path, str | None], Content]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _plain,
    ".text": _plain,
    ".html": _html,
    ".htm": _html,
    ".xhtml": _html,
    ".pdf": _pdf,
}
"""What reads files of each ending."""


def _stem(path: Path) -> str:
    """The name of a file as a title; it may hold bytes that are no UTF-8, and accents apart from their letters
    where another system would hold them together."""
    return unicodedata.normalize("NFC", " ".join(_clean(path.stem).split()))


def _decoded(raw: bytes, encoding: str | None, declared: str | None = None) -> str:
    """``raw`` as text: by its byte order mark, what it declares, UTF-8, or ``encoding``: the first that fits.

    Raises:
        Unread: none fits, or it is no text.
    """
    marked = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    names = (declared, "utf-8", encoding)
    tried = [marked] if marked else [name for name in dict.fromkeys(names) if name]
    for name in tried:
        try:
            text = raw.decode(name)
        except (LookupError, ValueError):  # no encoding of this name, or other bytes than it has
            continue
        if "\0" in text:
            raise Unread("no text: it holds NUL characters")
        return _clean(text)
    hint = "" if marked or encoding else "; --encoding NAME says what it is"
    raise Unread(f"neither {' nor '.join(tried)}" if tried[1:] else f"not {tried[0]}{hint}")


def _clean(text: str) -> str:
    """``text`` that JSON and UTF-8 can hold, lines ending in LF, pictures left out."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")
    return _PICTURE.sub("", whole.replace("\r\n", "\n").replace("\r", "\n"))


@dataclass(frozen=True, slots=True)
class _Heading:
    level: int
    words: str
    begin: int
    end: int
    """Its lines, from 0."""


def sections(text: str, title: str) -> Iterator[Section]:
    """Markdown, one section for each heading that has text of its own. Its title is the headings that it
    is under, after ``title`` where no heading of the first level leads them."""
    title, lines = " ".join(_clean(title).split())[:_LONGEST_TITLE], text.split("\n")
    marks = [_Heading(0, "", 0, 0), *_headings(text)]
    under: list[_Heading] = []
    for number, mark in enumerate(marks):
        under = [heading for heading in under if heading.level < mark.level]
        under += [mark] if mark.words else []
        following = marks[number + 1] if number + 1 < len(marks) else None
        end = following.begin if following else len(lines)
        body, line = "\n".join(lines[mark.end : end]), mark.end
        if not body.strip() and not (following and following.level > mark.level):
            body, line = mark.words, mark.begin  # a heading with nothing below it is text
        if body.strip():
            lead = [] if under and under[0].level == 1 else [title]
            names = [*lead, *(heading.words[:_LONGEST_TITLE] for heading in under)]
            yield _lines(" > ".join(names)[:_LONGEST_TITLE], body, line + 1, markup=True)


def _lines(title: str, text: str, first: int, *, markup: bool = False) -> Section:
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return Section(title, text, "line", markup, first, starts)


def _headings(text: str) -> Iterator[_Heading]:
    """The headings that stand by themselves: not those in code, quotations and lists."""
    from markdown_it import MarkdownIt

    blocks, inline = MarkdownIt("commonmark"), MarkdownIt("commonmark")
    blocks.core.ruler.enableOnly(["normalize", "block"])
    tokens = blocks.parse(text)
    for token, content in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            parts = inline.parseInline(content.content)[0].children or []
            told = [part for part in parts if part.type != "html_inline"]
            words = "".join(" " if part.type.endswith("break") else part.content for part in told)
            yield _Heading(int(token.tag[1:]), " ".join(words.split()), *token.map)
