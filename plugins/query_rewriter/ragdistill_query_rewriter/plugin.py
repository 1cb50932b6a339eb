"""What ``ragdistill`` needs to know of the query rewriter; torch stays out of here."""

from pathlib import Path

import click

from ragdistill import Method, Serving, hookimpl
from ragdistill.cli.component import component
from ragdistill_query_rewriter.config import RewriterConfig
from ragdistill_query_rewriter.serving_options import RewriterOptions

METHODS = [
    Method(
        name="query-rewriter/terms",
        summary="the words of a conversation that a rewrite adds to a turn, and what they do to the search",
        target="ragdistill_query_rewriter.methods:Terms",
        paper="https://arxiv.org/abs/2005.11723",
    ),
    Method(
        name="query-rewriter/sequence",
        summary="expansions that a teacher wrote and that find judged documents better",
        target="ragdistill_query_rewriter.methods:Sequence",
        paper="https://arxiv.org/abs/1606.07947",
    ),
]


def usual_method(config: RewriterConfig) -> str:
    """The method of a task."""
    return "sequence" if config.task == "expand" else "terms"


@hookimpl
def ragdistill_methods() -> list[Method]:
    """What can be learnt of who rewrites queries."""
    return METHODS


@hookimpl
def ragdistill_models() -> list[Path]:
    """The aliases of query rewriters."""
    return [Path(__file__).with_name("models.toml")]


@hookimpl
def ragdistill_serving() -> list[Serving]:
    """Query rewriters: students, exports, and language models by their names."""
    opens = "ragdistill_query_rewriter.serving:open_rewriter"
    distils = "ragdistill_query_rewriter.in_stack:distils"
    return [
        Serving("rewriter", "query-rewriter", opens, RewriterOptions, models=True, distils=distils)
    ]


@hookimpl
def ragdistill_commands(cli: click.Group) -> None:
    """``ragdistill query-rewriter``."""
    cli.add_command(
        component(
            "query-rewriter",
            RewriterConfig,
            method=usual_method,
            help="Distil a query rewriter.\n\nThe student learns to make a turn of a conversation stand by "
            "itself, from the rewrites of humans or of a language model, and from what words do to the "
            "search; or, with --task expand, to give a query words and variants that find more. Finished "
            "stages are not done twice.",
        )
    )
