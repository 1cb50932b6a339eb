"""Claim: distilling from sparse targets in chunks takes at most a tenth of the memory of the
full-vocabulary loss and half its time, with the loss and gradients of its reference to 1e-5.

Vocabulary 49,152, hidden size 576, 4 x 512 tokens, float32, forward KL at T = 2, forward and backward
to hidden states and head. What a step adds at its peak is had in a process of its own; the teacher's
logits are there before, unless they are made of its states. TRL's loss is measured where TRL is
installed, which nothing here needs.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.common import in_turns, told
from ragdistill.losses import (
    Head,
    LogitObjective,
    SparseTargets,
    TeacherStates,
    chunked_distillation,
    logit_distillation,
)

WORDS, HIDDEN, ROWS, LENGTH, KEPT = 49_152, 576, 4, 512, 32
TEMPERATURE = 2.0
OURS = {
    "sparse, chunked": "full",
    "sparse, chunked, head frozen": "full, head frozen",
    "sparse, chunked, with labels": "full, with labels",
    "teacher's states, chunked": "full, teacher's states",
}
TRL = {"TRL, beta 0": 0.0, "TRL, beta 0.5": 0.5}
Step = Callable[[], tuple[Tensor, ...]]


def main(rounds: int = 5) -> None:
    """Print memory and time of each way against the full vocabulary, and how far results differ."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Path(scratch) / "inputs.safetensors"
        save_file(made(), inputs)
        trl = dict.fromkeys(TRL, "full") if importlib.util.find_spec("trl") else {}
        pairs = {**OURS, **trl}
        ways = [*pairs, *dict.fromkeys(pairs.values())]
        added = {way: measure(way, inputs) for way in ways}
        loaded = load_file(inputs)
        for way, against in pairs.items():
            ratios = in_turns(step(against, loaded), step(way, loaded), rounds)
            print(
                f"{way}: {added[way]:.0f} MB, {added[way] / added[against]:.3f} times {against} "
                f"({added[against]:.0f} MB); {told(ratios)} as fast",
                flush=True,
            )
        for way, reference in (
            ("sparse, chunked", "sparse, whole"),
            ("sparse, chunked, with labels", "sparse, whole, with labels"),
            ("teacher's states, chunked", "full"),
        ):
            print(f"{way}, against {reference}: {apart(way, reference, loaded)}", flush=True)
        if trl:
            print(
                f"TRL, beta 0.5, against full, jsd: {apart('TRL, beta 0.5', 'full, jsd', loaded)}"
            )


def made() -> dict[str, Tensor]:
    """Inputs of a step; logits spread about as a language model's do."""
    generator = torch.Generator().manual_seed(0)
    tokens = ROWS * LENGTH

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    hidden, weight = drawn(tokens, HIDDEN), 0.125 * drawn(WORDS, HIDDEN)
    states = hidden + 0.3 * drawn(tokens, HIDDEN)
    theirs = states @ weight.T
    probs, ids = (theirs / TEMPERATURE).softmax(dim=1).topk(KEPT, dim=1)
    return {
        "hidden": hidden,
        "weight": weight,
        "states": states,
        "logits": theirs,
        "ids": ids,
        "probs": probs,
        "tail": 1 - probs.sum(dim=1),
        "labels": ids[:, 0].contiguous(),
    }


def step(way: str, inputs: dict[str, Tensor]) -> Step:
    """Loss and gradients of hidden states and head, as ``way`` has them."""
    hidden = inputs["hidden"].clone().requires_grad_()
    weight = inputs["weight"].clone().requires_grad_("frozen" not in way)
    labels = inputs["labels"] if "labels" in way else None
    kind = "jsd" if "jsd" in way else "forward"
    objective = LogitObjective(1.0 if labels is None else 0.5, TEMPERATURE, kind)  # type: ignore[arg-type]
    sparse = SparseTargets(inputs["ids"], inputs["probs"], inputs["tail"])

    def loss() -> Tensor:
        teacher: Tensor | SparseTargets | TeacherStates
        if "chunked" in way:
            states = TeacherStates(inputs["states"], Head(inputs["weight"]))
            teacher = sparse if "sparse" in way else states
            return chunked_distillation(hidden, Head(weight), teacher, labels, objective)
        if way in TRL:
            return of_trl(hidden @ weight.T, inputs["logits"], TRL[way])
        if "states" in way:
            teacher = inputs["states"] @ inputs["weight"].T
        else:
            teacher = sparse if "sparse" in way else inputs["logits"]
        return logit_distillation(hidden @ weight.T, teacher, labels, objective)

    def run() -> tuple[Tensor, ...]:
        hidden.grad = weight.grad = None
        found = loss()
        found.backward()  # type: ignore[no-untyped-call]
        gradients = [part.grad for part in (hidden, weight) if part.grad is not None]
        return (found.detach(), *gradients)

    return run


def of_trl(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """TRL's loss, times T²."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from trl.experimental.gkd import GKDTrainer  # type: ignore[import-not-found]

    shape = (ROWS, LENGTH, WORDS)
    labels = torch.zeros(shape[:2], dtype=torch.int64)
    found: Tensor = GKDTrainer.generalized_jsd_loss(
        student.view(shape), teacher.view(shape), labels, beta, TEMPERATURE
    )
    return TEMPERATURE**2 * found


def apart(way: str, reference: str, inputs: dict[str, Tensor]) -> str:
    """How far loss and gradients are from the reference's, of its largest value."""
    pairs = zip(step(way, inputs)(), step(reference, inputs)(), strict=True)
    far = [float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs]
    return "loss {:.1e}, gradient of states {:.1e}, of the head {:.1e}".format(*far)


def measure(way: str, inputs: Path) -> float:
    """MB that a step adds at its peak, in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.logit_losses", way, str(inputs)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: float = json.loads(done.stdout.splitlines()[-1])
    return found


def told_memory(way: str, inputs: Path) -> None:
    """Run one step and print what it adds to this process at its peak."""
    loaded = {name: value.clone() for name, value in load_file(inputs).items()}
    run = step(way, loaded)
    if way in TRL:  # its import is no part of the step
        import trl.experimental.gkd  # noqa: F401
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _resident("VmRSS")
    run()
    print(json.dumps(_resident("VmHWM") - before))


def _resident(kind: str) -> float:
    rows = Path("/proc/self/status").read_text().splitlines()
    return statistics.fsum(int(row.split()[1]) / 1e3 for row in rows if row.startswith(kind))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        told_memory(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
