"""Claim: a teacher's distributions over the tokens of its answers take at most 90 bytes a token in the
store, at a small divergence of what comes back, and are read faster than anything trains on them.

SmolLM2-135M-Instruct answers questions of xquad (in ``RAGDISTILL_TEST_DATA``) from their paragraph, greedily.
A row for each setting, all on the same answers:

- bytes: of the store, key included, a token;
- entries: ids kept, a token;
- KL: of the full distribution from what comes back, its tail spread evenly over the other ids, in nats;
- off: half the sum of the differences of probabilities, of one token in one pass;
- error, bias: the gradient of the logits is the student's distribution less the stored one, so it is off by
  stored less true: the length of that, and the length of its expectation over draws, root mean
  square over tokens. What is not drawn is off by its bias alone.

What is drawn has no KL, for what was not drawn has no probability. What a student learns from any of them,
``logit_students`` tells.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.common import data_folder
from ragdistill.data.beir import load as load_collection
from ragdistill.data.sampling import sample
from ragdistill.models.resolve import resolve
from ragdistill.signals import KEY_BYTES
from ragdistill.signals.distributions import TokenDistributions
from ragdistill.signals.logits import Kept, LogitCodec, Sampled, TopK
from ragdistill.signals.packed import id_bits

Answer = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Logits [n, V] and tokens [n]."""
TEACHER = "SmolLM2-135M-Instruct"
PASSES = 4
_OFFSET_BYTES = 4


