"""Claim: a step over lists of 32 documents takes at most half the memory that the losses of
sentence-transformers and of PyLate take, at the same loss and, to 1e-5 of the largest, the same gradients.

MiniLM with a vector of 128 dimensions a token, two queries of pydocs with lists of 32 documents, texts
cut where a student cuts them (256 tokens), no temperature (PyLate has none); three such batches, each step in a
process of its own.

``python -m benchmarks.lists [FOLDER]``: PyLate wants an older sentence-transformers, so an environment is made
for it in FOLDER and kept there, with the torch that is measured here. Without FOLDER it is left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from benchmarks.common import told
from benchmarks.integrations import Place, install, versions

_WRITE = """
import json, sys
from pathlib import Path
import torch
from benchmarks.common import pydocs_documents
from ragdistill.models.resolve import resolve
from ragdistill_reranker.colbert_checkpoint import write_colbert_checkpoint
from ragdistill_reranker.late_interaction import make_late_interaction
from ragdistill_reranker.students import LateInteraction

ways, batches, out = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
documents = pydocs_documents(2 * ways * batches)
model = make_late_interaction(resolve("MiniLM").path, 128, documents[:32], "cpu")
LateInteraction(model).save(out / "student")
write_colbert_checkpoint(model, out / "checkpoint")
for batch in range(batches):
    listed = documents[2 * ways * batch :][: 2 * ways]
    said = {
        "queries": [text[:60] for text in listed[:2]],
        "documents": listed,
        "teacher": torch.randn(2, ways, generator=torch.Generator().manual_seed(batch)).tolist(),
    }
    (out / f"batch-{batch}.json").write_text(json.dumps(said))
"""
_STEP = """
import json, resource, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from sentence_transformers.multi_vector_encoder.losses import MultiVectorDistillKLDivLoss
from ragdistill.losses import listwise_kl
from ragdistill.training.preparing import without_dropout
from ragdistill_reranker.late_interaction import token_features
from ragdistill_reranker.list_loss import list_loss
from ragdistill_reranker.students import LateInteraction

torch.set_num_threads(1)
folder, number, way, out = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
batch = json.loads((folder / f"batch-{number}.json").read_text())
documents, teacher = batch["documents"], torch.tensor(batch["teacher"])
ways = teacher.shape[1]
student = LateInteraction.load(folder / "student", "cpu")
without_dropout(student.model)
# Not the peak so far: that of loading the model would hide a part of the step's.
before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024
if way.startswith("ours"):
    inputs = student.features(batch["queries"], [documents[:ways], documents[ways:]])
    loss = list_loss(
        student.read, student.compare(ways), inputs,
        lambda scores: listwise_kl(scores, teacher), chunk_tokens=int(way.split()[1]),
    )
else:
    columns = [[documents[n], documents[ways + n]] for n in range(ways)]
    size = 8 if way == "chunked" else None
    theirs = MultiVectorDistillKLDivLoss(student.model, mini_batch_size=size)
    read = [token_features(student.model, texts, "document") for texts in columns]
    loss = theirs([token_features(student.model, batch["queries"], "query"), *read], teacher)
