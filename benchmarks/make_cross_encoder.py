"""A cross-encoder to be a teacher, where no hub can be reached: MiniLM with one logit on a pair, fitted to
questions of xquad in a few minutes.

- Passages of ``RAGDISTILL_TEST_DATA/xquad`` are cut into pieces of whole sentences (:data:`PIECE_WORDS`); a
  question belongs to the piece of its passage that has the answer, and to none if several have it.
- Articles are drawn apart: the questions of three in four may be learnt from, the others only measure. All
  pieces are in the corpus, as they would be in an index.
- First lesson: words in a row are listed with the short window that they are copied from, and windows of
  other documents. An embedder has never seen two texts at once; to find the one in the other it learns in
  30 steps.
- Second lesson: a question is listed with its piece, two of MiniLM's first 20 and one that is drawn.
- The loss is the softmax's cross entropy over a list (``ListNetLoss``, of one relevant document: InfoNCE).
  There is no dropout, and words' embeddings stay as they are.
"""

import argparse
import dataclasses
import random
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from datasets import Dataset
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import ListNetLoss

from benchmarks.common import data_folder, minilm
from benchmarks.quality import write
from ragdistill.data.collection import Collection, Document, Qrels, Query
from ragdistill.data.loading import load
from ragdistill.data.sampling import sample
from ragdistill.data.training_texts import sentences
from ragdistill.first_stage import Nearest
from ragdistill.models.resolve import resolve
from ragdistill.training.preparing import freeze_words, without_dropout

PIECE_WORDS = 30
"""What a piece of a passage has at least, but for the last one."""
LEARNT = 0.75
"""Share of the articles whose questions may be learnt from."""
WINDOW = 20
"""Words of a window that words are copied from."""
NEAR = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the cross-encoder is made; benchmarks/LOG.md tells what else was tried."""

    copies: int = 240
    """Lists of the first lesson."""
    questions: int = 800
    """Lists of the second lesson, at most."""
    ways: int = 4
    """Documents in a list, the relevant one among them."""
    hard: int = 2
    """How many of the others MiniLM finds near the question; the rest are any."""
    epochs: float = 1
    lr: float = 1e-4
    """Peak; of the head, which knows nothing yet, ten times as much. Twice as much in the first lesson."""
    batch_lists: int = 4
    seed: int = 0


def main() -> None:
    """Leave the cross-encoder where it is asked for, and beside it what it can be measured on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="where the cross-encoder is to be left")
    parser.add_argument("--data", type=Path, help="where the collection is to be left")
    asked, folder = parser.parse_args(), data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    collection = pieces(folder / "xquad")
    if asked.data:
        write(collection, asked.data)
    made = make(collection, asked.folder, Recipe())
    print(f"{made}: a cross-encoder; {len(collection.documents)} documents")


def pieces(folder: Path, *, queries: int = 200, seed: int = 0) -> Collection:
    """xquad in pieces, with splits ``train`` and, of other articles, ``test``.

    Args:
        folder: of xquad, in BEIR's layout.
        queries: how many are judged in ``test`` at most.
    """
    whole = load(str(folder))
    articles = sorted({_article(document.id) for document in whole.documents})
    learnt = set(sample(articles, round(LEARNT * len(articles)), seed, key=str))
    parts = {document.id: cut(document) for document in whole.documents}
    judged: dict[str, dict[str, dict[str, int]]] = {"train": {}, "test": {}}
    for query in sample(list(whole.judged("test")), None, seed, key=lambda item: item.id):
        passage = next(iter(whole.qrels["test"][query.id]))
        having = [part.id for part in parts[passage] if _answers(query, part)]
        split = judged["train" if _article(passage) in learnt else "test"]
        if len(having) == 1 and (split is judged["train"] or len(split) < queries):
            split[query.id] = {having[0]: 1}
    qrels: dict[str, Qrels] = dict(judged)
    kept = tuple(query for query in whole.queries if any(query.id in row for row in qrels.values()))
    documents = tuple(part for row in parts.values() for part in row)
    return Collection("xquad-pieces", documents, kept, qrels)


def _article(name: str) -> str:
    return name.rsplit("-", 1)[0]


def _answers(query: Query, piece: Document) -> bool:
    return any(answer.casefold() in piece.text.casefold() for answer in query.answers or ())


