"""Asked of a term selector taught by CANARD's human rewrites: 0.75 of what they add to the raw turns' nDCG@10
(BM25), on conversations that taught nothing; 0.5 on conversations of another origin (``--other FOLDER``); at most 2 %
of the turns found well as they are may get worse; a fifth of the p95 of SmolLM2-135M-Instruct doing the same job with
three examples in its prompt, a tenth as int8 (``--peer``). And what each part of its lesson is worth.

Options that are not known here go to ``ragdistill query-rewriter``. benchmarks/LOG.md says how much has been seen.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from benchmarks.common import data_folder, seconds
from ragdistill.cli import main as command
from ragdistill.data.loading import load
from ragdistill.metrics.latency import profile_requests
from ragdistill.rag.serving import Reference
from ragdistill.rag.serving import Rewriter as Serving
from ragdistill_query_rewriter.serving import open_rewriter
from ragdistill_query_rewriter.serving_options import RewriterOptions

WAYS: Mapping[str, Sequence[str]] = {
    "both": (),
    "labels alone": ("--effect-weight", "0"),
    "effects alone": ("--label-weight", "0"),
}
"""What teaches: the words that humans added, what words do to the search, or both."""


def main() -> None:
    """Print what each way of teaching closes of the gap between raw turns and human rewrites."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--other", help="judged conversations of another origin, in BEIR's layout")
    parser.add_argument("--peer", help="a language model to be timed beside the student")
    asked, others = parser.parse_known_args()
    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    words = ["--task", "rewrite", "--data", f"{folder}/canard"]
    with tempfile.TemporaryDirectory() as scratch:
        for way in asked.ways:
            at = f"{scratch}/{way.replace(' ', '-')}"
            stages = () if way == "both" else ("--stages", "collect,train,evaluate")
            for name, more in (("canard", ()), (asked.other, ("--eval-data", asked.other))):
                if name is not None:
                    out = ("--out", f"{at}-{len(more)}")
                    print(f"{way}, {name}: {measure([*words, *WAYS[way], *more, *others, *stages, *out])}",
                          flush=True)  # fmt: skip
        if asked.peer and "both" in asked.ways:
            print(beside(Path(f"{scratch}/both-0"), asked.peer, f"{folder}/canard"), flush=True)


def measure(words: Sequence[str]) -> str:
    """One run, in words."""
    found = []
    line = ["query-rewriter", "--json", *words]
    minutes = seconds(lambda: found.append(CliRunner().invoke(command, line))) / 60
    assert found[0].exit_code == 0, found[0].output
    return "; ".join([*told(json.loads(found[0].stdout)), f"{minutes:.0f} minutes in all"])


def beside(run: Path, peer: str, data: str) -> str:
    """How long turns take, one at a time, the student and ``peer`` in turns."""
    turns = [query for query in load(data).queries if query.context_turns][:100]
    named = {"student": run / "student", "int8": run / "export/onnx-int8", peer: None}
    parts = {
        name: open_rewriter(Reference(name, path), RewriterOptions(), "cpu")
        for name, path in named.items()
    }

    def served(part: Serving) -> Callable[[int], str]:
        return lambda number: part.rewrite(turns[number].context_turns, turns[number].text)

    serving = {name: served(part) for name, part in parts.items()}
    found = profile_requests(serving, len(turns), items=1, seconds=90.0)
    whole = found.pop(peer)
    shares = (
        f"{name} {each['p95_ms'] / whole['p95_ms']:.4f} of its p95 ({each['p50_ms'] / whole['p50_ms']:.4f} of p50)"
        for name, each in found.items()
    )
    return f"beside {peer}, {whole['calls']} turns of it: {', '.join(shares)}"


def told(report: Mapping[str, Any]) -> list[str]:
    """What is closed, what it harms, and how long it takes."""
    row, harm = report["quality"]["nDCG@10"], report["harm"]["student"]
    lift = row["lift"]
    span = " to ".join(f"{end:.3f}" for end in lift["share_ci95"] or ())
    parts = [
        f"{report['data']['queries']} turns, {report['data']['openings']} of which open a conversation",
        (
            f"nDCG@10 raw {row['raw']:.3f}, student {row['student']:.3f}, human {row['teacher']:.3f}, "
            f"closed {lift['share']:.3f} ({span})"
        ),
        f"worse {harm['worse']:.3f} of {harm['queries']} found well",
        (
            f"anchored {row['anchored']:.3f}, closed {row['anchored_lift']['share']:.3f}, "
            f"worse {report['harm']['anchored']['worse']:.3f}"
        ),
    ]
    for name, speed in (report.get("speed") or {}).items():
        parts.append(f"{name} p50 {speed['p50_ms']:.1f} ms, p95 {speed['p95_ms']:.1f} ms")
    return parts


if __name__ == "__main__":
    main()
