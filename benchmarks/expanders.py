"""What retrieval feedback (RM3) does to the search by words, which is what ``query-rewriter --task expand`` has to teach by
default: on vaswani_npl and pydocs, by how many documents and words it takes, and how they are searched with.

``--students`` also distils it, with the options that are not known here. benchmarks/LOG.md says how much has been seen.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence

from click.testing import CliRunner

from benchmarks.common import data_folder
from ragdistill.cli import main as command
from ragdistill.data.collection import Qrels, Query
from ragdistill.data.loading import load
from ragdistill.data.splits import choose
from ragdistill.first_stage import Words
from ragdistill.metrics.lift import lift
from ragdistill.metrics.trec import Rankings
from ragdistill.writing import Written
from ragdistill_query_rewriter import evaluation, feedback
from ragdistill_query_rewriter.expansions import Expansion
from ragdistill_query_rewriter.feedback import Feedback, FeedbackSettings
from ragdistill_query_rewriter.filtering import Trial
from ragdistill_query_rewriter.ways import Way

SETTINGS = (
    FeedbackSettings(10, 10, 0.5),
    FeedbackSettings(10, 20, 0.5),
    FeedbackSettings(10, 30, 0.6),
    FeedbackSettings(20, 30, 0.6),
)


def main() -> None:
    """Print a line for each set, setting and way of searching."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="*", help="vaswani_npl and pydocs unless named")
    parser.add_argument(
        "--queries", type=int, default=300, help="the first so many that are judged"
    )
    parser.add_argument("--students", action="store_true")
    asked, others = parser.parse_known_args()
    folder = data_folder()
    if folder is None and not asked.sets:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    for name in asked.sets or (f"{folder}/vaswani_npl", "pydocs"):
        teachers(name, asked.queries)
        if asked.students:
            print(student(name, others), flush=True)


def teachers(name: str, count: int) -> None:
    """What feedback adds on one set."""
    data = load(name)
    split, qrels = choose(data)
    queries = list(data.judged(split))[:count]
    judged = {query.id: qrels[query.id] for query in queries}
    ids, texts = [each.id for each in data.documents], [each.content for each in data.documents]
    stage = Words(texts)
    raw = evaluation.search(stage, ids, queries, [query.text for query in queries])
    print(f"{data.name}, {split}: {len(queries)} queries, {len(ids)} documents")
    for settings in SETTINGS:
        told = written(Feedback(texts, "", ("bm25", "bm25"), lambda: stage, lambda: stage, settings), queries)  # fmt: skip
        for way in (Way("append", settings.original_weight), Way("append-rrf", settings.original_weight)):  # fmt: skip
            pairs = zip(queries, told, strict=True)
            asked = [way.text(query.text, each.variants) for query, each in pairs]
            found = way.find(stage, ids, queries, asked)
            kept = Trial([stage], ids, way, judged)(queries, told).as_json()
            harm = evaluation.harm(judged, raw, found)
            parts = [gain(judged, raw, found, measure) for measure in evaluation.MEASURES]
            parts += [f"{kept['better']} better, {kept['good']} good, {kept['worse']} worse"]
            print(
                f"  {settings}, {way.combine}: {'; '.join(parts)}; harm {harm['worse']:.3f}",
                flush=True,
            )


def written(teacher: Feedback, queries: Sequence[Query]) -> list[Expansion]:
    """What it writes of each."""
    found = [Expansion(fault="empty")] * len(queries)
    for (place,), (kept,), _ in teacher.write([feedback.messages(query) for query in queries]):
        reply = Written.of(kept)
        found[place] = Expansion(fault="empty") if reply.fault else Expansion((reply.text,))
    return found


def gain(judged: Qrels, raw: Rankings, found: Rankings, measure: str) -> str:
    """What one measure gains, with its interval at 95 %."""
    first, then = (evaluation.values(judged, each, measure) for each in (raw, found))
    row = lift(first, then, then, 0)
    low, high = row["teacher_ci95"]
    return f"{measure} {first.mean():.3f} {row['teacher']:+.4f} ({low:+.4f} to {high:+.4f})"


def student(name: str, others: Sequence[str]) -> str:
    """What a student keeps of it."""
    with tempfile.TemporaryDirectory() as scratch:
        words = ["query-rewriter", "--task", "expand", "--json", "--data", name, "--out", scratch]
        result = CliRunner().invoke(command, [*words, *others])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    row = report["quality"]["R@100"]
    speeds = (f"{system} p95 {each['p95_ms']} ms" for system, each in report["speed"].items())
    gates = (f"{kind} {each['recipe']}, passed {each['passed']}" for kind, each in report["exports"].items())  # fmt: skip
    return (
        f"  student: R@100 raw {row['raw']:.3f}, teacher {row['teacher']:.3f}, student {row['student']:.3f}, share "
        f"{row['lift']['share']}; {', '.join([*speeds, *gates])}"
    )


if __name__ == "__main__":
    main()
