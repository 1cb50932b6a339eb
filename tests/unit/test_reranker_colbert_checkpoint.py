"""A checkpoint holds what colbert-ai makes the student's vectors of.

colbert-ai cannot be here (``make interop`` runs it): what its ``QueryTokenizer``, ``DocTokenizer`` and
``ColBERT`` do is written down below, step by step, on the files alone.
"""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import MultiVectorEncoder
from torch import Tensor
from transformers import AutoTokenizer, BertModel

from ragdistill.errors import UserError
from ragdistill_reranker.colbert_checkpoint import write_colbert_checkpoint
from ragdistill_reranker.late_interaction import make_late_interaction
from tiny_models import save_tiny, texts

QUERIES = ["what is the old bridge?", "river", "the king and " + " ".join(texts(9))]
DOCUMENTS = [*texts(4), "stone, bridge. of the sea!", "bread \u20ac", " ".join(texts(30)), ""]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("colbert") / "model")


def made(base: Path, *, expanded: bool) -> MultiVectorEncoder:
    return make_late_interaction(
        base, 8, texts(40), "cpu", query_length=12, document_length=40, expanded=expanded
    )


class Theirs:
    """colbert-ai 0.2.22 on a folder."""

    def __init__(self, folder: Path) -> None:
        self.said = json.loads((folder / "artifact.metadata").read_text())
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        self.bert = BertModel.from_pretrained(str(folder)).eval()
        self.linear = load_file(folder / "model.safetensors")["linear.weight"]
        self.skipped = [
            self.tokenizer.encode(one, add_special_tokens=False)[0] for one in string.punctuation
        ]

    def vectors(self, asked: list[str], kind: str) -> list[Tensor]:
        """Of tokens that are not zeros."""
        length = self.said[f"{kind}_maxlen"]
        read = self.tokenizer(
            asked,
            padding="max_length" if kind == "query" else "longest",
            truncation="longest_first",
            max_length=length - 1,
            return_tensors="pt",
        )
        marker = self.tokenizer.convert_tokens_to_ids(self.said[f"{kind}_token_id"])
        ids, mask = inserted(read["input_ids"], marker), inserted(read["attention_mask"], 1)
        if kind == "query":
            ids[ids == self.tokenizer.pad_token_id] = self.tokenizer.mask_token_id
        with torch.no_grad():
            states = self.bert(ids, attention_mask=mask)[0] @ self.linear.T
        kept = ids != self.tokenizer.pad_token_id
        if kind == "doc":
            kept &= ~torch.isin(ids, torch.tensor(self.skipped))
        unit = torch.nn.functional.normalize(states, dim=2)
        return [row[which] for row, which in zip(unit, kept, strict=True)]


def inserted(rows: Tensor, value: int) -> Tensor:
    column = torch.full((len(rows), 1), value)
    return torch.cat([rows[:, :1], column, rows[:, 1:]], dim=1)


@pytest.mark.parametrize("expanded", [True, False])
def test_colbert_makes_the_students_vectors_of_it(
    expanded: bool, base: Path, tmp_path: Path
) -> None:
    model = made(base, expanded=expanded)
    write_colbert_checkpoint(model, tmp_path / "checkpoint")
    theirs = Theirs(tmp_path / "checkpoint")
    for mine, kind, asked in (
        (model.encode_query(QUERIES), "query", QUERIES),
        (model.encode_document(DOCUMENTS), "doc", DOCUMENTS),
    ):
        for one, two in zip(mine, theirs.vectors(asked, kind), strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    assert {len(one) for one in model.encode_query(QUERIES)} == ({12} if expanded else {4, 9, 12})


def test_the_library_loads_it_too(base: Path, tmp_path: Path) -> None:
    model = made(base, expanded=True)
    write_colbert_checkpoint(model, tmp_path)
    again = MultiVectorEncoder(str(tmp_path), device="cpu")
    known = [text for text in DOCUMENTS if text.isascii()]  # it keeps what the vocabulary lacks
    for mine, theirs in (
        (model.encode_query(QUERIES), again.encode_query(QUERIES)),
        (model.encode_document(known), again.encode_document(known)),
    ):
        for one, two in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_it_is_weights_and_json(base: Path, tmp_path: Path) -> None:
    write_colbert_checkpoint(made(base, expanded=True), tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".safetensors", ".json", ".metadata"}
    keys = set(load_file(tmp_path / "model.safetensors"))
    assert "linear.weight" in keys
    assert all(key.startswith("bert.") for key in keys - {"linear.weight"})
    written = "".join(path.read_text() for path in tmp_path.glob("*.json"))
    assert str(base) not in written
    assert "TokenizersBackend" not in written


def no_marker(model: MultiVectorEncoder) -> None:
    model.prompts["query"] = "find the "


def no_skipping(model: MultiVectorEncoder) -> None:
    model[2].skiplist_words = []


def skipping_in_queries(model: MultiVectorEncoder) -> None:
    model[2].skiplist_tasks = ["query", "document"]


def no_length(model: MultiVectorEncoder) -> None:
    model[0].document_length = None


def endless_queries(model: MultiVectorEncoder) -> None:
    model[0].query_expansion = {"strategy": "min", "length": 12}


def bias(model: MultiVectorEncoder) -> None:
    model[1].linear.bias = torch.nn.Parameter(torch.zeros(8))


def no_projection(model: MultiVectorEncoder) -> None:
    del model[1]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (no_marker, "no single token marks"),
        (no_skipping, "does not leave out the punctuation"),
        (skipping_in_queries, "does not leave out the punctuation"),
        (no_length, "no length of queries or of documents"),
        (endless_queries, "not expanded to one length"),
        (bias, "not one matrix"),
        (no_projection, "it has modules Transformer, MultiVectorMask, Normalize, not"),
    ],
)
def test_what_colbert_cannot_do_is_refused(
    harm: Callable[[MultiVectorEncoder], None], said: str, base: Path, tmp_path: Path
) -> None:
    model = made(base, expanded=True)
    harm(model)
    with pytest.raises(UserError, match=said):
        write_colbert_checkpoint(model, tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
