"""``ragdistill rag``: a distilled stack against its teacher's, part by part and end to end."""

import importlib

import click

_COMMANDS = {
    "compare": "Run two stacks and every mix of their parts, and say where quality is lost.",
    "cost": "What a distilled stack saves, and when it has paid for itself.",
    "init": "Write the stack files of teachers and students from finished runs.",
    "watch": "Decide, line by line, whether a student in service may go on.",
}
"""Each ``ragdistill.cli.rag.<name>:<name>``, and its line in the help: written here so that
``--help`` imports none of them."""


class _Lazy(click.Group):
    """A group that imports the command that is named, and no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=_Lazy)
def rag() -> None:
    """A distilled RAG stack against its teacher's: quality, speed and cost."""
