"""The half of ``benchmarks.lists`` that runs where PyLate is installed, and ragdistill is not.

``python lists_there.py FOLDER BATCH WAY OUT``: one step of PyLate's own distillation loss with ``checkpoint`` and
``batch-BATCH.json`` in FOLDER. Says loss and memory, and leaves the gradients in OUT. WAY is ``pylate`` for its own
scores, ``left-out`` for those of :func:`left_out`.
"""

import json
import resource
import sys
from pathlib import Path

import torch
from torch import Tensor

BELOW = [0, 0]
"""How many tokens of queries were like nothing in a document, and how many there were."""


def left_out(
    queries: Tensor, documents: Tensor, *, queries_mask: Tensor, documents_mask: Tensor
) -> Tensor:
    """MaxSim ``[b, n]`` without the tokens of documents that do not count, which PyLate gives a similarity of 0.

    Args:
        queries: vectors, ``[b, s, d]``.
        documents: vectors, ``[b, n, t, d]``.
        queries_mask: which tokens count, ``[b, s]``.
        documents_mask: which tokens count, ``[b, n, t]``.
    """
    similar = torch.einsum("bsd,bntd->bnst", queries, documents)
    best = similar.masked_fill(~documents_mask.bool().unsqueeze(2), -torch.inf).amax(dim=-1)
    counts = queries_mask.bool().unsqueeze(1).expand_as(best)
    BELOW[:] = [int((best[counts] < 0).sum()), int(counts.sum())]
    return (best * counts).sum(dim=-1)


def main(folder: Path, number: str, way: str, out: Path) -> None:
    """One step."""
    from pylate.losses import Distillation
    from pylate.models import ColBERT
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    batch = json.loads((folder / f"batch-{number}.json").read_text())
    model = ColBERT(str(folder / "checkpoint"), device="cpu", do_query_expansion=False)
    model.eval()  # no dropout
    scores = {"score_metric": left_out} if way == "left-out" else {}
    step = Distillation(model, normalize_scores=False, **scores)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024
    read = [
        model.tokenize(batch[kind], is_query=kind == "queries") for kind in ("queries", "documents")
    ]
    loss = step(read, torch.tensor(batch["teacher"]))
    loss.backward()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gradients = {
        name.replace("auto_model.", "model."): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    save_file(gradients, out)
    said = {"loss": float(loss.detach()), "before": before, "peak": peak}
    print(json.dumps(said | {"below": f"{BELOW[0]} of {BELOW[1]}"}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
