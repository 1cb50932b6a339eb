"""``ragdistill rag compare``."""

import json
from pathlib import Path

import click

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("teacher", type=_FILE, metavar="TEACHER.yaml")
@click.argument("student", type=_FILE, metavar="STUDENT.yaml")
@click.option(
    "--data",
    default="pydocs",
    show_default=True,
    metavar="DATA",
    help="Documents, and judged queries: a folder in BEIR's layout, a file of pairs, a built-in name.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run folder; the same one again resumes.",
    show_default="runs/rag-TEACHER-STUDENT",
)
@click.option(
    "--swaps",
    type=click.Choice(["all", "one-at-a-time"]),
    default="all",
    show_default=True,
    help="Every mix of the two stacks' parts, or those with one part of the students' alone.",
)
@click.option(
    "--eval-queries",
    type=click.IntRange(min=1),
    metavar="N",
    help="Measure on at most N queries, drawn with the seed.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is drawn."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Also put the two stacks under load, N requests at once: latency, throughput and memory.",
)
@click.option(
    "--criteria",
    type=_FILE,
    metavar="FILE",
    help="YAML file of what the students' stack has to meet; exit 3 if it does not, 4 when undecided.",
)
@click.option(
    "--criterion",
    multiple=True,
    metavar="NAME=VALUE",
    help="One criterion over those of the file: nDCG@10=0.95, p95_ms=200, saving=off; exit as with it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json on stdout.")
def compare(
    teacher: Path,
    student: Path,
    data: str,
    out: Path | None,
    swaps: str,
    eval_queries: int | None,
    seed: int,
    concurrency: int | None,
    criteria: Path | None,
    criterion: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run a stack of teachers, one of students and every mix of their parts on the same queries.

    A stack file names the parts: rewriter, embedder, bm25, reranker, generator. What a part said is kept
    below RUN by content, so that a mix costs only what is new in it, and a run that was cut off goes on.
    """
    from rich.console import Console

    from ragdistill.cli.component import exit_status
    from ragdistill.rag import compare as comparing
    from ragdistill.rag import criteria as asking
    from ragdistill.report import terminal

    folder = out or Path("runs") / f"rag-{teacher.stem}-{student.stem}"
    asked = comparing.Comparison(
        teacher,
        student,
        data,
        folder,
        comparing.SWAPS[swaps],
        eval_queries,
        seed,
        asking.read(criteria, criterion),
        concurrency=concurrency,
    )
    report = comparing.compare(asked)
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        terminal.render(report, Console())
        click.echo(f"report: {folder / 'report.html'}")
    held = criteria is not None or bool(criterion)
    click.get_current_context().exit(exit_status(report, 1.0 if held else None))
