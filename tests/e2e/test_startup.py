"""Help must be quick and import nothing heavy: it is what people type first, and most."""

import subprocess
import sys
import time
import tomllib
from pathlib import Path

import click
import pytest

from ragdistill.cli import main

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
BUDGET_SECONDS, SLOW = 0.3, 3
TRIES = 20

PROBE = """
import sys

asked_for = set()

class Spy:
    # Sees every import that is tried, so this test means something without torch too.
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            asked_for.add(name.partition(".")[0])

HEAVY = set(sys.argv.pop(1).split(","))
sys.meta_path.insert(0, Spy())
from ragdistill.cli import main
try:
    main(sys.argv[1:], prog_name="ragdistill")
finally:
    print("imported:", sorted(asked_for))
"""


def heavy() -> set[str]:
    """What the linter keeps out of the top of light modules, and what is slow beside it."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        rules = tomllib.load(stream)["tool"]["ruff"]["lint"]["flake8-tidy-imports"]
    return {*rules["banned-module-level-imports"], "jinja2", "rich", "tokenizers", "yaml"}


def helps() -> list[list[str]]:
    """``--help`` of every command, verb and verb's command."""
    found, context = [["--help"], ["--version"]], click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is None:
            continue
        found.append([name, "--help"])
        if isinstance(command, click.Group):
            found += [[name, verb, "--help"] for verb in command.list_commands(context)]
    return found


@pytest.mark.parametrize("args", helps(), ids=" ".join)
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    command = [sys.executable, "-c", PROBE, ",".join(heavy()), *args]
    out = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert "imported: []" in out.stdout, out.stdout + out.stderr


@pytest.mark.parametrize("args", [["--help"], ["embedder", "--help"]], ids=" ".join)
def test_help_is_quick(args: list[str]) -> None:
    """The quickest of many starts, which is what the program takes: the rest is other work. On a slow machine it may
    take as long as what it cannot do without, thrice."""
    command = [str(Path(sys.executable).with_name("ragdistill")), *args]
    needed = [sys.executable, "-c", "import click, pluggy; import importlib.metadata"]
    quickest = least = float("inf")
    for _ in range(TRIES):
        quickest, least = min(quickest, seconds(command)), min(least, seconds(needed))
        if quickest <= BUDGET_SECONDS:
            return
    assert quickest <= SLOW * least, f"{quickest:.2f} s at best, what it needs {least:.2f} s"


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return time.perf_counter() - started
