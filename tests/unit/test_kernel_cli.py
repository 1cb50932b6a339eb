"""The command line: exit statuses, what goes where, and what is left behind."""

import dataclasses
import errno
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from kernel_helpers import Fake, FakeConfig, files_under, fresh_cli
from ragdistill import UserError
from ragdistill.cli import PluginGroup, main
from ragdistill.cli.component import exit_status

Command = Callable[..., Result]


@pytest.fixture
def cli() -> Iterator[PluginGroup]:
    with fresh_cli() as made:
        yield made


@pytest.fixture
def command(cli: PluginGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``ragdistill fake --out RUN ...`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGDISTILL_HOME", str(tmp_path / "home"))

    def invoke(*args: str) -> Result:
        return CliRunner().invoke(cli, ["fake", "--out", "run", *args])

    return invoke


def one_line(result: Result) -> str:
    """The error that a person sees: one line, no traceback, nothing on stdout."""
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: ")
    return line


def test_an_unknown_command_suggests_the_nearest(cli: PluginGroup) -> None:
    result = CliRunner().invoke(cli, ["embeder"])
    assert result.exit_code == 2
    assert one_line(result) == (
        "Error: ragdistill: No such command 'embeder', did you mean 'embedder'?; "
        "see ragdistill --help"
    )


def test_verbs_and_components_are_listed_apart(cli: PluginGroup) -> None:
    components, _, verbs = CliRunner().invoke(cli, ["--help"]).output.partition("Verbs:")
    assert re.search("^  embedder +Distil a sentence embedder.$", components, re.MULTILINE)
    assert "pydocs" not in components
    assert set(re.findall(r"^  (\S+)", verbs, re.MULTILINE)) == {
        "data",
        "diagnose",
        "distill-all",
        "embed",
        "methods",
        "models",
        "plugins",
        "rag",
        "report",
        "signals",
    }


def test_help_shows_every_default(command: Command) -> None:
    text = " ".join(command("--help").output.split())
    assert re.search(r"--seed N Seed of everything that is drawn\. \[default: 0", text)
    assert "[default: a, b]" in text
    assert "--method" in text
    assert "[default: (the component's own)]" in text


def test_a_finished_run_exits_with_0_and_leaves_its_report(
    command: Command, tmp_path: Path
) -> None:
    result = command()
    assert result.exit_code == 0, result.output
    assert re.search(r"EM +1\.0000 +0\.5000", result.stdout)
    assert "collect (fake/plain)" in result.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["stages"]["collect"]["items"] == 3
    assert report["stages"]["collect"]["tokens"] is None
    assert (tmp_path / "run" / "report.html").exists()


def test_the_same_command_again_does_nothing_twice(command: Command) -> None:
    first = command("--json")
    assert Fake.calls == ["collect", "train", "evaluate", "export"]
    second = command("--json")
    assert len(Fake.calls) == 4
    assert first.stdout == second.stdout


def test_json_prints_report_json_and_nothing_else(command: Command, tmp_path: Path) -> None:
    result = command("--json")
    assert json.loads(result.stdout) == json.loads((tmp_path / "run" / "report.json").read_text())
    assert "collect" in result.stderr


@pytest.mark.parametrize(("decision", "status"), [("go", 0), ("no-go", 3), ("inconclusive", 4)])
def test_with_a_gate_the_exit_status_is_the_verdict(
    command: Command, decision: str, status: int
) -> None:
    Fake.verdict = {"decision": decision, "margin": 0.0, "reason": "because"}
    assert command("--gate", "0.9").exit_code == status
    assert command("--gate", "0.9", "--json").exit_code == status
    assert command().exit_code == 0
    assert len(Fake.calls) == 4


def test_without_a_verdict_a_gate_asks_nothing() -> None:
    assert exit_status({"verdict": None}, None) == 0
    assert exit_status({"verdict": None}, 0.9) == 0


def test_an_interrupt_says_how_to_go_on(command: Command) -> None:
    Fake.trouble = {"train": KeyboardInterrupt()}
    stopped = command()
    assert stopped.exit_code == 1
    assert "the same command goes on" in stopped.stderr
    Fake.trouble, Fake.calls = {}, []
    assert command().exit_code == 0
    assert Fake.calls == ["train", "evaluate", "export"]


def test_libraries_say_no_more_than_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, loud = logging.getLogger(), logging.getLogger("loud")
    for logger in (root, loud):
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "level", logger.level)
    loud.setLevel(logging.DEBUG)  # as bm25s does when it is imported
    assert main.callback is not None
    main.callback(0)
    loud.debug("nobody asked")
    loud.warning("look")
    assert capsys.readouterr().err == "WARNING loud: look\n"


def test_a_dry_run_writes_nothing(command: Command, tmp_path: Path) -> None:
    result = command("--dry-run")
    assert result.exit_code == 0
    assert result.stdout.startswith("1. ask T\n2. teach S\n")
    assert "unknown" in result.stdout
    assert re.search(r"^ +texts: 3$", result.stdout, re.MULTILINE)
    told = json.loads(command("--dry-run", "--json").stdout)
    assert told["plan"]["items"] == 3
    assert told["plan"]["tokens"] is None
    assert list(tmp_path.iterdir()) == []
    assert Fake.calls == []


USAGE: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown stage": (("--stages", "trian"), "did you mean 'train'"),
    "unknown method": (("--method", "plane"), "no method 'plane', did you mean 'plain'"),
    "another component's method": (("--method", "embedder/regression"), "no method"),
    "no such option": (("--sed", "1"), "No such option"),
    "not a number": (("--seed", "x"), "'x' is not a valid"),
    "out of range": (("--gate", "2"), "--gate: 2.0 is not usable"),
    "no such config": (("--config", "none.yaml"), "none.yaml: cannot be read"),
    "no such device": (("--device", "tpu"), "'tpu' is not one of"),
}


@pytest.mark.parametrize(("args", "said"), USAGE.values(), ids=USAGE.keys())
def test_bad_usage_exits_with_2_and_leaves_nothing(
    args: tuple[str, ...], said: str, command: Command, tmp_path: Path
) -> None:
    result = command(*args)
    assert result.exit_code == 2
    assert said in one_line(result)
    assert list(tmp_path.iterdir()) == []


def test_bad_input_leaves_nothing_behind(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inputs(self: Fake) -> dict[str, str]:
        raise UserError("is empty", where="corpus.jsonl")

    monkeypatch.setattr(Fake, "inputs", inputs)
    result = command()
    assert (result.exit_code, one_line(result)) == (2, "Error: corpus.jsonl: is empty")
    assert list(tmp_path.iterdir()) == []


def test_another_folders_content_is_left_as_it_is(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    assert command().exit_code == 2
    assert files_under(tmp_path) == {"run/thesis.tex": b"years of work"}


def test_an_unexpected_failure_exits_with_1_and_is_resumed(command: Command) -> None:
    Fake.trouble["train"] = RuntimeError("diverged")
    assert command().exit_code == 1
    Fake.trouble.clear()
    Fake.calls.clear()
    assert command().exit_code == 0
    assert Fake.calls == ["train", "evaluate", "export"]


def test_a_full_disk_in_a_stage_is_one_line_even_if_the_manifest_does_not_fit(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "run/vectors")
    Fake.trouble["train"] = full
    monkeypatch.setattr("ragdistill.run.Run.fail", lambda *args: files_full())
    result = command()
    assert result.exit_code == 2
    assert one_line(result).startswith("Error: run: no space left on the disk")


@pytest.mark.parametrize("place", ["ragdistill.run.write_json", "ragdistill.cli.runs.write_json"])
def test_a_disk_too_full_for_manifest_or_report_is_one_line(
    place: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(place, lambda *args: files_full())
        result = command()
    assert result.exit_code == 2
    assert "no space left on the disk" in one_line(result)
    assert command().exit_code == 0


def files_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_run_folder_that_is_a_file_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    assert command().exit_code == 2


def test_a_run_is_repeated_from_its_saved_config(command: Command, tmp_path: Path) -> None:
    command("--width", "9", "--layers", "x, y", "--seed", "3")
    config = str(tmp_path / "run" / "config.yaml")
    result = command("--config", config, "--out", "again", "--seed", "4")
    assert result.exit_code == 0, result.output
    repeated = json.loads((tmp_path / "again" / "run.json").read_text())["config"]
    assert (repeated["width"], repeated["layers"], repeated["seed"]) == (9, ["x", "y"], 4)


def test_every_field_of_the_config_is_an_option(cli: PluginGroup) -> None:
    found = cli.get_command(click.Context(cli), "fake")
    assert found is not None
    names = {parameter.name for parameter in found.params}
    assert names >= {field.name for field in dataclasses.fields(FakeConfig)}


def test_the_default_folder_names_component_teacher_and_data(
    command: Command, cli: PluginGroup, tmp_path: Path
) -> None:
    args: list[Any] = ["fake", "--teacher", "openai:big", "--data", "./my/docs.jsonl"]
    assert CliRunner().invoke(cli, args).exit_code == 0
    assert (tmp_path / "runs" / "fake-openai-big-docs" / "run.json").exists()
