"""The examples of docs/in-other-code.md give the student's vectors, prompts and all.

Here run those whose libraries are installed; ``make integrations`` installs and runs them all.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import other_code
from ragdistill.cli import main
from ragdistill.export.runtime import OnnxEmbedder
from tiny_models import save_searched, save_tiny

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``runs/demo``, whose student has a prompt for queries and one for documents."""
    made = tmp_path_factory.mktemp("reader")
    prompts = {"query": "what is the song of ", "document": "the old queen of the sea "}
    words = ["embedder", "--teacher", str(save_tiny(made / "teacher", prompts=prompts))]
    words += ["--data", str(save_searched(made / "data", documents=40, queries=10))]
    words += ["--student-layers", "2", "--epochs", "1", "--store", str(made / "store")]
    result = CliRunner().invoke(main, [*words, "--out", str(made / "runs/demo")])
    assert result.exit_code == 0, result.output
    _follow("sentence-transformers", made)
    return made


def _follow(section: str, folder: Path) -> float:
    """How far the example's vectors are from the student's."""
    done = subprocess.run(
        [sys.executable, other_code.__file__, section, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HAYSTACK_TELEMETRY_ENABLED": "False"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    difference: float = json.loads(done.stdout.splitlines()[-1])["difference"]
    return difference


def _missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:
        return True


@pytest.mark.parametrize("section", other_code.NEEDS)
def test_an_example_gives_the_students_vectors(section: str, folder: Path) -> None:
    if missing := [name for name in other_code.NEEDS[section] if _missing(name)]:
        pytest.skip(f"{missing[0]} is not installed")
    expected = json.loads((folder / "expected.json").read_text())
    of_int8 = _int8_error(folder, expected) if section == "LangChain on ONNX" else 0.0
    assert _follow(section, folder) == pytest.approx(of_int8, abs=1e-5)


def _int8_error(folder: Path, expected: dict[str, list[list[float]]]) -> float:
    """How far the int8 export itself is from the student, queries taken one by one: its scales are
    those of a batch."""
    model = OnnxEmbedder(folder / "runs/demo/export/onnx-int8")
    names: dict[str, list[str]] = {}
    exec(other_code.blocks("")[0], names)  # noqa: S102 - our own page
    prompts = model.record.prompts
    found = {
        "queries": [
            model.encode([text], prompt=prompts["query"], normalize=True)[0].tolist()
            for text in names["questions"]
        ],
        "documents": model.encode(
            names["texts"], prompt=prompts["document"], normalize=True
        ).tolist(),
    }
    return other_code.furthest(found, expected)


def test_a_left_out_prompt_would_be_seen(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    student = SentenceTransformer(str(folder / "runs/demo/student"), device="cpu")
    names: dict[str, list[str]] = {}
    exec(other_code.blocks("")[0], names)  # noqa: S102 - our own page
    expected = json.loads((folder / "expected.json").read_text())
    for kind, texts in (("queries", "questions"), ("documents", "texts")):
        bare = student.encode(names[texts])
        assert np.abs(bare - np.array(expected[kind])).max() > 1e-2


def test_every_section_of_the_page_is_run() -> None:
    headings = [
        line.removeprefix("## ")
        for line in other_code.PAGE.read_text("utf-8").splitlines()
        if line.startswith("## ")
    ]
    assert headings == list(other_code.NEEDS)
