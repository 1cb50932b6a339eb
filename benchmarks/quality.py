"""Claim: on collections of 700 to 1,500 documents, without a training query, three layers keep
0.99 of the teacher's nDCG@10 on average, each in at most 15 minutes.

The collections are cut from the sets in ``RAGDISTILL_TEST_DATA``.
"""

import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

from click.testing import CliRunner

from benchmarks.common import data_folder, seconds
from ragdistill.cli import main as command
from ragdistill.data.collection import Collection
from ragdistill.data.loading import load
from ragdistill.data.sampling import sample


def main() -> None:
    """Print what each collection kept, and their mean."""
    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    kept = [measure(collection) for collection in collections(folder)]
    print(f"mean of {len(kept)}: {mean(kept):.4f} of the teacher's nDCG@10")


def collections(folder: Path) -> tuple[Collection, ...]:
    """The three that quality is measured on, from the evaluation sets in ``folder``."""
    canard = load(str(folder / "canard"))
    rewritten = [dataclasses.replace(q, text=q.rewrite or q.text) for q in canard.queries]
    return (
        cut(load(str(folder / "vaswani_npl")), 1200),
        cut(dataclasses.replace(canard, queries=tuple(rewritten)), 1500),
        together(load(str(folder / "clapnq")), load(str(folder / "xquad"))),
    )


def measure(collection: Collection) -> float:
    """Distil three layers with the defaults; the share of the teacher's nDCG@10 that is kept."""
    with tempfile.TemporaryDirectory() as scratch:
        write(collection, Path(scratch) / collection.name)
        words = ["embedder", "--teacher", "MiniLM", "--student-layers", "3", "--json"]
        words += ["--data", f"{scratch}/{collection.name}", "--out", f"{scratch}/run"]
        words += ["--store", f"{scratch}/store"]
        found = []
        minutes = seconds(lambda: found.append(CliRunner().invoke(command, words))) / 60
        assert found[0].exit_code == 0, found[0].output
        report = json.loads(found[0].stdout)
    row, rates = report["quality"]["nDCG@10"], report["speed"]
    faster = rates["onnx-int8"]["per_second"] / rates["teacher"]["per_second"]
    low, high = row["ci95"]
    print(
        f"{collection.name}: {len(collection.documents)} documents, {report['data']['queries']} "
        f"queries: kept {row['retention']:.4f} ({low:.3f} to {high:.3f}), int8 "
        f"{report['exports']['onnx-int8']['quality']['nDCG@10']['retention']:.4f} at "
        f"{faster:.1f} times the teacher's documents/s; {minutes:.0f} minutes in all",
        flush=True,
    )
    return float(row["retention"])


@contextmanager
def place(collection: Collection, keep: Path | None) -> Iterator[Path]:
    """A folder with ``collection`` in ``data``, which is ``keep``'s of that name: runs in it that were
    finished are not run again. Where nothing is to be kept, one that goes away."""
    if keep is None:
        with tempfile.TemporaryDirectory() as scratch:
            write(collection, Path(scratch) / "data")
            yield Path(scratch)
        return
    folder = keep / collection.name
    if not (folder / "data").exists():
        write(collection, folder / "data")
    yield folder


def cut(collection: Collection, count: int) -> Collection:
    """Some queries with their documents, filled up with others to ``count`` documents."""
    qrels = {
        q: {d: g for d, g in row.items() if g > 0} for q, row in collection.qrels["test"].items()
    }
    wanted: set[str] = set()
    for query in sample(list(qrels), None, 0, key=str):
        if len(wanted | set(qrels[query])) <= 0.7 * count:
            wanted |= set(qrels[query])
    others = [item for item in collection.documents if item.id not in wanted]
    wanted |= {item.id for item in sample(others, count - len(wanted), 0, key=lambda d: d.id)}
    whole = {q: row for q, row in qrels.items() if row and set(row) <= wanted}
    return dataclasses.replace(
        collection,
        documents=tuple(item for item in collection.documents if item.id in wanted),
        queries=tuple(item for item in collection.queries if item.id in whole),
        qrels={"test": whole},
    )


def together(one: Collection, other: Collection) -> Collection:
    """Two collections as one: a harder index than either."""
    documents, queries, qrels = [], [], {}
    for part in (one, other):
        documents += [dataclasses.replace(d, id=f"{part.name}-{d.id}") for d in part.documents]
        judged = part.judged("test")
        queries += [dataclasses.replace(q, id=f"{part.name}-{q.id}") for q in judged]
        for query in judged:
            row = part.qrels["test"][query.id]
            qrels[f"{part.name}-{query.id}"] = {f"{part.name}-{d}": g for d, g in row.items()}
    name = f"{one.name}-{other.name}"
    return Collection(name, tuple(documents), tuple(queries), {"test": qrels})


def write(collection: Collection, folder: Path) -> None:
    """A collection as a folder in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as stream:
        for d in collection.documents:
            stream.write(json.dumps({"_id": d.id, "title": d.title, "text": d.text}) + "\n")
    with (folder / "queries.jsonl").open("w") as stream:
        for q in collection.queries:
            stream.write(json.dumps({"_id": q.id, "text": q.text}) + "\n")
    for split, judged in collection.qrels.items():
        with (folder / f"qrels/{split}.tsv").open("w") as stream:
            stream.write("query-id\tcorpus-id\tscore\n")
            for query, row in judged.items():
                stream.writelines(f"{query}\t{d}\t{g}\n" for d, g in row.items())


if __name__ == "__main__":
    main()
