"""Every example of docs/in-other-code.md, each library installed in an environment of its own.

``python -m benchmarks.integrations FOLDER [RUN]``: the environments are made in FOLDER and kept
there. RUN is a run folder; without it MiniLM, given prompts, teaches two of its layers some steps.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
HELPER = ROOT / "tests" / "other_code.py"
CONSTRAINTS = ROOT / "constraints.txt"
DOCUMENTS = 100


@dataclass(frozen=True)
class Place:
    """An environment, and which sections of the page are run there."""

    requirements: tuple[str, ...]
    sections: tuple[str, ...]
    named: tuple[str, ...]
    """Packages whose versions are told."""
    beside: bool = True
    """Whether ragdistill is installed there too, with what ``constraints.txt`` pins."""
    alone: tuple[str, ...] = ()
    """Packages that are installed last, without what they ask for."""


PLACES = {
    "langchain": Place(
        ("langchain-huggingface",),
        ("LangChain", "LangChain on ONNX"),
        ("langchain-huggingface", "langchain-core", "huggingface-hub"),
    ),
    "llamaindex": Place(
        ("llama-index-embeddings-huggingface",),
        ("LlamaIndex",),
        ("llama-index-embeddings-huggingface", "llama-index-core"),
    ),
    "haystack": Place(
        ("sentence-transformers-haystack",),
        ("Haystack",),
        ("sentence-transformers-haystack", "haystack-ai"),
    ),
    "optimum": Place(
        ("optimum-onnx==0.1.0", "transformers==4.57.6", "onnxruntime"),
        ("Optimum",),
        ("optimum-onnx", "optimum", "onnxruntime"),
        beside=False,
    ),
}


def install(folder: Path, place: Place) -> float | None:
    """Make the environment; its seconds, None where it was there."""
    if (folder / "complete").exists():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()
    venv.create(folder, with_pip=True)
    wanted = [*place.requirements]
    if place.beside:
        wanted += ["--constraint", str(CONSTRAINTS), str(ROOT)]
    else:  # a build of torch without CUDA, and nothing else of ours
        wanted += [line for line in CONSTRAINTS.read_text().split() if line.startswith("torch==")]
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check"]
    subprocess.run([*pip, *wanted], check=True)
    if place.alone:
        subprocess.run([*pip, "--no-deps", *place.alone], check=True)
    (folder / "complete").touch()
    return time.perf_counter() - started


def versions(folder: Path, names: tuple[str, ...]) -> str:
    """``name version`` of what is installed there."""
    paths = [str(path) for path in folder.glob("lib/python*/site-packages")]
    found = {item.metadata["Name"]: item.version for item in metadata.distributions(path=paths)}
    folded = {name.replace("_", "-").lower(): version for name, version in found.items()}
    return ", ".join(f"{name} {folded[name]}" for name in (*names, "transformers"))


def follow(python: Path | str, section: str, folder: Path) -> float:
    """Largest difference to the student's vectors of a section's example."""
    known = {"HAYSTACK_TELEMETRY_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(python), str(HELPER), section, str(folder)],
        env=os.environ | known,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    difference: float = json.loads(done.stdout.splitlines()[-1])["difference"]
    return difference


def student(folder: Path, run: Path | None) -> None:
    """``folder/runs/demo``: a link to ``run``, or a run with a teacher that has prompts."""
    demo = folder / "runs" / "demo"
    demo.parent.mkdir(parents=True, exist_ok=True)
    if run is not None:
        demo.unlink(missing_ok=True)
        demo.symlink_to(run.resolve(), target_is_directory=True)
        return
    from benchmarks.common import pydocs_documents
    from ragdistill.models.resolve import resolve

    teacher = folder / "teacher"
    shutil.copytree(resolve("MiniLM").path, teacher, dirs_exist_ok=True)
    said = teacher / "config_sentence_transformers.json"
    prompts = {"query": "query: ", "document": "passage: "}
    said.write_text(json.dumps(json.loads(said.read_text()) | {"prompts": prompts}))
    rows = [{"_id": str(n), "text": text} for n, text in enumerate(pydocs_documents(DOCUMENTS))]
    data = folder / "data" / "corpus.jsonl"
    data.parent.mkdir(exist_ok=True)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--teacher", str(teacher), "--student-layers", "2", "--data", str(data.parent)]
    words += ["--train-items", "200", "--train-tokens", "10000"]
    words += ["--out", str(demo), "--store", str(folder / "store")]
    command = [sys.executable, "-c", "from ragdistill.cli import main; main()", "embedder"]
    subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Print a line for each section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("run", type=Path, nargs="?")
    given = parser.parse_args()
    folder: Path = given.folder.resolve()
    student(folder, given.run)
    for section in ("sentence-transformers", "Shell"):
        print(f"{section}: {follow(sys.executable, section, folder):.1e}", flush=True)
    for name, place in PLACES.items():
        took = install(folder / name, place)
        installed = "" if took is None else f" (installed in {took:.0f} s)"
        print(f"{name}: {versions(folder / name, place.named)}{installed}", flush=True)
        for section in place.sections:
            difference = follow(folder / name / "bin/python", section, folder)
            print(f"{section}: {difference:.1e}", flush=True)


if __name__ == "__main__":
    main()
