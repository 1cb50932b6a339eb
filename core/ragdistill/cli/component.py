"""One component's command, made from its config: what ``ragdistill embedder ...`` does.

A plugin calls :func:`component` in its ``ragdistill_commands`` hook and has every shared option,
``--config``, ``--dry-run``, ``--json``, resume and the exit statuses of the contract.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import click

from ragdistill import plugins
from ragdistill.config import RunConfig, flag, resolve
from ragdistill.distiller import Method
from ragdistill.errors import UserError, nearest

if TYPE_CHECKING:
    from ragdistill.cli.frontier import Read

EXIT_NO_GO = 3
EXIT_INCONCLUSIVE = 4


class ComponentCommand(click.Command):
    """A component's command, and the dataclass that its options are of."""

    def __init__(
        self,
        *args: Any,
        config: type[RunConfig],
        method: str | Callable[[Any], str],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.config, self._method = config, method

    def chosen(self, config: RunConfig) -> str:
        """The method that ``config`` names, or the usual one for it."""
        usual = self._method
        return config.method or (usual if isinstance(usual, str) else usual(config))


def config_of(name: str) -> type[RunConfig]:
    """The options of component ``name``.

    Raises:
        UserError: no plugin that is installed brings it.
    """
    return command_of(name).config


def command_of(name: str) -> ComponentCommand:
    """The command of component ``name``.

    Raises:
        UserError: no plugin that is installed brings it.
    """
    from ragdistill.cli import main

    command = main.get_command(click.Context(main), name)
    if not isinstance(command, ComponentCommand):
        raise UserError(
            f"no component {name!r} is installed", mend="install the plugin that brings it"
        )
    return command


def component(
    name: str,
    config: type[RunConfig],
    *,
    method: str | Callable[[Any], str],
    help: str,
    frontier: "Read | None" = None,
) -> click.Command:
    """The command ``ragdistill NAME`` of a component.

    Args:
        name: the component, as typed; its methods are named ``NAME/...``.
        config: the dataclass whose fields are its options (see ``ragdistill.config.option``).
        method: the default of ``--method``, with or without ``NAME/``; or what says it of the options.
        help: what the command's help says first.
        frontier: reads what ``--frontier`` lists as members by name, each with the options that make
            it; without it there is no such option. The Distiller then has ``judge_system``.
    """

    def run(
        config_file: Path | None,
        out: Path | None,
        stages: str | None,
        dry_run: bool,
        as_json: bool,
        sweep: tuple[str, ...],
        sweep_trials: int,
        **options: Any,
    ) -> None:
        from ragdistill.cli.running import Frontier, Request, Sweep, execute

        context = click.get_current_context()
        listed = options.pop("frontier") if frontier else None
        several = Frontier(listed, frontier) if frontier and listed is not None else None
        resolved = resolve(config, config_file, _typed(context, options))
        asked = (resolved, out, stages, Sweep(sweep, sweep_trials), several)
        chosen = choose_method(name, command.chosen(resolved))
        context.exit(execute(Request(name, chosen, *asked, dry_run=dry_run, as_json=as_json)))

    parameters = [_option(field, config) for field in dataclasses.fields(config)]
    command = ComponentCommand(
        name,
        config=config,
        method=method,
        callback=run,
        params=[*parameters, *([_FRONTIER] if frontier else []), *_run_options()],
        help=help,
        short_help=help.partition("\n")[0],
    )
    return command


def _typed(context: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given on the command line."""
    source = click.core.ParameterSource.COMMANDLINE
    return {
        key: value for key, value in options.items() if context.get_parameter_source(key) is source
    }


_FRONTIER = click.Option(
    ["--frontier"],
    help="Train each of these students, draw quality against speed, and keep the cheapest that passes "
    "the gate.",
    metavar="LIST",
)


def choose_method(component_name: str, asked: str) -> Method:
    """The method ``asked`` for, with or without its component's name before it.

    Raises:
        UserError: there is no such method; those that exist are listed.
    """
    known = {
        name: method
        for name, method in plugins.methods(plugins.manager()).items()
        if name.partition("/")[0] == component_name
    }
    full = asked if "/" in asked else f"{component_name}/{asked}"
    if full not in known:
        short = [name.partition("/")[2] for name in known]
        raise UserError(
            f"no method {asked!r}{nearest(asked, short)}",
            where="--method",
            mend=f"choose from {', '.join(sorted(short)) or 'none installed'}",
        )
    return known[full]


def _run_options() -> list[click.Parameter]:
    """The options that belong to this start of a run, not to its config."""
    folder = click.Path(file_okay=False, path_type=Path)
    file = click.Path(dir_okay=False, path_type=Path)
    return [
        click.Option(
            ["--out"],
            type=folder,
            help="Run folder; the same one again resumes.",
            show_default="runs/COMPONENT-TEACHER-DATA",
            metavar="RUN",
        ),
        click.Option(
            ["--stages"], help="Run only these of collect,train,evaluate,export.", metavar="LIST"
        ),
        click.Option(
            ["--config", "config_file"], type=file, help="YAML file of options.", metavar="FILE"
        ),
        click.Option(
            ["--sweep"],
            multiple=True,
            help="Train with each of these values, and keep the best on held-out text; again for "
            "another option (extra sweep).",
            metavar="KEY=A,B|LOW..HIGH",
        ),
        click.Option(
            ["--sweep-trials"],
            type=click.IntRange(min=1),
            default=8,
            show_default=True,
            help="How many values to try where a sweep has a range.",
            metavar="N",
        ),
        click.Option(["--dry-run"], is_flag=True, help="Say what would be done, and stop."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print report.json on stdout."),
    ]


def _option(field: "dataclasses.Field[Any]", config: type[RunConfig]) -> click.Option:
    """A dataclass field as an option of the command line. Values are checked with the config
    file's, in one place, so click sees strings and numbers only."""
    hint = typing.get_type_hints(config, include_extras=True)[field.name]
    kind, many, choices = _kind(hint)
    default = None if field.default is dataclasses.MISSING else field.default
    shown: bool | str = field.metadata.get("shown_default") or (
        default is not None and default is not False  # 0 is a default worth showing
    )
    declaration = [flag(field.name), field.name]
    if kind is bool:
        # Both ways, or the command line could not overrule a config file that says true.
        both = [f"{flag(field.name)}/--no-{flag(field.name).removeprefix('--')}"]
        return click.Option(both, default=bool(default), help=field.metadata["help"])
    return click.Option(
        declaration,
        type=click.Choice(choices) if choices else (_comma_list if many else kind),
        default=default,
        show_default=shown,
        metavar=field.metadata.get("metavar") or None,
        help=field.metadata["help"],
    )


def as_typed(config: type[RunConfig], key: str, text: str) -> Any:
    """What ``text`` means as the value of the option ``key``, typed on the command line."""
    hint = typing.get_type_hints(config, include_extras=True)[key]
    return _comma_list(text) if _kind(hint)[1] else text


def _kind(hint: Any) -> tuple[Callable[[str], Any], bool, list[str]]:
    """The plain type under a hint, whether it is a tuple of it, and its choices."""
    if get_origin(hint) is Annotated:
        return _kind(get_args(hint)[0])
    if get_origin(hint) in (typing.Union, types.UnionType):
        return _kind(next(arg for arg in get_args(hint) if arg is not type(None)))
    if get_origin(hint) is Literal:
        return str, False, list(get_args(hint))
    if get_origin(hint) is tuple:
        return str, True, []
    return hint, False, []


def _comma_list(text: str | tuple[Any, ...] | None) -> tuple[str, ...] | None:
    if text is None or isinstance(text, tuple):
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip())


def exit_status(report: Mapping[str, Any], gate: float | None) -> int:
    """0, or with a gate 3 (no-go) and 4 (inconclusive); 0 while nothing has been evaluated."""
    decision = (report.get("verdict") or {}).get("decision")
    if gate is None or decision is None or decision == "go":
        return 0
    return EXIT_NO_GO if decision == "no-go" else EXIT_INCONCLUSIVE


def plan_json(plan: Any) -> str:
    """A dry run's plan as JSON."""
    return json.dumps({"plan": dataclasses.asdict(plan)}, indent=2)
