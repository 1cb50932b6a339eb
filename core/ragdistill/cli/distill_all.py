"""``ragdistill distill-all``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("teacher", type=_FILE, metavar="TEACHER.yaml")
@click.option(
    "--data",
    default="pydocs",
    show_default=True,
    metavar="DATA",
    help="Text and judged queries to learn from and to measure on, as of the components.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Where the runs of all parts go; the same one again resumes.",
)
@click.option(
    "--students",
    type=_FILE,
    metavar="FILE",
    help="YAML file of the students: for each part options of its component, as "
    "embedder: {student_layers: 3}.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="PART.OPTION=VALUE",
    help="One option of one part over those of the file: generator.epochs=3.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="PART",
    help="Leave this part as the teacher's; again for more.",
)
@click.option(
    "--independent",
    is_flag=True,
    help="Distil each part apart, without what the other students find.",
)
@click.option(
    "--eval-queries",
    type=click.IntRange(min=1),
    metavar="N",
    help="Measure parts and stacks on at most N queries, drawn with the seed.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is drawn."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="Where models run.",
    show_default="as the stack says",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json of the comparison.")
def distill_all(
    teacher: Path,
    students: Path | None,
    sets: tuple[str, ...],
    keep: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Distil every part of the stack in TEACHER.yaml, each on what the students before it find, and compare.

    First the embedder, then the reranker on its candidates, the rewriter, and the generator on the contexts
    that these find. DIR has a run of each part, teacher.yaml, student.yaml and compare/.
    """
    from ragdistill.cli import cascading
    from ragdistill.cli.cascade import Asked
    from ragdistill.cli.running import show_plan
    from ragdistill.rag.students import given, role_of

    kept = frozenset(role_of(part, "--keep") for part in keep)
    wish = Asked(stack=teacher, given=given(students, sets), keep=kept, **asked)
    if dry_run:
        show_plan(cascading.planned(wish), as_json=as_json)
        return
    reports, compared = cascading.run(wish)
    if as_json:
        click.echo(json.dumps(compared, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(wish.out, reports, compared)


def _show(
    folder: Path, reports: Mapping[Any, Mapping[str, Any]], compared: Mapping[str, Any]
) -> None:
    from rich.console import Console

    from ragdistill.report import terminal

    terminal.render(compared, Console())
    for role, report in reports.items():
        click.echo(f"{role}: {terminal.in_a_line(report)}; {folder / role / 'report.html'}")
    for name in ("teacher.yaml", "student.yaml", "compare/report.json"):
        click.echo(folder / name)
