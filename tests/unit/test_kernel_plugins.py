"""The seam: finding, loading and refusing plugins."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kernel_helpers import FakePlugin, forget, fresh_cli
from ragdistill import Distiller, Method, UserError, hookimpl, plugins
from ragdistill.cli import PluginGroup

BUILT_IN = {"embedder", "reranker", "generator", "query-rewriter", "pydocs"}


@pytest.fixture
def cli() -> Iterator[PluginGroup]:
    with fresh_cli() as made:
        yield made


def install(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> None:
    """Let the scan find ``entries``, too."""
    found = (*plugins._scan(), *entries)
    monkeypatch.setattr(plugins, "_scan", lambda: found)


def module(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> EntryPoint:
    """An entry point whose module says ``text``."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return EntryPoint(name, name, plugins.GROUP)


def test_the_built_ins_are_found_by_their_entry_points() -> None:
    assert plugins.declared().keys() >= BUILT_IN


def test_naming_a_command_loads_its_plugin_only(cli: PluginGroup) -> None:
    CliRunner().invoke(cli, ["embedder", "--help"])
    assert cli.pm.has_plugin("embedder")
    assert not cli.pm.has_plugin("reranker")


def test_the_scan_of_entry_points_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    scans = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: scans.append(group) or [])
    assert plugins.declared() == plugins.declared() == {}
    assert scans == [plugins.GROUP]
    forget()


