"""Writes docs/reference/: the pages that say what the code says, in its own words.

``python docs/generate.py`` writes them, ``--check`` only names those that are out of date.
"""

import ast
import inspect
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import get_args

import click

from ragdistill import hookspecs, plugins
from ragdistill.cli import main as ragdistill
from ragdistill.models.aliases import Alias, Kind, load_all

REFERENCE = Path(__file__).with_name("reference")
WIDTH = 80
"""Columns of a help text, whatever terminal this runs in."""
NOTE = "<!-- Written by docs/generate.py: change the code, not this page. -->"

ABOUT_COMMANDS = """\
What `--help` says of every command. Each option of a component is also a key of a `--config` file:
`train_items: 5000` there is `--train-items 5000` here, and the command line wins over the file.

Results go to stdout, progress and logs to stderr. `--json` prints JSON on stdout and nothing else.
"""
ABOUT_HOOKS = """\
What a plugin may implement, each function marked with `ragdistill.hookimpl`. A plugin implements
those that it needs, and may leave out arguments that it does not use.
[Write a plugin](../write-a-plugin.md) shows them at work.
"""
ABOUT_MODELS = """\
The models that have a short name, whatever its case. Any other model is named by its Hub id or its
folder. `ragdistill models show NAME` prints these facts, and whether the model is on this machine.

`?` is unknown: nothing here is guessed. *May train* says whether the licence lets a model's outputs
train another model; the conditions are in the [notes](#notes). It is information, not legal advice.
"""

KINDS: dict[Kind, str] = {
    "embedder": "Embedders",
    "cross-encoder": "Rerankers: cross-encoders",
    "late-interaction": "Rerankers: late interaction",
    "causal-lm": "Generators",
    "seq2seq": "Query rewriters",
}


def only_our_own() -> None:
    """Let the plugins of this distribution through and no others: a page is the same wherever."""
    found = entry_points(group=plugins.GROUP)
    names = [ep.name for ep in found if ep.dist is not None and ep.dist.name == "ragdistill"]
    os.environ["RAGDISTILL_PLUGINS"] = ",".join(names)


def command_line() -> str:
    """Every command's ``--help``."""
    parts = [
        "# Command line",
        NOTE,
        ABOUT_COMMANDS.rstrip(),
        _table(
            ("exit status", "meaning"),
            [
                ("0", "done; with `--gate`: go"),
                ("1", "an unexpected failure"),
                ("2", "bad usage or bad input: one line says what, where and how to mend it"),
                ("3", "no-go (only with `--gate`); `rag watch`: roll back"),
                ("4", "inconclusive (only with `--gate`)"),
            ],
        ),
    ]
    for path, text in _helps(ragdistill, "ragdistill", None):
        parts += [f"## {path}", f"```text\n{text.rstrip()}\n```"]
    return _page(parts)


def _helps(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        **command.context_settings,
    )
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            if (found := command.get_command(context, child)) is not None:
                yield from _helps(found, child, context)


def hooks() -> str:
    """Every hook: its signature, its words, and the built-ins that implement it."""
    parts = [
        "# Hooks",
        NOTE,
        ABOUT_HOOKS.rstrip(),
    ]
    manager = plugins.manager()
    for name, function in _hook_specs():
        parts += [f"## {name}", f"```python\n{_signature(function)}\n```"]
        parts.append(_markdown(inspect.getdoc(function) or ""))
        users = sorted(user.plugin_name for user in getattr(manager.hook, name).get_hookimpls())
        if users:
            parts.append(f"Implemented by the built-in {_listed(users)}.")
    return _page(parts)


def _hook_specs() -> list[tuple[str, Callable[..., object]]]:
    return [
        (name, item) for name, item in vars(hookspecs).items() if name.startswith("ragdistill_")
    ]


def _signature(function: Callable[..., object]) -> str:
    """The ``def`` line as it stands in the source, without quotes around annotations."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    result = f" -> {ast.unparse(tree.returns)}" if tree.returns else ""
    return f"def {tree.name}({ast.unparse(tree.args)}){result}".replace("'", "")


def _markdown(docstring: str) -> str:
    return docstring.replace("``", "`")


def models() -> str:
    """Every alias, by kind of model."""
    brought = plugins.manager().hook.ragdistill_models()
    known = list(load_all(Path(path) for paths in brought for path in paths).values())
    parts = [
        "# Models",
        NOTE,
        ABOUT_MODELS.rstrip(),
    ]
    for kind in get_args(Kind):
        mine = [alias for alias in known if alias.kind == kind]
        parts += [f"## {KINDS[kind]}", _facts(mine)]
        if kind == "embedder":
            parts += ["### What goes before a text", _prompts(mine)]
    parts += ["## Notes", *_notes(known)]
    parts += ["## Wheels on the package index", _wheels(known)]
    return _page(parts)


def _facts(aliases: list[Alias]) -> str:
    columns: dict[str, Callable[[Alias], str]] = {
        "name": lambda alias: ", ".join(f"`{name}`" for name in alias.names),
        "from": _origin,
        "dimensions": lambda alias: _known(alias.dimensions),
        "parameters": lambda alias: _known(alias.parameters),
        "licence": lambda alias: alias.licence or "?",
        "may train": lambda alias: alias.outputs_may_train.replace("unknown", "?"),
    }
    if not any(alias.dimensions for alias in aliases):  # these give scores or text, no vectors
        del columns["dimensions"]
    rows = [tuple(cell(alias) for cell in columns.values()) for alias in aliases]
    return _table(tuple(columns), rows)


def _origin(alias: Alias) -> str:
    revision = f"@{alias.revision}" if alias.revision else ""
    places = [f"Hub `{alias.hub}{revision}`"] if alias.hub else []
    places += ["wheel"] if alias.wheel else []
    places += ["API only"] if alias.api and not places else []
    return ", ".join(places)


def _prompts(aliases: Iterable[Alias]) -> str:
    def shown(prompt: str | None) -> str:
        return "?" if prompt is None else f"`{prompt!r}`" if prompt else "nothing"

    return _table(
        ("name", "pooling", "query", "passage"),
        [
            (f"`{a.name}`", a.pooling or "?", shown(a.query_prompt), shown(a.passage_prompt))
            for a in aliases
        ],
    )


def _notes(aliases: Iterable[Alias]) -> Iterator[str]:
    for alias in aliases:
        if alias.remote_code:
            yield f"`{alias.name}` needs its publisher's own Python code, and is refused."
        if alias.terms:
            yield f"`{alias.name}`: {alias.terms}."


def _wheels(aliases: Iterable[Alias]) -> str:
    return _table(
        ("name", "wheel", "sha256"),
        [(f"`{a.name}`", f"`{a.wheel.requirement}`", f"`{a.wheel.sha256}`")
         for a in aliases if a.wheel],
    )  # fmt: skip


def _known(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a page is out of date.")
def main(check: bool) -> None:
    """Write the pages of docs/reference/."""
    only_our_own()
    pages = {"command-line.md": command_line, "hooks.md": hooks, "models.md": models}
    stale = []
    for name, write in pages.items():
        path, text = REFERENCE / name, write()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            REFERENCE.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    for name in stale:
        state = "out of date; run python docs/generate.py" if check else "written"
        click.echo(f"docs/reference/{name}: {state}", err=check)
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
