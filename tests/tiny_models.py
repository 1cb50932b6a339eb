"""Tiny but whole sentence-transformers models, made in code: they load, embed and can be taught."""

import functools
import json
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = [
    "the",
    "a",
    "of",
    "in",
    "on",
    "and",
    "to",
    "is",
    "are",
    "was",
    "what",
    "which",
    "who",
    "where",
    "how",
    "river",
    "city",
    "tree",
    "bird",
    "stone",
    "bridge",
    "house",
    "road",
    "sea",
    "hill",
    "king",
    "queen",
    "song",
    "bread",
    "water",
    "fire",
    "wind",
    "rain",
    "snow",
    "light",
    "night",
    "day",
    "year",
    "old",
    "new",
    "long",
    "short",
    "high",
    "low",
    "green",
    "red",
    "blue",
    "white",
    "black",
    "runs",
    "flows",
    "grows",
    "sings",
    "falls",
    "builds",
    "breaks",
]
"""Whole words of the vocabulary; any other word is spelt in letters."""

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of some 120 pieces that knows every text in Latin letters."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!"
    pieces = [*_SPECIAL, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    named = ("pad", "unk", "cls", "sep", "mask")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        **{f"{name}_token": token for name, token in zip(named, _SPECIAL, strict=True)},
    )


def save_static(folder: Path) -> Path:
    """A table of token vectors."""
    tokens = StaticEmbedding(make_tokenizer().backend_tokenizer, embedding_dim=32)
    SentenceTransformer(modules=[tokens], device="cpu").save(str(folder), create_model_card=False)
    return folder


def save_tiny(
    folder: Path,
    *,
    seed: int = 0,
    layers: int = 4,
    dimensions: int = 32,
    similarity: str = "cosine",
    weight: float | None = None,
    prompts: dict[str, str | None] | None = None,
) -> Path:
    """A BERT of random weights with mean pooling and normalisation, saved in ``folder``.

    ``weight`` is put into one of its weights, to spoil it. ``prompts`` go before its texts.
    """
    whole = folder / "transformer"
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(str(whole))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=dimensions,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * dimensions,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(str(whole))
    transformer = Transformer(str(whole), max_seq_length=64)
    if weight is not None:
        with torch.no_grad():
            transformer.auto_model.encoder.layer[0].output.dense.weight[0, 0] = weight
    made = SentenceTransformer(
        modules=[transformer, Pooling(dimensions, "mean"), Normalize()],
        device="cpu",
        similarity_fn_name=similarity,
        prompts=prompts,
    )
    made.save_pretrained(str(folder), create_model_card=False)
    _remove(whole)
    return folder


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


@functools.cache
def texts(count: int) -> tuple[str, ...]:
    """Distinct made-up sentences of the vocabulary's words."""
    size = len(WORDS)
    return tuple(
        " ".join(WORDS[(number * step + step * step) % size] for step in range(1, 8))
        + f" {number}."
        for number in range(count)
    )


def save_searched(folder: Path, *, documents: int, queries: int) -> Path:
    """A collection in BEIR's layout: :func:`texts`, searched with the openings of the first."""
    wanted = texts(documents)
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": str(number), "text": text} for number, text in enumerate(wanted)]
    asked = [
        {"_id": f"q{number}", "text": " ".join(text.split()[:5])}
        for number, text in enumerate(wanted[:queries])
    ]
    for name, rows in (("corpus", corpus), ("queries", asked)):
        lines = (json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines))
    judged = [f"q{number}\t{number}\t1" for number in range(queries)]
    head = "query-id\tcorpus-id\tscore"
    (folder / "qrels/test.tsv").write_text("\n".join([head, *judged]) + "\n")
    return folder
