"""Small conversations, made in code: each is of one thing, which only its first turn names."""

import json
from pathlib import Path
from typing import Any

from tiny_models import WORDS

THINGS = [f"{a} {b}" for a in WORDS[36:48] for b in WORDS[15:27]]
"""Two words each."""
ASKED = ("where is it", "who sings of it", "which king builds it", "how long is it")


def rows(conversations: int = 30, turns: int = 4) -> tuple[list[Any], list[Any], list[str]]:
    """Documents, queries and judgments: a document for each turn, that has the thing's name and the answer."""
    documents, queries, judged = [], [], []
    for number in range(conversations):
        thing, said = THINGS[number * 4 % len(THINGS)] + f" x{number}", list[str]()
        for turn in range(turns):
            name = f"c{number}t{turn}"
            asked = f"what is the {thing}" if not turn else ASKED[turn % len(ASKED)]
            answer = f"{WORDS[15 + (number + 7 * turn) % 30]} {WORDS[30 + (number + turn) % 20]}"
            last = asked.split()[-2] if turn else "is"
            documents.append({"_id": f"d{name}", "title": thing, "text": f"{last} {answer}"})
            rewrite = asked if not turn else asked.replace("it", f"the {thing}")
            queries.append(
                {"_id": name, "text": asked, "context_turns": list(said), "rewrite": rewrite}
            )
            judged.append(f"{name}\td{name}\t1\n")
            said += [asked, f"{answer} of the {thing}" if not turn else answer]
    return documents, queries, judged


def conversing(folder: Path, conversations: int = 30, *, rewrites: bool = True) -> Path:
    """A collection of them in ``folder``; one split."""
    documents, queries, judged = rows(conversations)
    if not rewrites:
        for query in queries:
            del query["rewrite"]
    write(folder, documents, queries, judged)
    return folder


def write(folder: Path, documents: list[Any], queries: list[Any], judged: list[str]) -> None:
    """A folder in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True)
    for name, each in (("corpus", documents), ("queries", queries)):
        text = "".join(json.dumps(row) + "\n" for row in each)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
