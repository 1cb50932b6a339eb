"""``ragdistill embed``: texts in, vectors out, by the fastest export of a finished run."""

import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import click

from ragdistill.errors import UserError

_ROLES = {"passage": "document", "document": "document", "query": "query"}


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--role",
    type=click.Choice(list(_ROLES)),
    default="passage",
    show_default=True,
    help="Which of the model's prompts goes before each text.",
)
@click.option(
    "--system",
    metavar="NAME",
    help="Export to run, as report.json names it.  [default: the fastest that passed its gate]",
)
@click.option(
    "--dims", type=click.IntRange(min=1), metavar="N", help="Cut the vectors after N dimensions."
)
def embed(run: Path, role: str, system: str | None, dims: int | None) -> None:
    """Embed the texts on standard input, write a NumPy array to standard output.

    One JSON object a line, with "text" and, if there is one, "title": the lines of a corpus.jsonl.
    Line n gives row n, a float32 vector of length 1.

    \b
        ragdistill embed runs/demo < texts.jsonl > vectors.npy
    """
    if sys.stdout.isatty():
        raise UserError(
            "vectors are not for a terminal",
            where="standard output",
            mend="write them to a file: > vectors.npy",
        )
    folder = run / "export" / _chosen(run, system, role)
    import numpy as np

    from ragdistill.export.static import load_embedder

    model = load_embedder(folder)
    if dims is not None and dims > model.record.dimensions:
        raise UserError(
            f"{dims} dimensions of vectors that have {model.record.dimensions}",
            where="--dims",
            mend=f"give up to {model.record.dimensions}, or leave it out",
        )
    texts = list(_texts(sys.stdin.buffer))
    if not texts:
        raise UserError("holds no text", where="standard input", mend="give a JSON object a line")
    prompt = model.record.prompts.get(_ROLES[role], "")
    vectors = model.encode(texts, prompt=prompt)[:, :dims]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    whole = io.BytesIO()  # NumPy asks a file where it is, and a pipe cannot say
    np.save(whole, np.ascontiguousarray(vectors), allow_pickle=False)
    sys.stdout.buffer.write(whole.getbuffer())


def _chosen(run: Path, system: str | None, role: str) -> str:
    """The export that is to run, said on stderr where it was not named.

    Raises:
        UserError: there is no such export, or the student is not for texts of this ``role``.
    """
    from ragdistill.report.schema import read

    report = read(run)
    if report.get("asymmetric") and role != "query":
        raise UserError(
            "holds a student for queries alone (--asymmetric): documents are the teacher's",
            where=run,
            mend="embed queries, with --role query",
        )
    served = [name for name in report["exports"] if name in report["speed"]]
    if system is not None and system not in served:
        raise UserError(
            f"no export {system!r}", where="--system", mend=f"choose from {', '.join(served)}"
        )
    found = system or _fastest(run, report)
    if system is None:
        click.echo(f"by {run / 'export' / found}", err=True)
    return found


def _fastest(run: Path, report: Mapping[str, Any]) -> str:
    from ragdistill.report.exports import fastest

    found = fastest(report)
    if found is None:
        raise UserError(
            "has no export that passed its gate",
            where=run,
            mend="run its export stage, or name one with --system",
        )
    return found


def _texts(stream: BinaryIO) -> Iterator[str]:
    from ragdistill.data.collection import Document
    from ragdistill.data.lines import objects_of

    for row in objects_of(stream, "standard input", _refuse):
        text, title = row.values.get("text"), row.values.get("title") or ""
        if not isinstance(text, str) or not isinstance(title, str):
            raise UserError(
                'has no string "text"', where=row.where, mend='write {"text": "..."} on each line'
            )
        yield Document(id="", text=text, title=title).content


def _refuse(fault: UserError) -> None:
    raise fault
