"""``ragdistill models``: which models there are by name, where they are, whether they are sound."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

import click

from ragdistill.models import aliases as alias_tables
from ragdistill.models.aliases import Alias, Kind

_VECTOR_FACTS = ("dimensions", "query_prompt", "passage_prompt", "pooling")
_FACTS = ("parameters", "licence", "outputs_may_train")
"""Facts whose absence is told, as "unknown"; those of vectors only for models that make one."""

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


@click.group()
def models() -> None:
    """List, show, fetch and verify models."""


@models.command("list")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only models of this kind.")
@_JSON
def list_models(kind: str | None, as_json: bool) -> None:
    """List the models that have a short name."""
    known = [a for a in alias_tables.known().values() if kind in (None, a.kind)]
    if as_json:
        _print_json([asdict(alias) for alias in known])
        return
    rows: list[tuple[str, ...]] = [
        ("NAME", "KIND", "DIMENSIONS", "PARAMETERS", "LICENCE", "OUTPUTS MAY TRAIN", "FROM")
    ]
    rows += [_row(alias) for alias in known]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


@models.command()
@click.argument("name")
@_JSON
def show(name: str, as_json: bool) -> None:
    """Show all that is known of the model NAME, and where it would come from."""
    from ragdistill.models import resolve
    from ragdistill.models.licences import licence_of

    known = alias_tables.known()
    request = resolve.understand(name, known)
    alias, found = request.alias, resolve.locate(request)
    facts: dict[str, Any] = asdict(alias) if alias else {"name": request.name}
    facts["sources"] = resolve.sources(request)
    facts["path"] = str(found.path) if found else None
    licence = licence_of(alias, found.path if found else None)
    facts |= {"licence": licence.name, "outputs_may_train": licence.outputs_may_train}
    if as_json:
        _print_json(facts)
        return
    facts["path"] = facts["path"] or "not on this machine yet"
    told = (*_FACTS, *(_VECTOR_FACTS if facts.get("kind") == "embedder" else ()))
    _print_facts({key: value for key, value in facts.items() if value is not None or key in told})
    click.echo(licence.sentence())


@models.command()
@click.argument("name")
@_JSON
def fetch(name: str, as_json: bool) -> None:
    """Fetch the model NAME, unless it is on this machine already, and say where it lies."""
    from ragdistill.models.resolve import resolve

    model = resolve(name)
    facts = asdict(model) | {"path": str(model.path)}
    if as_json:
        _print_json(facts)
        return
    del facts["alias"]
    _print_facts(facts)


@models.command()
@click.argument("name")
@_JSON
def verify(name: str, as_json: bool) -> None:
    """Read the model NAME (or the folder NAME) again: unchanged, whole, every weight finite."""
    from ragdistill.models.verify import verify as verify_model

    seen = verify_model(name)
    facts = {
        "name": seen.name,
        "path": str(seen.located.path),
        "source": seen.located.source,
        "revision": seen.located.revision,
        **{f"{part}_digest": digest for part, digest in asdict(seen.digests).items()},
        "unchanged": True if seen.recorded else None,
        "finite_tensors": seen.tensors,
    }
    if as_json:
        _print_json(facts)
    else:
        _print_facts(facts)


def _row(alias: Alias) -> tuple[str, ...]:
    sources = {"Hub": alias.hub, "wheel": alias.wheel, "API": alias.api}
    return (
        alias.name,
        alias.kind,
        str(alias.dimensions or "-"),
        _short(alias.parameters),
        alias.licence or "unknown",
        alias.outputs_may_train,
        ", ".join(label for label, value in sources.items() if value),
    )


def _short(count: int | None) -> str:
    """A count of parameters as people write it: 22.7M, 8.2B."""
    if count is None:
        return "unknown"
    return f"{count / 1e9:.3g}B" if count >= 1e9 else f"{count / 1e6:.3g}M"


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_facts(facts: Mapping[str, Any]) -> None:
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        click.echo(f"{key.replace('_', ' '):<{width}}  {_text(value)}")


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
    if isinstance(value, (list, tuple)):
        return "; ".join(str(item) for item in value) or "none"
    return f"{value:,}" if isinstance(value, int) else repr(value) if value == "" else str(value)
