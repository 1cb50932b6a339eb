"""Directories of documents, imported, and small PDF files, written byte by byte: what a library wrote another
could read by their common faults."""

import io
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from ragdistill.data import importing
from ragdistill.data.importing import Imported

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


def pdf(*pages: str | None, title: str = "") -> bytes:
    """A PDF whose pages say these lines in Helvetica; None is a page with a picture's place and no text."""
    count = len(pages)
    kids = " ".join(f"{number} 0 R" for number in range(4, 4 + count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    objects += [
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800]"
        f" /Resources << /Font << /F1 3 0 R >> >> /Contents {4 + count + number} 0 R >>"
        for number in range(count)
    ]
    objects += [_stream(text) for text in pages]
    objects.append(f"<< /Title ({title}) >>")
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode("cp1252")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    trailer = f"<< /Size {size} /Root 1 0 R /Info {len(objects)} 0 R >>"
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n{trailer}\nstartxref\n{len(body)}\n%%EOF\n"
    return body + end.encode()


def _stream(text: str | None) -> str:
    if text is None:
        told = "q 500 0 0 700 50 50 cm Q"
    else:
        lines = " ".join(f"({line}) Tj T*" for line in text.split("\n"))
        told = f"BT /F1 12 Tf 14 TL 50 750 Td {lines} ET"
    return f"<< /Length {len(told.encode('cp1252'))} >>\nstream\n{told}\nendstream"


def encrypted(plain: bytes, password: str, path: Path) -> None:
    """Write a PDF that opens with ``password``, by AES; with "" it opens for anybody."""
    import pypdf

    writer = pypdf.PdfWriter(io.BytesIO(plain))
    writer.encrypt(password, owner_password="owner", algorithm="AES-256")
    writer.write(path)
