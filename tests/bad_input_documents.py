"""Rows of tests/unit/test_bad_input.py: directories of documents."""

import errno
from pathlib import Path

from bad_input_scenes import Scene, as_is, both, no_module, no_room_for, removed, written
from bad_input_table import case
from document_helpers import pdf

IMPORT = "data import docs --out made"
GOOD = written("docs/a.md", "# A\ntext")


def closed(scene: Scene) -> None:
    """A folder that may not be entered, not even to see whether a corpus is in it."""
    real = Path.exists

    def exists(self: Path) -> bool:
        if self.name == "corpus.jsonl":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self)

    scene.monkeypatch.setattr(Path, "exists", exists)


DOCUMENTS = [
    case("import-nothing", as_is, IMPORT, "DIR", "'docs' does not exist", "--help"),
    case("import-file", written("docs", "x"), IMPORT, "DIR", "'docs' is a file"),
    case("import-no-out", GOOD, "data import docs", "--out", "see ragdistill data import --help"),
    case("import-empty", written("docs/below/a.png", "x"), IMPORT, "docs: no file in it that is read (.md,",
         ".pdf), the first left out below/a.png: .png is not read"),
    case("import-no-text", both(written("docs/scan.pdf", pdf(None)), written("docs/b.txt", b"\xe9")), IMPORT,
         "docs: no text in its 2 files, the first b.txt: not utf-8; --encoding"),
    case("import-no-letters", written("docs/a.txt", "-- ** --"), IMPORT,
         "docs: no text in its 1 file, the first a.txt: neither letters nor digits in it"),
    case("import-scanned", written("docs/scan.pdf", pdf(None, None)), IMPORT,
         "docs: no text in its 1 file, the first scan.pdf: no text on its 2 pages: perhaps scanned"),
    case("import-again", GOOD, "data import docs --out data", "data/corpus.jsonl: exists already", "another --out"),
    case("import-overlap", GOOD, f"{IMPORT} --size 100 --overlap 100", "--overlap: 100 of 100", "give fewer"),
    case("import-size", GOOD, f"{IMPORT} --size 5", "--size", "5 is not in the range 50<=x<=100000"),
    case("import-encoding", GOOD, f"{IMPORT} --encoding cp999", "--encoding: 'cp999' is no text encoding", "cp1252"),
    case("import-codec", GOOD, f"{IMPORT} --encoding hex", "--encoding: 'hex' is no text encoding"),
    case("import-extra", both(GOOD, no_module("pypdf")), IMPORT, "data import: needs the Python package 'pypdf'",
         "pip install 'ragdistill[documents]'"),
    case("import-full", both(GOOD, no_room_for("corpus.jsonl")), IMPORT, "made/corpus.jsonl: no space left",
         "free some"),
    case("import-forbidden", both(GOOD, closed), IMPORT,
         "made/corpus.jsonl: cannot be written (Permission denied)", "another place"),
    case("import-below-a-file", both(GOOD, written("made", "x")), "data import docs --out made/it",
         "made/it/corpus.jsonl: cannot be written", "another place"),
    case("import-bare", both(removed("data/corpus.jsonl"), written("data/a.md", "x")), "data check data",
         "data: no corpus.jsonl", "ragdistill data import"),
]  # fmt: skip
