"""``ragdistill data import|list|show|check``."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragdistill.errors import UserError, printable

if TYPE_CHECKING:
    from ragdistill.data.importing import Imported, Note

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")


@click.group()
def data() -> None:
    """Import, list, show and check data sets."""


@data.command("list")
@_JSON
def list_sets(as_json: bool) -> None:
    """List the built-in data sets."""
    from ragdistill.data.loading import builtin

    entries = builtin().values()
    if as_json:
        keys = ("name", "summary", "licence")
        _print_json([{key: getattr(entry, key) for key in keys} for entry in entries])
        return
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        click.echo(f"{entry.name:<{width}}  {entry.summary} ({entry.licence})")


@data.command("show")
@click.argument("reference", metavar="NAME|DIR|FILE")
@_JSON
def show(reference: str, as_json: bool) -> None:
    """Show what data holds: counts, splits, lengths and an example."""
    from ragdistill.data.describe import describe
    from ragdistill.data.loading import load

    description = describe(load(reference))
    if as_json:
        _print_json(description)
    else:
        _print_description(description)


@data.command("check")
@click.argument("reference", metavar="DIR|FILE|NAME")
@_JSON
@click.pass_context
def check(ctx: click.Context, reference: str, as_json: bool) -> None:
    """Check data whole: every fault with its line, and what of the evaluation leaks into training.

    The exit status is 2 where there is a fault; near-duplicates are warnings.
    """
    from ragdistill.data.describe import describe, near_duplicates
    from ragdistill.data.faults import Faults
    from ragdistill.data.loading import load

    faults = Faults()
    collection = load(reference, faults)
    found = {
        "faults": [fault.message for fault in faults.kept],
        "fault_count": faults.count,
        "near_duplicates": near_duplicates(collection),
        "summary": describe(collection),
    }
    if as_json:
        _print_json(found)
    else:
        _print_check(found)
    ctx.exit(2 if faults.count else 0)


@data.command("import")
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where corpus.jsonl goes: what --data takes.",
)
@click.option(
    "--size",
    type=click.IntRange(50, 100_000),
    default=1000,
    show_default=True,
    metavar="N",
    help="Characters of a passage, at most.",
)
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Characters of its end, at most, that the next passage of a section begins with.",
)
@click.option(
    "--encoding", metavar="NAME", help="Encoding of text files that are not UTF-8, e.g. cp1252."
)
@_JSON
def import_(
    folder: Path, out: Path, size: int, overlap: int, encoding: str | None, as_json: bool
) -> None:
    """Make a corpus of the Markdown, text, HTML and PDF files below DIR.

    They are split into passages, whose titles are the headings that they are under. What is not read is
    told. Needs the extra ragdistill[documents].
    """
    from ragdistill.data.importing import import_folder

    if overlap >= size:
        raise UserError(f"{overlap} of {size} characters", where="--overlap", mend="give fewer")
    if encoding is not None:
        _check_encoding(encoding)
    told = import_folder(folder, out, size=size, overlap=overlap, encoding=encoding)
    if as_json:
        _print_json(told.as_json())
    else:
        _print_imported(told)


def _check_encoding(name: str) -> None:
    try:
        "x".encode(name)
    except (LookupError, ValueError) as error:
        mend = "name one of Python's, for instance cp1252"
        raise UserError(f"{name!r} is no text encoding", where="--encoding", mend=mend) from error


def _print_imported(told: "Imported") -> None:
    _print_notes("left out", told.left_out)
    _print_notes("in part", told.in_part)
    if told.repeated:
        click.echo(f"left out: {told.repeated:,} passages that repeat another")
    kinds = ", ".join(f"{count:,} {ending}" for ending, count in sorted(told.files.items()))
    files = told.files.total()
    corpus = printable(str(told.corpus))
    click.echo(f"{corpus}: {told.documents:,} documents from {files:,} files ({kinds})")


def _print_notes(label: str, notes: "Iterable[Note]") -> None:
    """A line for each reason, with the first that it holds for."""
    paths: dict[str, list[str]] = defaultdict(list)
    for note in notes:
        paths[note.why].append(note.path)
    for why, named in paths.items():
        more = f" and {len(named) - 3:,} more" if len(named) > 3 else ""
        click.echo(printable(f"{label}: {', '.join(named[:3])}{more}: {why}"))


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def _print_check(found: dict[str, Any]) -> None:
    for fault in found["faults"]:
        click.echo(f"fault: {fault}")
    if (more := found["fault_count"] - len(found["faults"])) > 0:
        click.echo(f"and {more:,} more")
    summary = found["summary"]
    if repeated := summary["duplicate_documents"]:
        click.echo(f"warning: {repeated:,} documents repeat the content of another")
    for split, audits in found["near_duplicates"].items():
        for what, audit in audits.items():
            if audit["count"]:
                _print_audit(split, what, audit)
    counts = f"{summary['documents']:,} documents, {summary['queries']:,} queries"
    splits = ", ".join(
        f"{split}: {rows['judged_queries']:,} judged" for split, rows in summary["splits"].items()
    )
    verdict = f"{found['fault_count']:,} faults" if found["fault_count"] else "no fault"
    click.echo(f"{verdict}: {counts}{f' ({splits})' if splits else ''}")


def _print_audit(split: str, what: str, audit: dict[str, Any]) -> None:
    click.echo(
        f"warning: {audit['count']:,} {what} of {split!r} ({audit['share']:.1%}) nearly repeat"
        f" some of 'train' (Jaccard >= {audit['threshold']})"
    )
    for example in audit["examples"][:3]:
        click.echo(f"  {example['jaccard']:.2f}  {_line(example['evaluation'], 90)}")


def _print_description(description: dict[str, Any]) -> None:
    def row(label: str, value: str) -> None:
        click.echo(f"{label:<10} {value}")

    row("name", f"{description['name']} (digest {description['digest'][:12]})")
    for what in ("documents", "queries"):
        lengths = description["words"][what]
        words = ""
        if lengths:
            words = ", words: median {median:,}, 95 % up to {p95:,}, longest {longest:,}".format(
                **lengths
            )
        row(what, f"{description[what]:,}{words}")
    for label in ("answers", "context", "rewrite"):
        if count := description[f"with_{label}"]:
            row(label, f"{count:,} queries")
    for split, rows in description["splits"].items():
        counts = "{judged_queries:,} judged queries, {relevant_pairs:,} relevant pairs"
        row("split", f"{split}: {counts.format(**rows)}")
    if example := description["example"]:
        if example["query"] is not None:
            row("query", _line(example["query"], 160))
        row("document", f"{example['document']}: {_line(example['text'], 160)}")


def _line(text: str, width: int) -> str:
    """``text`` on one line of at most ``width`` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else f"{flat[: width - 3]}..."
