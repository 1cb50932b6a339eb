"""Claim: on a CPU ctranslate2 in int8 writes at least twice as fast as transformers in float32.

SmolLM2-135M-Instruct, prompts of a RAG stack over pydocs, greedy replies of one length each, one prompt at
a time and 16 at once; every form against transformers in turns. Beside the speed stands how far each
form's next tokens are from the model's.

``python -m benchmarks.generation [--new-tokens N] [--rounds N] [--kinds KIND,...] [--mixed]``
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.common import in_turns, pydocs_documents, seconds, told
from ragdistill import causal
from ragdistill.export.causal import source
from ragdistill.export.causal.forms import LIMITS, export_all, load
from ragdistill.export.causal.parity import Reference
from ragdistill.export.causal.runner import Ids, Runner
from ragdistill.export.folder import CausalRecord, read_record_of
from ragdistill.models.resolve import resolve

MODEL = "SmolLM2-135M-Instruct"
BATCHES = (1, 16)
TOKENS, MOST = 64, 160
"""Of a document in a prompt: of each, and the most where lengths are mixed."""


def main() -> None:
    """Print each form's gate, and its speed against transformers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", default=",".join(LIMITS))
    parser.add_argument("--mixed", action="store_true", help="prompts of different lengths")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = plain(Path(scratch) / "model")
        model = source.load(folder)
        prompts = prompts_of(model.tokenizer, max(BATCHES), asked.mixed)
        reference = Reference(model, prompts, asked.new_tokens)
        kinds = asked.kinds.split(",")
        made = export_all(
            folder, Path(scratch) / "export", reference, source_digest="", kinds=kinds
        )
        for kind, export in made.items():
            result = export.result
            print(
                f"{kind} ({export.recipe}): same next tokens {result.agreement:.3f}, KL {result.kl:.4f}, "
                f"{export.as_json()['size_mb']:.0f} MB; {'; '.join(result.reasons) or 'passed'}",
                flush=True,
            )
        endless(model.network, [export.folder for export in made.values()])
        runners = {kind: load(export.folder) for kind, export in made.items()}
        for batch in BATCHES:
            compare(model, runners, prompts[:batch], asked.new_tokens, asked.rounds)


def plain(folder: Path) -> Path:
    """The GGUF file's weights in float32, as a folder."""
    model = resolve(MODEL)
    network = causal.load(model, "cpu", "float32")
    config, weights = network.config, network.state_dict()
    del config.quantization_config  # of the file; these are numbers again
    again = AutoModelForCausalLM.from_config(config)
    again.load_state_dict(weights)
    again.generation_config = network.generation_config
    again.save_pretrained(folder)
    causal.load_tokenizer(model).save_pretrained(folder)
    return folder


def prompts_of(tokenizer: Any, count: int, mixed: bool = False) -> list[list[int]]:
    """A question about a document each; unless ``mixed``, all of one length."""
    asked = "Answer from the context only.\n\nContext: {}\n\nQuestion: What does this do, and when?"
    prompts = []
    for document in pydocs_documents(10 * count):
        ids = causal.token_ids(tokenizer, document)
        if mixed or len(ids) >= TOKENS:
            text = tokenizer.decode(ids[:MOST] if mixed else ids[:TOKENS])
            words = causal.as_request(tokenizer, asked.format(text))
            prompts.append(causal.token_ids(tokenizer, words))
    if mixed:
        return prompts[:count]
    usual = statistics.mode(map(len, prompts))  # what is cut may be read otherwise
    return [prompt for prompt in prompts if len(prompt) == usual][:count]


def endless(network: Any, folders: Sequence[Path]) -> None:
    """Have nothing end a reply, so that all write as many tokens."""
    network.generation_config.eos_token_id = []
    for folder in folders:
        replace(read_record_of(CausalRecord, folder), end_ids=()).write(folder)


def compare(
    model: Runner,
    runners: dict[str, Runner],
    prompts: Sequence[Ids],
    new_tokens: int,
    rounds: int,
) -> None:
    """Tokens a second of transformers, and how many times as fast each form is."""

    def write(runner: Runner) -> None:
        replies = runner.generate(prompts, new_tokens)
        assert all(len(reply) == new_tokens for reply in replies)

    write(model)
    took = seconds(lambda: write(model))
    lengths = [len(prompt) for prompt in prompts]
    print(
        f"batch {len(prompts)}, prompts of {min(lengths)} to {max(lengths)} tokens, {new_tokens} new, "
        f"{torch.get_num_threads()} threads: transformers {len(prompts) * new_tokens / took:.0f} tokens/s"
    )
    for kind, runner in runners.items():
        write(runner)
        ratios = in_turns(lambda: write(model), lambda runner=runner: write(runner), rounds)
        print(f"  {kind}: {told(ratios)} as fast", flush=True)


if __name__ == "__main__":
    main()
