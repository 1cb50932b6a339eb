"""Runs one example of docs/in-other-code.md, and says how far its vectors are from the student's.

``python other_code.py SECTION FOLDER``: FOLDER has the run ``runs/demo`` and, but for the first
section, which writes it, ``expected.json``. Needs only what the example itself needs: it is run in
environments where ragdistill is not installed.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "in-other-code.md"
REFERENCE = "sentence-transformers"
NEEDS = {
    REFERENCE: ("sentence_transformers",),
    "LangChain": ("langchain_huggingface",),
    "LangChain on ONNX": ("langchain_core", "ragdistill"),
    "LlamaIndex": ("llama_index.embeddings.huggingface",),
    "Haystack": ("haystack_integrations.components.embedders.sentence_transformers",),
    "Optimum": ("optimum.onnxruntime",),
    "Shell": ("ragdistill",),
}
"""What must be importable for each section, by its heading."""


def blocks(section: str) -> list[str]:
    """The examples below a heading; ``""`` is what stands above the first."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = dict(zip(["", *parts[1::2]], parts[::2], strict=True))
    return re.findall(r"^```\w+\n(.*?)^```$", texts[section], re.MULTILINE | re.DOTALL)


def vectors(section: str) -> dict[str, list[list[float]]]:
    """``queries`` and ``documents`` as the example of ``section`` leaves them."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(blocks("")[0], names)  # noqa: S102 - our own page
    if section == "Shell":
        return _shell(names)
    exec(blocks(section)[0], names)  # noqa: S102 - our own page
    return {
        kind: [[float(value) for value in row] for row in names[kind]]
        for kind in ("queries", "documents")
    }


def _shell(names: dict[str, Any]) -> dict[str, list[list[float]]]:
    import numpy as np

    for name in ("texts", "questions"):
        lines = (json.dumps({"text": text}) + "\n" for text in names[name])
        Path(f"{name}.jsonl").write_text("".join(lines))
    for line in blocks("Shell")[0].splitlines():
        command = line.removeprefix("$ ").replace("ragdistill", _RAGDISTILL, 1)
        subprocess.run(command, shell=True, check=True)
    return {kind: np.load(f"{kind}.npy").tolist() for kind in ("queries", "documents")}


_RAGDISTILL = f"'{sys.executable}' -c 'from ragdistill.cli import main; main()'"


def furthest(found: dict[str, list[list[float]]], expected: dict[str, list[list[float]]]) -> float:
    """Largest difference of two components; of another shape is an error."""
    return max(
        abs(mine - theirs)
        for kind in ("queries", "documents")
        for rows in zip(found[kind], expected[kind], strict=True)
        for mine, theirs in zip(*rows, strict=True)
    )


def main(section: str) -> None:
    """Print the difference, or write what is expected."""
    expected = Path("expected.json")
    found = vectors(section)
    if section == REFERENCE:
        expected.write_text(json.dumps(found))
    difference = furthest(found, json.loads(expected.read_text()))
    print(json.dumps({"section": section, "difference": difference}))


if __name__ == "__main__":
    import os

    os.chdir(sys.argv[2])
    main(sys.argv[1])
