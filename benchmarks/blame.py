"""Asked of the report: where the weights of one student are shuffled, it names that part, of each of the four.

``python -m benchmarks.blame DIR``: DIR is what ``make demo-cascade`` (``ragdistill distill-all``) left. Each student in
turn has the weights of every matrix put in another order, and the stack with it and the other students as they are is
compared with the teachers, a part at a time. What the parts have said already is not asked for again.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from ragdistill.rag.compare import Comparison, compare

ROLES = ("rewriter", "embedder", "reranker", "generator")


def main() -> None:
    """Print of each shuffled student which part the report names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="what distill-all left")
    parser.add_argument("--queries", type=int, default=20, help="judged ones, at most")
    parser.add_argument("--only", nargs="*", default=ROLES, choices=ROLES)
    asked = parser.parse_args()
    data = json.loads((asked.folder / "run.json").read_text("utf-8"))["config"]["data"]
    right = 0
    with tempfile.TemporaryDirectory() as scratch:
        for role in asked.only:
            stack = spoilt_stack(asked.folder, role, Path(scratch) / role)
            report = compare(
                Comparison(
                    asked.folder / "teacher.yaml",
                    stack,
                    data,
                    Path(scratch) / role / "out",
                    swaps="one-at-a-time",
                    eval_queries=asked.queries,
                    cache=asked.folder,
                )
            )
            named, said = told(report)
            right += named == role
            print(f"{role} shuffled: {named} named; {said}", flush=True)
    print(f"{right} of {len(asked.only)} named")


def spoilt_stack(folder: Path, role: str, out: Path) -> Path:
    """The students' stack with the student of ``role`` shuffled, in PyTorch."""
    out.mkdir(parents=True)
    stack = yaml.safe_load((folder / "student.yaml").read_text(encoding="utf-8"))
    for name in ROLES:
        if name != role:
            model = folder / stack[name]["model"]
            stack[name]["model"] = str(model.resolve()) if model.exists() else stack[name]["model"]
    run = out / role
    run.mkdir()
    shutil.copytree(folder / role / "student", run / "student")
    shutil.copy(folder / role / "run.json", run)
    for file in (run / "student").rglob("*.safetensors"):
        save_file(shuffled(load_file(file)), file, metadata={"format": "pt"})
    stack[role]["model"] = str(run)
    path = out / "stack.yaml"
    path.write_text(yaml.safe_dump(stack, sort_keys=False), encoding="utf-8")
    return path


def shuffled(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same numbers, those of each matrix in another order."""
    draw = torch.Generator().manual_seed(0)
    return {
        name: weight
        if weight.ndim < 2
        else weight.flatten()[torch.randperm(weight.numel(), generator=draw)].view_as(weight)
        for name, weight in weights.items()
    }


def told(report: dict[str, Any]) -> tuple[str, str]:
    """The part with the greatest certain loss on any measure, relative to the teachers', and the sentences."""
    found = report["rag"]["effects"]
    losses = [
        (effect["share"], effect["parts"][0])
        for each in found.values()
        for effect in each["main"]
        if effect["certain"] and effect["share"] is not None
    ]
    sentences = " ".join(each["sentence"] for each in found.values())
    return min(losses, default=(0.0, "nobody"))[1], sentences


if __name__ == "__main__":
    main()
