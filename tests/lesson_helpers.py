"""A tiny language model and a lesson for it, made in code; as a script, a student fitted by however many
processes were started."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from ragdistill import processes
from ragdistill.losses import LogitObjective
from ragdistill.signals.distributions import top_k
from ragdistill.training.fitting import COLUMN
from ragdistill_generator.lesson import Batches, Example, Lesson
from ragdistill_generator.student import Student
from ragdistill_generator.training import Recipe, fit
from tiny_models import make_tokenizer

WORDS = 120
CHECKPOINTS = "run/checkpoints"


def llama(seed: int = 0, *, layers: int = 2, tied: bool = True, **more: Any) -> Any:
    """In float64, so that what is equal is seen to be."""
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(
        vocab_size=WORDS,
        num_hidden_layers=layers,
        intermediate_size=64,
        initializer_range=0.3,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=3,
        **sizes,
        **more,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).double().eval()


def gemma() -> Any:
    """A model that bends its logits."""
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=WORDS, num_hidden_layers=2, intermediate_size=64, initializer_range=0.3, **sizes
    )
    return Gemma2ForCausalLM(config).double().eval()


def student(seed: int = 0, **more: Any) -> Student:
    return Student(llama(seed, **more), make_tokenizer())


def examples(count: int = 8, *, taught: int = 0, questions: int = 3) -> list[Example]:
    """Of so many, ``questions`` share their contexts, and of the first ``taught`` a teacher's
    distributions are there; no two have as many tokens."""
    rng = np.random.default_rng(0)

    def ids(length: int) -> list[int]:
        found: list[int] = rng.integers(5, WORDS, length).tolist()
        return found

    contexts = [ids(9 + 2 * number) for number in range(-(-count // questions))]
    made = []
    for number in range(count):
        answer = [*ids(1 + number % 5), 3]
        logits = rng.normal(scale=3, size=(len(answer), WORDS)).astype(np.float32)
        said = top_k(logits, np.array(answer), mass=0.95, most=40, temperature=2.0)
        beginning, asked = contexts[number // questions], ids(3 + number % 4)
        made.append(Example(beginning, asked, answer, said if number < taught else None))
    return made


def batch_of(lesson: Lesson) -> dict[str, Any]:
    rows = lesson.rows(range(len(lesson.examples)))
    return Batches(lesson, rows)([{COLUMN: place} for place in range(len(rows))])


def gradients(network: Any) -> Tensor:
    return torch.cat([part.grad.flatten() for part in network.parameters()])


def recipe(**more: Any) -> Recipe:
    objective = LogitObjective(alpha=0.6, temperature=2.0)
    return Recipe(**{"lr": 5e-3, "seed": 0, "objective": objective, "epochs": 6, **more})


def weights(of: Student) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in of.network.state_dict().items()}


def main(folder: Path) -> None:
    """Fit a student in ``folder`` and save it there."""
    with processes.joined("cpu"), processes.together():
        made = student()
        # Batches of one row are among these, so that one process has no share.
        fit(made, Lesson(examples(40, taught=20), 90), recipe(accumulate=2), folder / CHECKPOINTS)
        if processes.rank() == 0:
            torch.save(weights(made), folder / "weights.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
