"""``ragdistill data list|show|check``."""

import json
from typing import Any

import click

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")


@click.group()
def data() -> None:
    """List, show and check data sets."""


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
