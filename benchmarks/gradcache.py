"""Claim: a contrastive step over 1,024 texts in parts of 32 takes hardly more memory than one over
32, and its gradients are those of the whole batch to 1e-5 of the largest.

Three layers of MiniLM, texts of pydocs cut at 64 tokens; each in a process of its own.
"""

import json
import subprocess
import sys

_PROGRAM = """
import json, resource, sys
import torch
from benchmarks.common import minilm, pydocs_documents
from ragdistill.losses import info_nce
from ragdistill.training.gradcache import cached_loss
from ragdistill.encoder import Encoder, Prompts
from ragdistill.training.preparing import freeze_words, without_dropout
from ragdistill_embedder.student import make_student

torch.set_num_threads(1)
batch, chunk, check = (int(word) for word in sys.argv[1:])
student = Encoder(make_student(minilm(), "3", Prompts()))
student.max_length = 64
without_dropout(student.model)
freeze_words(student.model)  # as in training
documents = pydocs_documents(1024)
rows = student.tokenise([documents[place % len(documents)] for place in range(batch)])
inputs = student.features(rows)
teacher = torch.nn.functional.normalize(torch.randn(batch, 384, generator=torch.Generator().manual_seed(0)), dim=1)
weights = [p for p in student.model.parameters() if p.requires_grad]

def embed(places):
    return student.model({key: value[places] for key, value in inputs.items()})["sentence_embedding"]

def loss(vectors):
    return info_nce(vectors, teacher)

def gradient(parts):
    student.model.zero_grad()
    cached_loss(embed, parts, loss).backward() if parts else loss(embed(torch.arange(batch))).backward()
    return [None if w.grad is None else w.grad.clone() for w in weights]

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ours = gradient(torch.arange(batch).split(chunk) if chunk else None)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = {"peak": peak, "before": before}
if check:
    whole = gradient(None)
    pairs = [(a, b) for a, b in zip(ours, whole) if b is not None]
    top = max(float(b.abs().max()) for _, b in pairs)
    found["largest"] = max(float((a - b).abs().max()) for a, b in pairs) / top
print(json.dumps(found))
"""


def main() -> None:
    """Print the memory of both, and the largest difference of a gradient."""
    small = measure(32, 0)
    cached = measure(1024, 32)
    whole = measure(1024, 32, check=True)
    plain = measure(1024, 0)
    print(
        f"peak memory, 1,024 texts in parts of 32 against 32 texts: "
        f"{cached['peak'] / small['peak']:.2f} times; without parts "
        f"{plain['peak'] / small['peak']:.2f} times; largest difference of a gradient, of the "
        f"largest gradient: {whole['largest']:.1e}"
    )


def measure(batch: int, chunk: int, *, check: bool = False) -> dict[str, float]:
    """Peak memory (KiB) of one step over ``batch`` texts in parts of ``chunk`` (0: whole)."""
    words = [sys.executable, "-c", _PROGRAM, str(batch), str(chunk), str(int(check))]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