loss.backward()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
parameters = student.model.named_parameters()
save_file({name: one.grad for name, one in parameters if one.grad is not None}, out)
print(json.dumps({"loss": float(loss.detach()), "before": before, "peak": peak}))
"""
WAYS, BATCHES = 32, 3
OURS = ("ours 8192", "ours 1024")
"""With so many tokens held at once: the default of --chunk-tokens, which is these whole batches, for texts of like
length are read together, and a part of them."""
OTHERS = {
    "whole": "sentence-transformers' loss",
    "chunked": "sentence-transformers' loss in parts of 8",
    "pylate": "PyLate's loss",
    "left-out": "PyLate's loss, MaxSim without what does not count",
}
THERE = ("pylate", "left-out")
HELPER = Path(__file__).with_name("lists_there.py")
PYLATE = Place(
    ("sentence-transformers==5.3.0", "transformers==5.3.0", "datasets", "pandas"),
    (),
    ("pylate", "sentence-transformers", "torch"),
    beside=False,
    # One of its indexes, which no loss needs, holds torch below what is measured here.
    alone=("pylate==1.6.0",),
)
UNLIKE = (
    "PyLate has scores as they are and queries that are not filled up here (by default scores from 0 to 1 and queries of "
    "32 tokens), our markers, and documents without their punctuation, as ours. One thing cannot be chosen: its MaxSim "
    "gives tokens of documents that do not count a similarity of 0, so what is like nothing in a document scores 0, and "
    "not below."
)


@dataclass(frozen=True)
class Step:
    """What a step took, in KiB, and gave."""

    peak: int
    added: int
    loss: float
    gradients: dict[str, Tensor]
    below: str = ""
    """How many tokens of queries were like nothing in a document."""


def main() -> None:
    """Print memory, loss and gradients of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    place: Path | None = parser.parse_args().folder
    python = make(place.resolve() / "environment") if place else None
    with tempfile.TemporaryDirectory() as scratch:
        words = [str(WAYS), str(BATCHES), scratch]
        subprocess.run([sys.executable, "-c", _WRITE, *words], check=True)
        found = [steps(Path(scratch), batch, python) for batch in range(BATCHES)]
    for way, name in OTHERS.items():
        for ours in OURS if way in found[0] else ():
            print(f"lists of {WAYS}, {ours} against {name}:")
            compare([(batch[ours], batch[way]) for batch in found])
    if python:
        below = ", ".join(batch["left-out"].below for batch in found)
        print(f"{UNLIKE} That is so of {below} pairs of a query's token and a document here.")


def make(environment: Path) -> Path:
    """PyLate's interpreter."""
    took = install(environment, PYLATE)
    installed = "" if took is None else f" (installed in {took:.0f} s)"
    print(f"{versions(environment, PYLATE.named)}{installed}", flush=True)
    return environment / "bin/python"


def steps(scratch: Path, batch: int, python: Path | None) -> dict[str, Step]:
    """One step of each way over the same batch; without ``python`` none of PyLate's."""
    here = [sys.executable, "-c", _STEP]
    found = {}
    for way in (*OURS, *OTHERS):
        if way not in THERE:
            found[way] = step(here, scratch, batch, way)
        elif python:
            found[way] = step([str(python), "-I", str(HELPER)], scratch, batch, way)
    return found


def step(program: list[str], scratch: Path, batch: int, way: str) -> Step:
    """What ``program`` says of one step."""
    gradients = scratch / f"{batch}-{way}.safetensors"
    words = [*program, str(scratch), str(batch), way, str(gradients)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    said = json.loads(done.stdout.splitlines()[-1])
    peak, before = said["peak"], said["before"]
    return Step(peak, peak - before, said["loss"], load_file(gradients), said.get("below", ""))


def compare(pairs: list[tuple[Step, Step]]) -> None:
    """Print how many times the memory of theirs ours takes, and how far apart what comes of it is."""
    peak = told([ours.peak / theirs.peak for ours, theirs in pairs])
    added = told([ours.added / theirs.added for ours, theirs in pairs])
    losses = ", ".join(f"{ours.loss:.6f} and {theirs.loss:.6f}" for ours, theirs in pairs)
    gradients = [f"{apart(ours.gradients, theirs.gradients):.1e}" for ours, theirs in pairs]
    print(f"  peak of the process {peak}, what the step adds {added}")
    print(f"  losses {losses}; gradients apart, of the largest, {', '.join(gradients)}")


def apart(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Largest difference of a gradient, of the largest."""
    names = ours.keys() | theirs.keys()
    top = max(float(value.abs().max()) for value in theirs.values())
    return max(float((ours[name] - theirs[name]).abs().max()) for name in names) / top


if __name__ == "__main__":
    main()
