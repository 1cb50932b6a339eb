"""``ragdistill signals``: look into the teacher-signal store, check it, tidy it, copy out of it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragdistill.errors import UserError, nearest

if TYPE_CHECKING:
    from ragdistill.signals.store import SignalStore, SpaceSummary

_store = click.option(
    "--store",
    metavar="ADDRESS",
    help="Folder or fsspec address of the store.  [default: signals, in RAGDISTILL_HOME]",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


@click.group()
def signals() -> None:
    """The store of what teachers said: list, verify, prune, export."""


@signals.command("list")
@_store
@_json
def list_spaces(store: str | None, as_json: bool) -> None:
    """List what is stored: teacher, kind, records, bytes, precision."""
    spaces = _opened(store).spaces()
    if as_json:
        click.echo(json.dumps([_told(item) for item in spaces], indent=2, ensure_ascii=False))
    elif spaces:
        _print_table(spaces)
    else:
        click.echo("no signals stored yet", err=True)


@signals.command()
@_store
@_json
@click.pass_context
def verify(context: click.Context, store: str | None, as_json: bool) -> None:
    """Check every byte against its checksum; exit status 2 if anything is wrong."""
    opened = _opened(store)
    faults = opened.verify()
    if as_json:
        told = [{"where": fault.where, "what": fault.what} for fault in faults]
        click.echo(json.dumps({"faults": told}, indent=2, ensure_ascii=False))
    else:
        for fault in faults:
            click.echo(f"{fault.where}: {fault.what}")
        click.echo(_verdict(opened, len(faults)))
    context.exit(2 if faults else 0)


@signals.command()
@_store
@click.option("--teacher", metavar="NAME", help="Remove all that this teacher said.")
@click.option("--space", "space_id", metavar="ID", help="Remove one space (its id, or its start).")
@click.option("--damaged", is_flag=True, help="Remove the damaged shards that were set aside.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
def prune(
    store: str | None,
    teacher: str | None,
    space_id: str | None,
    damaged: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove signals for good."""
    if (teacher is not None) + (space_id is not None) + damaged != 1:
        raise UserError("say what to remove", mend="one of --teacher, --space, --damaged")
    opened = _opened(store)
    doomed = [] if damaged else _chosen(opened, teacher, space_id)
    if damaged:
        question = "Remove all damaged shards?"
    else:
        total = sum(item.bytes for item in doomed)
        question = f"Remove {len(doomed)} space(s) of {total:,} bytes?"
    if not yes:
        click.confirm(question, abort=True, err=True)
    for item in doomed:
        opened.remove(item)
    shards = opened.remove_damaged() if damaged else 0
    removed = [item.id for item in doomed]
    told = json.dumps({"spaces": removed, "damaged_shards": shards}, indent=2)
    click.echo(told if as_json else f"removed {len(removed)} spaces, {shards} damaged shards")


@signals.command()
@click.argument("space_id", metavar="SPACE")
@click.argument("out", type=click.Path(path_type=Path))
@_store
@_json
def export(space_id: str, out: Path, store: str | None, as_json: bool) -> None:
    """Write the signals of SPACE (its id, or its start) to OUT.(parquet|safetensors|npy)."""
    from ragdistill.signals.export import export as write

    opened = _opened(store)
    space = opened.open(opened.find(space_id))
    records = write(space, out)
    told = json.dumps({"space": space.id, "path": str(out), "records": records}, indent=2)
    click.echo(told if as_json else f"{out}: {records} records")


def _opened(address: str | None) -> "SignalStore":
    from ragdistill.signals import default_address
    from ragdistill.signals.store import SignalStore

    return SignalStore(address or default_address())


def _chosen(
    store: "SignalStore", teacher: str | None, space_id: str | None
) -> list["SpaceSummary"]:
    if teacher is None:
        return [store.find(space_id or "")]
    known = {item.id: item.manifest.teachers for item in store.spaces() if item.manifest}
    found = [item for item in store.spaces() if teacher in known.get(item.id, ())]
    if not found:
        names = [name for teachers in known.values() for name in teachers]
        raise UserError(
            f"no signals of teacher {teacher!r}{nearest(teacher, names)}",
            where=store.address,
            mend="ragdistill signals list shows all",
        )
    return found


def _told(item: "SpaceSummary") -> dict[str, Any]:
    """One space as plain values; unknown is ``None``."""
    fingerprint = item.manifest.fingerprint if item.manifest else None
    return {
        "id": item.id,
        "kind": item.kind,
        "teachers": list(item.manifest.teachers) if item.manifest else None,
        "records": item.rows,
        "bytes": item.bytes,
        "dtype": fingerprint.dtype if fingerprint else None,
        "dimensions": fingerprint.dimensions if fingerprint else None,
        "journals": item.journals,
        "damaged_shards": item.damaged,
        "fault": item.fault,
        "fingerprint": fingerprint.as_json() if fingerprint else None,
    }


def _print_table(spaces: list["SpaceSummary"]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("space", "kind", "teacher", "records", "bytes", "dtype", "dimensions", "note"):
        right = title in {"records", "bytes", "dimensions"}
        table.add_column(title, justify="right" if right else "left", no_wrap=not right)
    for item in map(_told, spaces):
        names = ", ".join(item["teachers"] or ["unknown"])
        counts = [_number(item[name]) for name in ("records", "bytes")]
        kept = [item["dtype"] or "unknown", _number(item["dimensions"])]
        table.add_row(item["id"][:12], item["kind"], names, *counts, *kept, _note(item))
    console = Console(highlight=False, markup=False)
    console.print(table, soft_wrap=not console.is_terminal)


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _note(item: dict[str, Any]) -> str:
    notes = [item["fault"]] if item["fault"] else []
    if item["damaged_shards"]:
        notes.append(f"{item['damaged_shards']} damaged shards set aside")
    if item["journals"]:
        notes.append(f"{item['journals']} journals open or to be recovered")
    return "; ".join(notes)


def _verdict(store: "SignalStore", faults: int) -> str:
    spaces = store.spaces()
    aside = sum(item.damaged for item in spaces)
    told = f"{len(spaces)} spaces checked, {faults} faults"
    return f"{told}; {aside} damaged shards set aside before" if aside else told