def test_a_broken_plugin_spoils_only_its_own_line(
    cli: PluginGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, EntryPoint("broken", "no_such_module", plugins.GROUP))
    help_text = CliRunner().invoke(cli, ["--help"]).output
    assert "(failed to load: No module named 'no_such_module')" in help_text
    assert "Distil a sentence embedder." in help_text
    result = CliRunner().invoke(cli, ["broken", "--anything", "x"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "plugin 'broken' (from an unknown distribution) failed to load" in result.stderr
    listed = CliRunner().invoke(cli, ["plugins"])
    assert (listed.exit_code, "no_such_module" in listed.stdout) == (0, True)


def test_a_verb_warns_of_a_broken_plugin_and_goes_on(
    cli: PluginGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, EntryPoint("broken", "no_such_module", plugins.GROUP))
    result = CliRunner().invoke(cli, ["methods"])
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: plugin 'broken'")
    assert "fake/plain" in result.stdout
    assert "embedder/" in result.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
        (
            "from ragdistill import hookimpl\n@hookimpl\ndef ragdistill_comands(cli): ...",
            "unknown hook 'ragdistill_comands'",
        ),
        (
            "from ragdistill import hookimpl\n@hookimpl\ndef ragdistill_methods(nosuch): ...",
            "nosuch",
        ),
        (
            "from ragdistill import hookimpl\n@hookimpl\ndef ragdistill_commands(cli): 1 / 0",
            "ZeroDivisionError",
        ),
    ],
    ids=["raises", "syntax", "misspelt hook", "wrong argument", "raises in its hook"],
)
def test_whatever_a_plugin_does_it_is_refused_in_one_line(
    text: str,
    said: str,
    cli: PluginGroup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry_point = module(tmp_path, "stranger", text, monkeypatch)
    with pytest.raises(plugins.PluginError) as caught:
        plugins.load(cli.pm, entry_point)
    assert said in caught.value.format_message()
    assert not cli.pm.has_plugin("stranger")


def test_loading_a_plugin_twice_is_loading_it_once(cli: PluginGroup) -> None:
    entry_point = plugins.declared()["embedder"]
    plugins.load(cli.pm, entry_point)
    plugins.load(cli.pm, entry_point)
    assert len(cli.pm.hook.ragdistill_models.get_hookimpls()) == 1


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    plain = module(tmp_path, "needy", "import no_such_package", monkeypatch)
    entry_point = EntryPoint("needy", "needy [fast]", plugins.GROUP)
    assert plain.module == entry_point.module
    vars(entry_point).update(dist=PathDistribution(info))
    with pytest.raises(plugins.PluginError, match=r"\(from stranger\).*'stranger\[fast\]'"):
        plugins.load(plugins.new_manager(), entry_point)


def test_two_plugins_may_not_share_a_name(
    cli: PluginGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(
        monkeypatch, EntryPoint("x", "one", plugins.GROUP), EntryPoint("x", "two", plugins.GROUP)
    )
    result = CliRunner().invoke(cli, ["embedder", "--help"])
    assert result.exit_code == 1
    assert result.stderr == "Error: two plugins are named 'x': one and two; uninstall one of them\n"


def test_one_plugin_installed_twice_is_one_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, plugins.declared()["embedder"])
    assert "embedder" in plugins.declared()


@pytest.mark.parametrize(
    ("value", "allowed"),
    [("", set()), ("embedder", {"embedder"}), (" pydocs ,embedder,", {"embedder", "pydocs"})],
)
def test_only_named_plugins_are_let_in(
    value: str, allowed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGDISTILL_PLUGINS", value)
    assert plugins.declared().keys() == allowed


def test_a_plugin_that_is_let_in_must_exist(
    cli: PluginGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGDISTILL_PLUGINS", "embeder")
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 2
    assert "RAGDISTILL_PLUGINS: no plugin is named 'embeder', did you mean 'embedder'?" in (
        result.stderr
    )


def test_the_trace_tells_every_hook_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugins.new_manager().hook.ragdistill_methods()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("RAGDISTILL_TRACE", "1")
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    monkeypatch.setattr(sys.stderr, "write", (said := []).append)
    plugins.new_manager().hook.ragdistill_methods()
    assert any("ragdistill_methods" in line for line in said)


def test_two_methods_may_not_share_a_name(cli: PluginGroup) -> None:
    class Twin:
        @hookimpl
        def ragdistill_methods(self) -> list[Method]:
            return [Method("fake/plain", "another", "elsewhere:Twin")]

    cli.pm.register(Twin(), "twin")
    result = CliRunner().invoke(cli, ["fake"])
    assert result.exit_code == 1
    assert "two methods are named 'fake/plain'" in result.stderr
    assert "kernel_helpers:Fake" in result.stderr
    assert "elsewhere:Twin" in result.stderr


def test_a_plugin_object_brings_its_command() -> None:
    with fresh_cli() as cli:
        assert "fake" in cli.list_commands(click.Context(cli))
        cli.pm.unregister(name="fake")
        cli.pm.register(FakePlugin(), "fake")


def test_a_method_loads_its_distiller() -> None:
    assert issubclass(Method("a/b", "", "kernel_helpers:Fake").load(), Distiller)


def test_a_method_that_is_no_distiller_is_refused() -> None:
    with pytest.raises(TypeError, match=r"kernel_helpers:METHOD is not a ragdistill\.Distiller"):
        Method("a/b", "", "kernel_helpers:METHOD").load()


def test_a_method_names_the_extra_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(tmp_path, "heavy", "import no_such_package", monkeypatch)
    with pytest.raises(UserError, match=r"'no_such_package'; pip install 'ragdistill\[ray\]'"):
        Method("a/b", "", "heavy:X", extra="ragdistill[ray]").load()
    with pytest.raises(ModuleNotFoundError):
        Method("a/b", "", "heavy:X").load()


def test_a_hook_that_raises_spoils_only_what_its_plugin_brings(
    cli: PluginGroup, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        @hookimpl
        def ragdistill_methods(self) -> list[object]:
            raise RuntimeError("not today")

    class Whole:
        @hookimpl
        def ragdistill_methods(self) -> list[str]:
            return ["mine"]

    cli.pm.register(Broken(), "broken")
    cli.pm.register(Whole(), "whole")
    assert "mine" in plugins.announced(cli.pm, "ragdistill_methods")
    assert "plugin 'broken': ragdistill_methods failed: not today" in capsys.readouterr().err
