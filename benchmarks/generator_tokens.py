"""Asked of SmolLM2-135M-Instruct on xquad: does a student of other tokens gain from what the teacher says of its own,
beside the answers alone; does a teacher in between gain anything at the same budget; does softening what it is
sure of and wrong in?

The student of other tokens is the same model with a BPE vocabulary trained anew on the texts: rows of tokens that
both have are the teacher's, others the mean of the teacher's tokens of their string. Held against the teacher on
what was held out of training, by ``ragdistill diagnose``. Options that are not known here go to ``ragdistill
generator``.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner

from benchmarks.common import data_folder, seconds
from ragdistill.cli import main as command

TEACHER = "SmolLM2-135M-Instruct"
VOCABULARY = 8192
WAYS: Mapping[str, Sequence[str]] = {
    "other tokens, aligned": ("--student", "OTHER"),
    "other tokens, labels": ("--student", "OTHER", "--method", "labels"),
    "direct": ("--student-layers", "8", "--epochs", "2"),
    "via 16": ("--student-layers", "8", "--via", "16", "--epochs", "1"),
    "floor 0": ("--student-layers", "8", "--epochs", "1", "--kept", "top-k"),
    "floor 1": (
        "--student-layers",
        "8",
        "--epochs",
        "1",
        "--kept",
        "top-k",
        "--entropy-floor",
        "1",
    ),
}
"""The budget of ``direct`` and ``via 16`` is the same number of passes over the answers in all."""


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument(
        "--other-layers", default="12", help="layers that the student of other tokens keeps"
    )
    parser.add_argument("--coverage", action="store_true", help="only how much can be aligned")
    asked, others = parser.parse_known_args()
    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    if asked.coverage:
        covered(folder / "xquad")
        return
    with tempfile.TemporaryDirectory() as scratch:
        base = ["--teacher", TEACHER, "--data", f"{folder}/xquad", "--prune", "even"]
        for way in asked.ways:
            words = list(WAYS[way])
            if "OTHER" in words:
                other = Path(scratch) / "other"
                if not other.exists():
                    retokenised(other, folder / "xquad")
                words[words.index("OTHER")] = str(other)
                words += ["--student-layers", asked.other_layers]
            out = f"{scratch}/{way.replace(' ', '-').replace(',', '')}"
            line = [*base, *words, *others, "--out", out, "--stages", "collect,train"]
            print(f"{way}: {measure(line, out)}", flush=True)


def covered(data: Path) -> None:
    """Print how many tokens of the data's answers face tokens of the teacher, by the student's tokenizer."""
    from transformers import AutoTokenizer

    from ragdistill.alignment import byte_ends, facing, shared_ids
    from ragdistill.causal import load_tokenizer, token_ids
    from ragdistill.data.beir import load as load_collection
    from ragdistill.models.resolve import resolve

    theirs, collection = load_tokenizer(resolve(TEACHER)), load_collection(data)
    answers = [query.answers[0] for query in collection.queries if query.answers]
    texts = [each.content for each in collection.documents]
    others = {
        f"BPE of {size} anew": theirs.train_new_from_iterator(texts, size) for size in (4096, 16384)
    }
    others["WordPiece of MiniLM"] = AutoTokenizer.from_pretrained(resolve("MiniLM").path)
    for name, ours in others.items():
        shared, counts = shared_ids(theirs, ours), [0, 0, 0]
        for answer in answers:
            told, said = token_ids(theirs, answer), token_ids(ours, answer)
            ends = byte_ends(theirs, answer), byte_ends(ours, answer)
            pairs = facing(*ends, told, said, shared)
            alone = sum(pair.stop - pair.start == 1 for pair in pairs)
            for place, count in enumerate((len(said), alone, len(pairs) - alone)):
                counts[place] += count
        tokens, alone, several = counts
        print(
            f"{name}: {tokens} tokens of answers, one to one {alone / tokens:.3f}, several to one "
            f"{several / tokens:.3f}; {(shared >= 0).mean():.3f} of the teacher's ids have one",
            flush=True,
        )


def retokenised(folder: Path, data: Path) -> None:
    """The teacher with a vocabulary of :data:`VOCABULARY` tokens, in ``folder``."""
    from ragdistill.causal import load, load_tokenizer
    from ragdistill.data.beir import load as load_collection
    from ragdistill.models.resolve import resolve

    model = resolve(TEACHER)
    network, tokenizer = load(model, "cpu", "float32"), load_tokenizer(model)
    collection = load_collection(data)
    texts = [each.content for each in collection.documents]
    made = tokenizer.train_new_from_iterator(texts, VOCABULARY)
    before = network.get_input_embeddings().weight.detach()
    known, rows = tokenizer.get_vocab(), []
    for id in range(len(made)):
        name = made.convert_ids_to_tokens(id)
        pieces = [known[name]] if name in known else None
        pieces = pieces or tokenizer(made.decode([id]), add_special_tokens=False)["input_ids"]
        rows.append(before[pieces].mean(dim=0) if pieces else before.mean(dim=0))
    shared = sum(name in known for name in made.get_vocab())
    print(f"{shared} of {len(made)} tokens are the teacher's", flush=True)
    network.resize_token_embeddings(len(made), mean_resizing=False)
    with torch.no_grad():
        network.get_input_embeddings().weight.copy_(torch.stack(rows))
    end = made.eos_token_id
    for config in (network.config, network.generation_config):
        config.eos_token_id, config.pad_token_id, config.bos_token_id = end, end, made.bos_token_id
    network.save_pretrained(folder)
    made.save_pretrained(folder)


def measure(words: Sequence[str], out: str) -> str:
    """One run, in words."""
    found: list[dict[str, Any]] = []
    minutes = seconds(lambda: found.append(asked(["generator", "--json", *words]))) / 60
    said = asked(["diagnose", out, "--json"])
    agreement, student = said["agreement"], said["calibration"]["student"]
    training = found[0]["training"]
    parts = [
        f"held-out KL {agreement['kl']:.3f}",
        f"same likeliest token {agreement['top1']:.3f}",
        f"correlation {agreement['correlation']:.3f}",
        f"perplexity of right answers {student['perplexity'] or float('inf'):.2f}",
        f"likeliest right {student['accuracy']:.3f}",
        f"ECE {student['ece']:.3f}",
        f"{training['steps']} steps, {training['tokens']} tokens",
        f"{minutes:.0f} minutes",
    ]
    if said["coverage"]:
        cover = said["coverage"]
        parts.append(f"coverage {cover['share_of_tokens']:.3f}, mass {cover['share_of_mass']:.3f}")
    return "; ".join(parts)


def asked(words: Sequence[str]) -> dict[str, Any]:
    """What a command prints as JSON."""
    result = CliRunner().invoke(command, list(words))
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


if __name__ == "__main__":
    main()
