"""The ``ragdistill`` command: its subcommands are the small verbs, and the plugins."""

import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

# Under another name: importing the verb ragdistill.cli.plugins sets `plugins` in this package.
from ragdistill import plugins as seam
from ragdistill.errors import UserError, nearest

_VERBS = {
    "data": "Import, list, show and check data sets.",
    "diagnose": "Say what is wrong with a run, and what to change.",
    "distill-all": "Distil every part of a stack, and compare.",
    "embed": "Embed texts with a finished run's fastest export.",
    "methods": "List every installed distillation method.",
    "models": "List, show, fetch and verify models.",
    "plugins": "List the installed plugins.",
    "rag": "Compare a distilled stack with its teacher's.",
    "report": "Show a finished run's report.",
    "signals": "List, verify, prune and export stored teacher signals.",
}
"""Small verbs of the kernel, each ``ragdistill.cli.<verb>:<verb>``, and their line in the help:
written here so that ``--help`` imports none of them."""


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Say what is wrong with a command line as everything else that a person can mend is said."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "ragdistill"
        what = error.format_message().rstrip(".")
        raise UserError(what, where=command, mend=f"see {command} --help") from error


class PluginGroup(click.Group):
    """A group whose commands come from plugins: naming one loads that plugin only, and a
    plugin that fails to load spoils its own line of the help, not the whole command."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pm = seam.plugin_manager()
        self.pm.hook.ragdistill_commands.call_historic(kwargs={"cli": self})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *seam.declared(), *_VERBS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _VERBS:
            name = cmd_name.replace("-", "_")
            verb: click.Command = getattr(importlib.import_module(f"ragdistill.cli.{name}"), name)
            return verb
        if (entry_point := seam.declared().get(cmd_name)) is not None:
            try:
                seam.load(self.pm, entry_point)
            except seam.PluginError as error:
                return _stand_in(cmd_name, error)
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, with errors in one line."""
        with _in_one_line():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, with errors in one line."""
        with _in_one_line():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest name added to "No such command"."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            known = [name for name in self.list_commands(ctx) if self.get_command(ctx, name)]
            hint = nearest(args[0], known)
            raise click.UsageError(f"{error.message.rstrip('.')}{hint}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Components first, then the small verbs, whose modules are not imported for it."""
        components = []
        for name in self.list_commands(ctx):
            if name in _VERBS or (command := self.get_command(ctx, name)) is None:
                continue
            components.append((name, command.get_short_help_str(formatter.width)))
        for title, rows in (("Components", components), ("Verbs", sorted(_VERBS.items()))):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _stand_in(name: str, error: seam.PluginError) -> click.Command:
    """The command of a plugin that failed to load: it says so."""

    def fail() -> None:
        raise error

    return click.Command(
        name,
        callback=fail,
        short_help=f"(failed to load: {error.__cause__})",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ragdistill")
@click.option("-v", "--verbose", count=True, help="Say more on stderr (twice: everything).")
def main(verbose: int) -> None:
    """Distil the components of a RAG pipeline into smaller ones, and prove what is left.

    \b
    Environment:
      RAGDISTILL_HOME     where fetched models and teacher signals are kept
      RAGDISTILL_PLUGINS  comma-separated plugins to allow (unset: all)
      RAGDISTILL_TRACE    1 writes every hook call to stderr
    """
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)]
    # The handler, too: a library that sets the level of its own logger would pass the root's.
    told = logging.StreamHandler()
    told.setLevel(level)
    form = "%(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=level, format=form, handlers=[told])
    # A progress bar belongs to this command, not to the libraries under it.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # What takes long is told by our own bars; those of libraries tell of loading weights.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", ["error", "warning", "info"][min(verbose, 2)])
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # The only network is what the user named: no counters, no news of new versions.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
