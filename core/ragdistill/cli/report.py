"""``ragdistill report``."""

from pathlib import Path

import click

_RUN = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def report() -> None:
    """Show a finished run's report."""


@report.command()
@click.argument("run", type=_RUN)
@click.option("--json", "as_json", is_flag=True, help="Print report.json.")
def show(run: Path, as_json: bool) -> None:
    """Print the summary of the run in folder RUN."""
    from ragdistill.report import schema

    found = schema.read(run)
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from ragdistill.report import terminal

    terminal.render(found, Console())


@report.command()
@click.argument("run", type=_RUN)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the page.",
    show_default="report.html in the run folder",
)
def html(run: Path, out: Path | None) -> None:
    """Write report.html of the run in folder RUN anew, and print where."""
    from ragdistill.files import write_text, writing
    from ragdistill.report import schema
    from ragdistill.report.html import render
    from ragdistill.run import read_manifest

    target = out or run / "report.html"
    found = schema.read(run)
    page = render(found, extra=schema.extra(read_manifest(run)), folder=run)
    with writing(target):
        write_text(target, page)
    click.echo(target)
