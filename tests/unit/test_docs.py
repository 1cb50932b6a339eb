"""The pages are right: their files, commands and output are real."""

import doctest
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    "docs/write-a-plugin.md",
    "docs/my-own-data.md",
    "docs/air-gapped.md",
    "docs/what-is-kept.md",
    "docs/cost.md",
    "docs/watch.md",
]
RAGDISTILL = [sys.executable, "-c", "from ragdistill.cli import main; main(prog_name='ragdistill')"]
_FENCE = re.compile(
    r"^```(\w+)(?: title=\"([^\"]+)\")?( append)?\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    language: str
    title: str
    append: bool
    text: str


class Reader:
    """Somebody who does what a page says, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = os.pathsep.join([str(folder), *filter(None, sys.path)])
        known = {"PYTHONPATH": paths, "RAGDISTILL_HOME": str(folder / ".home"), "COLUMNS": "100"}
        self.environment = os.environ | known | {"OMP_NUM_THREADS": "1"}
        self.environment.pop("RAGDISTILL_PLUGINS", None)

    def follow(self, block: Block) -> None:
        if block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a" if block.append else "w", encoding="utf-8") as stream:
                stream.write("\n\n" * block.append + block.text)
        elif block.language == "python":
            exec(compile(block.text, "a page", "exec"), {})  # noqa: S102  our own page
        elif block.language == "console":
            for command, expected in transcript(block.text):
                self.type(command, expected)
        else:
            pytest.fail(f"a {block.language} block without a title is checked by nobody")

    def type(self, command: str, expected: str) -> None:
        words = shlex.split(command)
        if words[:2] == ["pip", "install"]:
            self.install()
            return
        assert words[0] == "ragdistill", command
        done = subprocess.run(
            [*RAGDISTILL, *words[1:]],
            check=False,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        shown = done.stdout if done.returncode == 0 else done.stderr
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(expected, shown, flags), (
            f"$ {command}\n{done.stdout}{done.stderr}\n--- the page says\n{expected}"
        )

    def install(self) -> None:
        """As an editable installation looks to Python: the folder on its path, and metadata."""
        project = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]
        name, version = project["name"], project["version"]
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        rows = [
            f"{key} = {value}\n" for key, value in project["entry-points"]["ragdistill"].items()
        ]
        (info / "entry_points.txt").write_text("[ragdistill]\n" + "".join(rows))


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [
        Block(language, title, bool(append), body)
        for language, title, append, body in _FENCE.findall(text)
    ]
    assert len(found) * 2 == len(re.findall("^```", text, re.MULTILINE)), (
        "a fence this test cannot read"
    )
    return found


def transcript(text: str) -> Iterator[tuple[str, str]]:
    """``$ command`` lines, each with the output that follows it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for block in blocks(ROOT / page):
        reader.follow(block)
