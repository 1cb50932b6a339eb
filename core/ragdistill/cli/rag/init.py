"""``ragdistill rag init``."""

from pathlib import Path

import click

_RUN = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--rewriter", type=_RUN, metavar="RUN", help="Run of a query rewriter.")
@click.option("--embedder", type=_RUN, metavar="RUN", required=True, help="Run of an embedder.")
@click.option("--reranker", type=_RUN, metavar="RUN", help="Run of a reranker.")
@click.option("--generator", type=_RUN, metavar="RUN", help="Run of a generator.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    metavar="DIR",
    help="Where teacher.yaml and student.yaml go.",
)
def init(out: Path, **runs: Path | None) -> None:
    """Write teacher.yaml and student.yaml from finished runs.

    A run stands for its student; RUN/export/KIND is one of its exports. The teachers are those that the
    runs learnt from.
    """
    from ragdistill.files import writing
    from ragdistill.rag.init import write_stacks
    from ragdistill.rag.serving import ROLES

    with writing(out):
        for file in write_stacks({role: run for role in ROLES if (run := runs[role])}, out):
            click.echo(file)