def main() -> None:
    """Print what the teacher is like, a row for each setting, and how fast rows are read."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=48, help="of an answer, at most")
    parser.add_argument("--logits", type=Path, help="an .npz that keeps them between runs")
    asked = parser.parse_args()
    answers = read(asked.logits) if asked.logits and asked.logits.exists() else None
    if answers is None:
        answers = ask(asked.questions, asked.tokens)
        if asked.logits:
            keep(asked.logits, answers)
    tell_mass(answers)
    print("| setting | bytes | entries | KL | off | error | bias |")
    print("|---|---|---|---|---|---|---|")
    vocabulary = answers[0][0].shape[1]
    for kept in settings():
        tell(LogitCodec(vocabulary, kept), answers)
    for bits in (4, 5, 6, 7, 8):
        tell(LogitCodec(vocabulary, TopK(), bits=bits), answers)
    tell_speed(vocabulary, answers)


def settings() -> list[Kept]:
    """All that are compared."""
    found: list[Kept] = []
    for temperature in (1.0, 2.0):
        for mass in (0.9, 0.95, 0.98, 0.99):
            found += [TopK(mass, most, temperature) for most in (32, 64, 128)]
        for draws in (8, 12, 25, 50, 100, 200, 400):
            found += [Sampled(draws, proposal, temperature) for proposal in (1.0, 0.8)]
    return found


def ask(questions: int, tokens: int) -> list[Answer]:
    """The teacher's answers to questions about their own paragraph."""
    import torch

    from ragdistill_reranker.language_model import as_request, load, load_tokenizer

    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    collection = load_collection(folder / "xquad")
    texts = {document.id: document.content for document in collection.documents}
    (judged,) = collection.qrels.values()
    model = resolve(TEACHER)
    network, tokenizer = load(model, "cpu", "float32"), load_tokenizer(model)
    answers = []
    for query in sample(list(collection.queries), questions, 0, key=lambda item: item.id):
        asked = as_request(tokenizer, request(texts[next(iter(judged[query.id]))], query.text))
        ids = tokenizer(asked, return_tensors="pt", add_special_tokens=False)
        with torch.inference_mode():
            told = network.generate(
                **ids,
                max_new_tokens=tokens,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
        said = told.sequences[0, ids["input_ids"].shape[1] :].numpy()
        answers.append((torch.cat(told.logits).float().numpy(), said))
    return answers


def request(passage: str, question: str) -> str:
    """What the teacher is asked."""
    return f"{passage}\n\nAnswer from this passage only.\n\nQuestion: {question}"


def keep(path: Path, answers: list[Answer]) -> None:
    """Write answers."""
    logits, tokens = zip(*answers, strict=True)
    lengths = [len(part) for part in tokens]
    np.savez(path, logits=np.concatenate(logits), tokens=np.concatenate(tokens), lengths=lengths)


def read(path: Path) -> list[Answer]:
    """What :func:`keep` has written."""
    with np.load(path) as kept:
        cuts = np.cumsum(kept["lengths"])[:-1]
        parts = np.split(kept["logits"], cuts), np.split(kept["tokens"], cuts)
    return list(zip(*parts, strict=True))


def softmax(logits: np.ndarray[Any, Any], temperature: float) -> np.ndarray[Any, Any]:
    """float64 [n, V]."""
    scores = logits.astype(np.float64) / temperature
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    whole: np.ndarray[Any, Any] = likely / likely.sum(axis=1, keepdims=True)
    return whole


def tell_mass(answers: list[Answer]) -> None:
    """How many tokens have how much of the probability."""
    print(f"{len(answers)} answers, {sum(len(tokens) for _, tokens in answers)} tokens")
    for temperature in (1.0, 2.0):
        sums = [
            np.cumsum(-np.sort(-softmax(logits, temperature), axis=1), axis=1)
            for logits, _ in answers
        ]
        for mass in (0.9, 0.95, 0.98, 0.99):
            needed = np.concatenate([(part < mass).sum(axis=1) + 1 for part in sums])
            print(
                f"T {temperature:g}: {mass:.0%} of the mass is in {needed.mean():.1f} tokens on average,"
                f" median {np.median(needed):.0f}"
            )


def tell(codec: LogitCodec, answers: list[Answer]) -> None:
    """The row of one setting."""
    noisy = isinstance(codec.kept, Sampled)
    rng = np.random.default_rng(0)
    tokens = sum(len(said) for _, said in answers)
    sums = np.zeros(6)  # Bytes, entries, divergence, differences, squares of them, of their mean.
    for logits, labels in answers:
        probs = softmax(logits, codec.kept.temperature)
        off = []
        for _ in range(PASSES if noisy else 1):
            said = codec.kept.take(logits, labels, rng)
            record, found = there_and_back(codec, said)
            told = found.dense(codec.vocabulary)
            off.append(told - probs)
            sums[:2] += record + _OFFSET_BYTES + KEY_BYTES, len(said.ids)
            sums[3:5] += np.abs(off[-1]).sum() / 2, (off[-1] ** 2).sum()
        if noisy:
            sums[5] += unbiased_square(off)
        else:
            held = probs > 0
            sums[2] += (probs[held] * np.log(probs[held] / told[held])).sum()
            sums[5] += (off[0] ** 2).sum()
    sums[[0, 1, 3, 4]] /= PASSES if noisy else 1
    size, entries, divergence, single, error, bias = sums / tokens
    shown = "" if noisy else f"{divergence:.4f}"
    print(
        f"| {name(codec)} | {size:.1f} | {entries:.1f} | {shown} | {single:.4f} "
        f"| {error**0.5:.4f} | {max(bias, 0) ** 0.5:.4f} |",
        flush=True,
    )


def unbiased_square(off: list[np.ndarray[Any, Any]]) -> float:
    """The squared length of what independent passes are off by in expectation: the mean product of two."""
    whole = sum(off[1:], start=off[0])
    return float(
        ((whole**2).sum() - sum((one**2).sum() for one in off)) / (len(off) * (len(off) - 1))
    )


def name(codec: LogitCodec) -> str:
    """What a row is called."""
    kept = codec.kept
    if isinstance(kept, Sampled):
        return f"T {kept.temperature:g}, {kept.draws} draws, p ** {kept.proposal_temperature:g}"
    told = f"T {kept.temperature:g}, mass {kept.mass:g}, at most {kept.most}"
    return told if codec.bits == LogitCodec.bits else f"{told}, {codec.bits} bits"


def there_and_back(codec: LogitCodec, said: TokenDistributions) -> tuple[int, TokenDistributions]:
    """Bytes of a record, and what is read of it."""
    batch = pa.record_batch(codec.encode([said]), schema=pa.schema(codec.columns))
    return len(batch.column(0)[0].as_py()), codec.decode(batch, np.arange(1))[0]


def tell_speed(vocabulary: int, answers: list[Answer]) -> None:
    """Tokens a second, of whole answers and of short ones, and what ids take."""
    for kept in (TopK(), TopK(0.98, 128, 2.0), Sampled()):
        codec = LogitCodec(vocabulary, kept)
        rng = np.random.default_rng(0)
        said = [kept.take(logits, labels, rng) for logits, labels in answers]
        entries = sum(len(one.ids) for one in said)
        told = sum(id_bits(one, vocabulary) for one in said) / entries
        print(
            f"{name(codec)}: ids {told:.2f} bits each, {(vocabulary - 1).bit_length()} as they are;"
            f" tokens/s {speed(codec, said):,.0f},"
            f" in answers of 8 {speed(codec, [one.part(0, min(8, len(one))) for one in said]):,.0f}"
        )


def speed(codec: LogitCodec, said: list[TokenDistributions]) -> float:
    """Tokens decoded a second."""
    batch = pa.record_batch(codec.encode(said), schema=pa.schema(codec.columns))
    rows = np.tile(np.arange(len(said)), 10)
    codec.decode(batch, rows[:1])
    started = time.perf_counter()
    codec.decode(batch, rows)
    return 10 * sum(map(len, said)) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
