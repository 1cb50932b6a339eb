"""Claim: a student that learns from what the store keeps of its teacher's distributions comes within 2 %
of the held-out divergence that it reaches from all logits, at 90 bytes a token or fewer.

SmolLM2-135M-Instruct answers questions of xquad (in ``RAGDISTILL_TEST_DATA``) from their paragraph, greedily.
The student is its first 20 layers, which stay as they are, its last six, which learn and see the answer and
the first tokens of the request, and its head, which stays. Each setting starts from the same weights and sees the same answers in the same order; what it
learns from is written to a store and read back. A row for each:

- bytes: of the store on disk, keys included, a token of what trains;
- KL: of the teacher from the student over all ids at temperature 1, a token of answers about paragraphs
  that trained nothing, in nats;
- of full: that divided by what all logits at the same temperature of the loss lead to.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.common import data_folder
from benchmarks.logit_store import TEACHER, name, request
from ragdistill.data.beir import load as load_collection
from ragdistill.losses import (
    Head,
    LogitObjective,
    SparseTargets,
    TeacherStates,
    chunked_distillation,
    token_divergences,
)
from ragdistill.models.resolve import resolve
from ragdistill.signals import Fingerprint, text_key
from ragdistill.signals.distributions import TokenDistributions
from ragdistill.signals.logits import Kept, LogitCodec, Sampled, TopK
from ragdistill.signals.store import SignalStore

TRUNK, LEARNT, TOKENS, ANSWERS, RATE, STEP_ANSWERS = 20, 6, 48, 4, 3e-4, 8
SEEN = 4
"""Tokens of the request that the student's last layers see: what has nowhere to look, looks there
(arXiv:2309.17453)."""
Teach = Callable[[Sequence[int]], SparseTargets | TeacherStates]
"""What the teacher says of some answers, by their numbers."""


@dataclass(frozen=True)
class Lesson:
    """An answer: what the trunk makes of the first tokens, and of what stands before each of the answer's,
    [SEEN + n, h]; the teacher's states there, [n, h]; the tokens, [n]."""

    trunk: Tensor
    states: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Class:
    """A student before it learns, its head, and answers: those that train and those held out."""

    top: Any
    head: Head
    lessons: list[Lesson]
    held_out: list[Lesson]


def main() -> None:
    """Print what the student is before it learns, and a row for each setting."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=50, help="one in five is held out")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--lessons", type=Path, help="a .safetensors that keeps them between runs")
    asked = parser.parse_args()
    group = gather(asked.passages, asked.lessons)
    tokens = [sum(len(each.labels) for each in part) for part in (group.lessons, group.held_out)]
    print(f"{len(group.lessons)} answers, {tokens[0]} tokens train; {tokens[1]} are held out")
    print(f"untrained: KL {divergence(group, group.top):.4f}\n")
    print("| setting | bytes | KL | of full |")
    print("|---|---|---|---|", flush=True)
    for seed in range(asked.seeds):
        for temperature, kinds in settings().items():
            full = learnt(group, of_states(group), temperature, asked.passes, seed)
            print(f"| T {temperature:g}, all logits | | {full:.4f} | 1 |", flush=True)
            for kept in kinds:
                codec = LogitCodec(len(group.head.weight), kept)
                with tempfile.TemporaryDirectory() as folder:
                    size, teach = of_store(group, codec, Path(folder), seed)
                    found = learnt(group, teach, temperature, asked.passes, seed)
                row = f"{size / tokens[0]:.1f} | {found:.4f} | {found / full:.4f}"
                print(f"| {name(codec)} | {row} |", flush=True)


def settings() -> dict[float, list[Kept]]:
    """All that are compared, by the temperature of the loss."""
    return {
        1.0: [TopK(0.9, 32), TopK(), *(Sampled(draws) for draws in (12, 50, 200))],
        2.0: [TopK(0.98, 32, 2.0), *(Sampled(draws, temperature=2.0) for draws in (12, 50))],
    }


def gather(passages: int, path: Path | None) -> Class:
    """The student and its lessons; kept at ``path``."""
    from ragdistill_reranker.language_model import load

    network = load(resolve(TEACHER), "cpu", "float32").requires_grad_(False)
    if path is None or not path.exists():
        lessons = ask(network, passages)
        if path is not None:
            save_file(
                {f"{i}.{k}": v for i, each in enumerate(lessons) for k, v in vars(each).items()},
                path,
            )
    else:
        told = load_file(path)
        lessons = [
            Lesson(*(told[f"{number}.{part}"] for part in ("trunk", "states", "labels")))
            for number in range(len(told) // 3)
        ]
    held = ANSWERS * (passages // 5)
    return Class(student(network), Head(network.lm_head.weight), lessons[held:], lessons[:held])


def ask(network: Any, passages: int) -> list[Lesson]:
    """What it answers to questions about the shortest passages, in the order of the passages."""
    from ragdistill_reranker.language_model import load, load_tokenizer, usual_precision

    model, asked = resolve(TEACHER), requests(passages)
    tokenizer = load_tokenizer(model)
    writer = load(model, "cpu", usual_precision("cpu"))
    lessons = []
    for start in range(0, len(asked), ANSWERS):  # Of one passage: of like length.
        texts = asked[start : start + ANSWERS]
        ids = tokenizer(
            as_chats(tokenizer, texts),
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        )
        length = ids["input_ids"].shape[1]
        with torch.inference_mode():
            told = writer.generate(**ids, max_new_tokens=TOKENS, do_sample=False)
        for row, mask in zip(told, ids["attention_mask"], strict=True):
            ends = (row[length:] == tokenizer.eos_token_id).nonzero()
            count = int(ends[0]) + 1 if len(ends) else len(row) - length
            whole = row[length - int(mask.sum()) : length + count]
            lessons.append(read(network, whole, count))
        print(f"{len(lessons)} answers", file=sys.stderr, flush=True)
    return lessons


def requests(passages: int) -> list[str]:
    """``ANSWERS`` questions about each of the shortest passages."""
    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    collection = load_collection(folder / "xquad")
    (judged,) = collection.qrels.values()
    questions: dict[str, list[str]] = {}
    for query in collection.queries:
        questions.setdefault(next(iter(judged[query.id])), []).append(query.text)
    documents = [
        each for each in collection.documents if len(questions.get(each.id, ())) >= ANSWERS
    ]
    shortest = sorted(documents, key=lambda each: len(each.content))[:passages]
    mixed = np.random.default_rng(0).permutation(len(shortest))
    return [
        request(shortest[at].content, question)
        for at in mixed
        for question in questions[shortest[at].id][:ANSWERS]
    ]


def as_chats(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """As the teacher is asked."""
    from ragdistill_reranker.language_model import as_request

    return [as_request(tokenizer, text) for text in texts]


def read(network: Any, whole: Tensor, count: int) -> Lesson:
    """The lesson of a request with its answer, the last ``count`` of ``whole`` [l]."""
    with torch.inference_mode():
        told = network.model(whole[None, :-1], output_hidden_states=True, use_cache=False)
    trunk, states = told.hidden_states[TRUNK][0], told.last_hidden_state[0]
    trunk = torch.cat([trunk[:SEEN], trunk[-count:]])
    return Lesson(trunk, states[-count:].clone(), whole[-count:].clone())


def student(network: Any) -> Any:
    """The layers that learn, and the norm behind them, as the teacher has them."""
    from transformers import AutoModel

    config = copy.deepcopy(network.config)
    config.num_hidden_layers = LEARNT
    top = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    last = network.model.layers[-LEARNT:]
    for ours, theirs in zip(top.layers, last, strict=True):
        ours.load_state_dict(theirs.state_dict())
    top.norm.load_state_dict(network.model.norm.state_dict())
    return top.eval()


def of_states(group: Class) -> Teach:
    """All logits, of the teacher's states."""
    return lambda chosen: TeacherStates(
        torch.cat([group.lessons[number].states for number in chosen]), group.head
    )


