"""A directory of Markdown, text, HTML and PDF files made a corpus: found, read, split and written.

Passages end where headings, paragraphs and sentences do, as far as their size allows (semantic-text-splitter).
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ragdistill.data import beir, reading
from ragdistill.errors import UserError
from ragdistill.files import atomic_path, writing
from ragdistill.progress import Advance, track

_AT_ONCE = 1 << 16
"""Characters that are split at a time: twice the text takes more than twice as long."""


class Note(NamedTuple):
    """What is to be said of a file or folder."""

    path: str
    """Relative to the directory that is read, with ``/`` between its parts."""
    why: str


@dataclass(slots=True)
class Imported:
    """What became of a directory."""

    corpus: Path
    documents: int = 0
    repeated: int = 0
    """Passages with the title and text of another, which are not written again."""
    files: Counter[str] = field(default_factory=Counter)
    """How many gave text, by their ending."""
    left_out: list[Note] = field(default_factory=list)
    in_part: list[Note] = field(default_factory=list)
    """Files some of whose pages gave no text."""

    def as_json(self) -> dict[str, Any]:
        """It as plain values."""
        notes = {
            name: [note._asdict() for note in getattr(self, name)]
            for name in ("left_out", "in_part")
        }
        counts = {"documents": self.documents, "repeated": self.repeated}
        return {"corpus": str(self.corpus), **counts, "files": dict(self.files), **notes}


def import_folder(
    folder: Path, out: Path, *, size: int, overlap: int, encoding: str | None
) -> Imported:
    """Leave the text of the files below ``folder`` as ``out/corpus.jsonl``, whole or not at all, in the order
    of their paths. ``size`` and ``overlap`` of passages are in characters, the overlap below the size;
    ``encoding`` is that of text files that are not UTF-8 and do not say what they are.

    An ``_id`` is made of title and text alone, so that it stays when other files come, go or move.

    Raises:
        UserError: the libraries are missing, there is a corpus already, no file gives text, or
            ``out`` cannot be written.
    """
    reading.require()
    told = Imported(out / "corpus.jsonl")
    with writing(told.corpus):
        _refuse_old(told.corpus)
        made = not out.exists()
    root = folder.resolve()
    files = _find(root, out.resolve(), told.left_out)
    if not files:
        example = f", the first left out {_line(told.left_out[0])}" if told.left_out else ""
        what = f"no file in it that is read ({', '.join(reading.KINDS)}){example}"
        raise UserError(what, where=folder)
    with track("files", len(files)) as advance:
        rows = _rows(root, files, _Splitter(size, overlap), encoding, told, advance)
        if (first := next(rows, None)) is None:
            example = next(
                _line(note) for note in told.left_out if note.path == _shown(files[0], root)
            )
            what = f"no text in its {len(files)} file{'s'[: len(files) > 1]}, the first {example}"
            raise UserError(what, where=folder)
        try:
            with (
                writing(told.corpus, full="free some, or write elsewhere"),
                atomic_path(told.corpus) as temporary,
            ):
                beir.write_lines(temporary, chain([first], rows))
                _refuse_old(told.corpus)  # that came while files were read
        except BaseException:
            with suppress(OSError):
                if made:
                    out.rmdir()
            raise
    return told


def _refuse_old(corpus: Path) -> None:
    """
    Raises:
        UserError: there is one.
    """
    if corpus.exists() or corpus.is_symlink():
        mend = "remove it, or choose another --out"
        raise UserError("exists already", where=corpus, mend=mend)


def _line(note: Note) -> str:
    return f"{note.path}: {note.why}"


def _find(root: Path, out: Path, left_out: list[Note]) -> list[Path]:
    """The files below ``root`` that are to be read, in the order of their paths; what else is there,
    but for ``out``, is told. Links are not followed: they lead out of the directory, or to what is
    read anyway."""
    files: list[Path] = []
    pending = [root]
    while pending:
        place = pending.pop()
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            left_out.append(Note(_shown(place, root), f"cannot be read: {error.strerror}"))
            continue
        for entry in entries:
            path = Path(entry.path)
            if why := _passed_over(entry):
                left_out.append(Note(_shown(path, root), why))
            elif not entry.is_dir(follow_symlinks=False):
                files.append(path)
            elif path != out:
                pending.append(path)
    left_out.sort()
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def _passed_over(entry: "os.DirEntry[str]") -> str:
    """Why something in a directory is not read; "" where it is."""
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_symlink():
        return "a link, which is not followed"
    if entry.is_dir(follow_symlinks=False):
        return ""
    if not entry.is_file(follow_symlinks=False):
        return "no regular file"
    suffix = Path(entry.name).suffix.lower()
    return "" if suffix in reading.KINDS else f"{suffix or 'a file without ending'} is not read"


def _shown(path: Path, root: Path) -> str:
    """``path`` in the directory, as text: a name may hold bytes that are no UTF-8."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "replace")


def _rows(
    root: Path,
    files: Sequence[Path],
    splitter: "_Splitter",
    encoding: str | None,
    told: Imported,
    advance: Advance,
) -> Iterator[dict[str, str]]:
    """The lines of the corpus, each ``_id`` once; ``told`` is kept as files are read."""
    seen: set[str] = set()
    for path in files:
        name = _shown(path, root)
        try:
            content = reading.read(path, encoding)
        except reading.Unread as why:
            told.left_out.append(Note(name, str(why)))
        else:
            before = told.documents + told.repeated
            for section in content.sections:
                for offset, text in splitter.split(section):
                    identifier = _identifier(section.title, text)
                    if identifier in seen:
                        told.repeated += 1
                        continue
                    seen.add(identifier)
                    told.documents += 1
                    row = {"_id": identifier, "title": section.title, "text": text}
                    yield row | {"path": name, "place": section.place(offset)}
            if told.documents + told.repeated == before:
                told.left_out.append(Note(name, "neither letters nor digits in it"))
            else:
                told.files[path.suffix.lower()] += 1
                told.in_part += [Note(name, content.lacks)] if content.lacks else []
        advance(1, 0)


def _identifier(title: str, text: str) -> str:
    """The last heading for those who read it, and a digest of all."""
    digest = hashlib.sha256(json.dumps([title, text]).encode()).hexdigest()[:16]
    words = re.sub(r"\W+", "-", title.rpartition(" > ")[2].lower())[:40].strip("-")
    return f"{words}-{digest}" if words else digest


class _Splitter:
    """Splits sections into passages."""

    def __init__(self, size: int, overlap: int) -> None:
        from semantic_text_splitter import MarkdownSplitter, TextSplitter

        self._marked = MarkdownSplitter(size, overlap=overlap)
        self._plain = TextSplitter(size, overlap=overlap)
        self._at_once = max(_AT_ONCE, 16 * size)

    def split(self, section: reading.Section) -> Iterator[tuple[int, str]]:
        """Its passages, each behind where it begins; what has neither letter nor digit is none."""
        splitter = self._marked if section.markup else self._plain
        for begin, piece in _pieces(section.text, self._at_once):
            for offset, text in splitter.chunk_indices(piece):
                if any(map(str.isalnum, text)):
                    yield begin + offset, text


def _pieces(text: str, longest: int) -> Iterator[tuple[int, str]]:
    """``text`` in pieces that end with a paragraph, a line or a word if they can, each behind where it begins."""
    begin = 0
    while len(text) - begin > longest:
        half, full = begin + longest // 2, begin + longest
        ends = (text.rfind(mark, half, full) for mark in ("\n\n", "\n", " "))
        end = next((place for place in ends if place >= 0), full)
        yield begin, text[begin:end]
        begin = end
    yield begin, text[begin:]
