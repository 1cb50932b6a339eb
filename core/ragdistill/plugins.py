"""Finding plugins by their entry points, and loading no more of them than asked for."""

import functools
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click
import pluggy

from ragdistill import hookspecs
from ragdistill.distiller import Method
from ragdistill.errors import UserError, nearest

GROUP = "ragdistill"


class PluginError(click.ClickException):
    """A plugin could not be loaded; on the command line, one line and exit status 1."""


@functools.cache
def plugin_manager() -> pluggy.PluginManager:
    """The manager of this process: it knows the hooks, and no plugin until one is loaded.

    ``RAGDISTILL_TRACE=1`` writes every hook call to stderr.
    """
    return new_manager()


def new_manager() -> pluggy.PluginManager:
    """A manager of its own, for tests and for programs that embed ragdistill."""
    pm = pluggy.PluginManager(GROUP)
    pm.add_hookspecs(hookspecs)
    if os.environ.get("RAGDISTILL_TRACE", "") not in {"", "0"}:
        pm.trace.root.setwriter(sys.stderr.write)
        pm.enable_tracing()
    return pm


@functools.cache
def _scan() -> tuple[EntryPoint, ...]:
    """The entry points of every installed distribution: read once, it costs as many files."""
    return tuple(entry_points(group=GROUP))


def _allowed(installed: set[str]) -> set[str]:
    """The names that ``RAGDISTILL_PLUGINS`` lets through: unset all, empty none."""
    value = os.environ.get("RAGDISTILL_PLUGINS")
    if value is None:
        return installed
    names = {name.strip() for name in value.split(",") if name.strip()}
    for name in sorted(names - installed):
        raise UserError(
            f"no plugin is named {name!r}{nearest(name, installed)}",
            where="RAGDISTILL_PLUGINS",
            mend=f"installed: {', '.join(sorted(installed))}",
        )
    return names


def declared() -> dict[str, EntryPoint]:
    """The installed and allowed plugins by name, none of them imported.

    Raises:
        PluginError: two different plugins have one name.
        UserError: ``RAGDISTILL_PLUGINS`` names a plugin that is not installed.
    """
    found: dict[str, EntryPoint] = {}
    for ep in _scan():
        if ep.name in found and found[ep.name].value != ep.value:
            raise PluginError(
                f"two plugins are named {ep.name!r}: {found[ep.name].value} and {ep.value}; "
                "uninstall one of them"
            )
        found[ep.name] = ep
    allowed = _allowed(set(found))
    return {name: ep for name, ep in found.items() if name in allowed}


def load(pm: pluggy.PluginManager, ep: EntryPoint) -> None:
    """Import one plugin and register its hooks. Loading it twice is loading it once.

    Raises:
        PluginError: it does not import, or implements a hook that does not exist.
    """
    if pm.has_plugin(ep.name):
        return
    try:
        pm.register(ep.load(), name=ep.name)
        pm.check_pending()  # a misspelt hook name is an error, not a hook nobody calls
    except Exception as error:  # whatever a stranger's module does when it is imported
        if pm.has_plugin(ep.name):
            pm.unregister(name=ep.name)
        dist = ep.dist.name if ep.dist else "an unknown distribution"
        remedy = ""
        if isinstance(error, ModuleNotFoundError) and ep.extras:
            remedy = f"; pip install '{dist}[{','.join(ep.extras)}]'"
        raise PluginError(
            f"plugin {ep.name!r} (from {dist}) failed to load: "
            f"{type(error).__name__}: {error}{remedy}"
        ) from error


def manager() -> pluggy.PluginManager:
    """The process's manager with every allowed plugin loaded; broken ones warn on stderr."""
    pm = plugin_manager()
    for entry_point in declared().values():
        try:
            load(pm, entry_point)
        except PluginError as error:
            click.echo(f"warning: {error.format_message()}", err=True)
    return pm


def announced(pm: pluggy.PluginManager, hook: str) -> list[Any]:
    """All that the loaded plugins return for ``hook``, one after the other. A plugin whose hook
    raises spoils what it brings, not the others: it warns on stderr."""
    found: list[Any] = []
    for implementation in getattr(pm.hook, hook).get_hookimpls():
        name = implementation.plugin_name
        pm.trace.root.get("hook")(hook, "of", name)  # pluggy traces calls through pm.hook only
        try:
            found += list(implementation.function())
        except Exception as error:  # noqa: BLE001 - whatever a stranger's hook does when called
            click.echo(f"warning: plugin {name!r}: {hook} failed: {error}", err=True)
    return found


def methods(pm: pluggy.PluginManager) -> dict[str, Method]:
    """The methods that the loaded plugins announce, by name.

    Raises:
        PluginError: two methods have one name; both addresses are named.
    """
    found: dict[str, Method] = {}
    for method in announced(pm, "ragdistill_methods"):
        if method.name in found:
            raise PluginError(
                f"two methods are named {method.name!r}: "
                f"{found[method.name].target} and {method.target}; uninstall one of them"
            )
        found[method.name] = method
    return found