def cut(document: Document) -> list[Document]:
    """``document`` in pieces of whole sentences."""
    told, starts, words = sentences(document.text), [0], 0
    for number, sentence in enumerate(told[:-1], start=1):
        words += len(sentence.split())
        if words >= PIECE_WORDS:
            starts, words = [*starts, number], 0
    return [
        dataclasses.replace(
            document, id=f"{document.id}-{number}", text=" ".join(told[begun:ended])
        )
        for number, (begun, ended) in enumerate(pairwise([*starts, len(told)]))
    ]


def make(collection: Collection, folder: Path, recipe: Recipe) -> Path:
    """Fit the cross-encoder to ``collection``'s documents, then to its ``train`` split, and leave it in
    ``folder``; one that is there is taken as it is."""
    if (folder / "config.json").exists():
        return folder
    model = CrossEncoder(str(resolve("MiniLM").path), num_labels=1, device="cpu")
    without_dropout(model)
    freeze_words(model)
    fit(model, copies(collection, recipe), dataclasses.replace(recipe, lr=2 * recipe.lr, epochs=1))
    fit(model, training_lists(collection, recipe), recipe)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def fit(model: CrossEncoder, lists: Dataset, recipe: Recipe) -> None:
    """One lesson; ``lists`` has rows of ``query``, ``docs`` and ``labels``."""
    with tempfile.TemporaryDirectory() as scratch:
        asked = CrossEncoderTrainingArguments(
            output_dir=scratch,
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_lists,
            learning_rate=recipe.lr,
            learning_rate_mapping={"classifier": 10 * recipe.lr},
            warmup_steps=0.1,
            lr_scheduler_type="cosine",
            seed=recipe.seed,
            save_strategy="no",
            logging_steps=10,
            report_to="none",
            use_cpu=True,
            dataloader_pin_memory=False,
        )
        loss = ListNetLoss(model)
        CrossEncoderTrainer(model=model, args=asked, train_dataset=lists, loss=loss).train()


def copies(collection: Collection, recipe: Recipe) -> Dataset:
    """Some words in a row, listed with the window that they are from and windows of other documents."""
    draw = random.Random(recipe.seed)
    long = [words for d in collection.documents if len(words := d.text.split()) >= WINDOW]

    def span(words: list[str], length: int) -> list[str]:
        start = draw.randrange(len(words) - length + 1)
        return words[start : start + length]

    rows = []
    for _ in range(recipe.copies):
        windows = [span(words, WINDOW) for words in draw.sample(long, recipe.ways)]
        rows.append((span(windows[0], draw.randint(5, 8)), windows))
    return _dataset(
        [" ".join(query) for query, _ in rows],
        [[" ".join(words) for words in windows] for _, windows in rows],
    )


def training_lists(collection: Collection, recipe: Recipe) -> Dataset:
    """Rows of ``query``, ``docs`` and ``labels``, the relevant document first."""
    texts = [document.content for document in collection.documents]
    places = {document.id: place for place, document in enumerate(collection.documents)}
    asked = sample(
        list(collection.judged("train")), recipe.questions, recipe.seed, key=lambda item: item.id
    )
    relevant = [[places[name] for name in collection.qrels["train"][query.id]] for query in asked]
    words = [query.text for query in asked]
    found = Nearest("MiniLM", "", minilm(), texts).find(words, NEAR)
    lists = [
        _listed(right, row, len(texts), recipe, random.Random(f"{recipe.seed} {number}"))
        for number, (right, row) in enumerate(zip(relevant, found.places.tolist(), strict=True))
    ]
    return _dataset(words, [[texts[place] for place in row] for row in lists])


def _dataset(queries: list[str], docs: list[list[str]]) -> Dataset:
    # ListNet takes the softmax of labels, too: of these it is 0.9999 and next to nothing.
    labels = [[10.0] + [0.0] * (len(row) - 1) for row in docs]
    return Dataset.from_dict({"query": queries, "docs": docs, "labels": labels})


def _listed(
    relevant: list[int], near: list[int], documents: int, recipe: Recipe, draw: random.Random
) -> list[int]:
    """Places of a list: the relevant document, some that are near the question, and any others."""
    hard = draw.sample([place for place in near if place not in relevant], recipe.hard)
    known = {*relevant, *hard}
    others = [place for place in range(documents) if place not in known]
    return [*relevant, *hard, *draw.sample(others, recipe.ways - 1 - recipe.hard)]


if __name__ == "__main__":
    main()