def of_store(group: Class, codec: LogitCodec, folder: Path, seed: int) -> tuple[int, Teach]:
    """What comes back from a store, with the bytes that it takes."""
    keys = [text_key(str(number)) for number in range(len(group.lessons))]
    opened = SignalStore(folder).space(
        Fingerprint(
            kind="logits",
            weights="a" * 64,
            tokenizer="b" * 64,
            dtype="packed",
            dimensions=codec.vocabulary,
            parameters=codec.parameters,
        ),
        teacher=TEACHER,
    )
    with opened.writer() as writer:
        for key, lesson in zip(keys, group.lessons, strict=True):
            logits = (lesson.states @ group.head.weight.T).numpy()
            rng = np.random.default_rng([seed, *key])
            writer.append([key], [codec.kept.take(logits, lesson.labels.numpy(), rng)])
    said: list[TokenDistributions] = list(opened.get(keys))
    size = sum(path.stat().st_size for path in opened.folder.glob("*.arrow"))
    return size, lambda chosen: SparseTargets.of([said[number] for number in chosen])


def learnt(group: Class, teach: Teach, temperature: float, passes: int, seed: int) -> float:
    """The held-out divergence of a student that has learnt."""
    top = copy.deepcopy(group.top)
    learns = [*top.layers.parameters(), *top.norm.parameters()]
    optimiser = torch.optim.AdamW(learns, lr=RATE, weight_decay=0.0)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(group.lessons)).tolist() for _ in range(passes)]
    parts = [
        order[start : start + STEP_ANSWERS]
        for order in orders
        for start in range(0, len(order), STEP_ANSWERS)
    ]
    objective = LogitObjective(1.0, temperature)
    for number, part in enumerate(parts):
        for chosen in optimiser.param_groups:
            chosen["lr"] = RATE * min((number + 1) / 10, 1 - number / len(parts))
        states = torch.cat([foretelling(top, group.lessons[each]) for each in part])
        optimiser.zero_grad()
        chunked_distillation(states, group.head, teach(part), None, objective).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learns, 1.0)
        optimiser.step()
    return divergence(group, top)


def foretelling(top: Any, lesson: Lesson) -> Tensor:
    """The student's states that foretell an answer, [n, h]."""
    found: Tensor = top(inputs_embeds=lesson.trunk[None], use_cache=False).last_hidden_state
    return found[0, SEEN:]


@torch.no_grad()
def divergence(group: Class, top: Any) -> float:
    """KL of the teacher from a student, a token held out."""
    total, tokens, weight = 0.0, 0, group.head.weight
    for lesson in group.held_out:
        ours, theirs = (part @ weight.T for part in (foretelling(top, lesson), lesson.states))
        total += float(token_divergences(ours, theirs, LogitObjective(1.0, 1.0)).sum())
        tokens += len(lesson.labels)
    return total / tokens


if __name__ == "__main__":
    main()
