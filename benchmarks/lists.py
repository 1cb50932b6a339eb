"""Claim: a step over lists of 32 documents takes at most half the memory that sentence-transformers'
own loss takes, at the same loss and, to 1e-5 of the largest, the same gradients.

MiniLM with a vector of 128 dimensions a token, two queries of pydocs with lists of 32 documents, texts
cut at 128 tokens; each in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

_PROGRAM = """
import json, resource, sys
import torch
from safetensors.torch import save_file
from sentence_transformers.multi_vector_encoder.losses import MultiVectorDistillKLDivLoss
from benchmarks.common import pydocs_documents
from ragdistill.losses import listwise_kl
from ragdistill.models.resolve import resolve
from ragdistill.training.preparing import without_dropout
from ragdistill_reranker.late_interaction import make_late_interaction, token_features
from ragdistill_reranker.list_loss import list_loss
from ragdistill_reranker.students import LateInteraction

torch.set_num_threads(1)
way, ways, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
documents = pydocs_documents(2 * ways)
model = make_late_interaction(resolve("MiniLM").path, 128, documents[:32], "cpu")
model.max_seq_length = 128
without_dropout(model)
queries = [text[:60] for text in documents[:2]]
teacher = torch.randn(2, ways, generator=torch.Generator().manual_seed(0))

def features(texts, task):
    return token_features(model, texts, task)

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if way == "ours":
    student = LateInteraction(model)
    inputs = student.features(queries, [documents[:ways], documents[ways:]])
    loss = list_loss(
        student.read, student.compare(ways), inputs,
        lambda scores: listwise_kl(scores, teacher, 4.0), chunk_tokens=1024,
    )
else:
    columns = [features([documents[n], documents[ways + n]], "document") for n in range(ways)]
    size = 8 if way == "chunked" else None
    theirs = MultiVectorDistillKLDivLoss(model, temperature=4.0, mini_batch_size=size)
    loss = theirs([features(queries, "query"), *columns], teacher)
loss.backward()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
save_file({n: p.grad for n, p in model.named_parameters() if p.grad is not None}, out)
print(json.dumps({"loss": float(loss.detach()), "before": before, "peak": peak}))
"""
WAYS = 32


def main() -> None:
    """Print memory, loss and gradients of both."""
    with tempfile.TemporaryDirectory() as scratch:
        found = {
            way: measure(way, Path(scratch) / f"{way}.safetensors")
            for way in ("ours", "whole", "chunked")
        }
        ours, theirs = (
            load_file(Path(scratch) / f"{way}.safetensors") for way in ("ours", "whole")
        )
    top = max(float(value.abs().max()) for value in theirs.values())
    apart = max(float((ours[name] - value).abs().max()) for name, value in theirs.items()) / top
    added = {way: row["peak"] - row["before"] for way, row in found.items()}
    for way in ("whole", "chunked"):
        print(
            f"lists of {WAYS}, against sentence-transformers' loss ({way}): peak memory of the process "
            f"{found['ours']['peak'] / found[way]['peak']:.2f} times, what the step adds "
            f"{added['ours'] / added[way]:.2f} times"
        )
    print(
        f"loss {found['ours']['loss']:.6f} and {found['whole']['loss']:.6f}; largest difference of a "
        f"gradient, of the largest gradient: {apart:.1e}"
    )


def measure(way: str, out: Path) -> dict[str, float]:
    """Loss and memory (KiB) of one step; its gradients go to ``out``."""
    words = [sys.executable, "-c", _PROGRAM, way, str(WAYS), str(out)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
