"""Questions that take two or three sums over numbers in their context, and a small model to learn them,
both made in code."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

GOODS = ("plums", "pears", "figs", "limes", "dates", "kiwis", "nuts", "eggs")
VALUES = range(2, 7)
"""Of prices and counts."""
PURSE = 40
ON_SALE = 4
HELD_BACK = 0.2
"""Share of the tuples of numbers that only questions of the test split have."""
_TAGS = ("<thinking>", "</thinking>", "<answer>", "</answer>")
_TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, with the numbers that it is about in their order."""

    text: str
    numbers: tuple[str | int, ...]
    rationale: str
    answer: str


def ask(prices: dict[str, int], rng: random.Random) -> Asked:
    """What some of the goods on a list cost, by one way of asking."""
    one, other = rng.sample(sorted(prices), 2)
    price, second = prices[one], prices[other]
    few, more = rng.choice(VALUES), rng.choice(VALUES)
    kind = rng.choice(("together", "left", "then"))
    if kind == "then":
        count = few + more
        told = f"{few} + {more} = {count} . {one} {price} . {count} * {price} = {count * price} ."
        text = f"What do {few} {one} and then {more} {one} cost?"
        return Asked(text, (kind, few, more, price), told, str(count * price))
    begun = f"{one} {price} . {few} * {price} = {few * price} ."
    if kind == "left":
        rest = PURSE - few * price
        told = f"{begun} {PURSE} - {few * price} = {rest} ."
        text = f"What is left of {PURSE} coins after {few} {one}?"
        return Asked(text, (kind, few, price), told, str(rest))
    costs = few * price, more * second
    told = (
        f"{begun} {other} {second} . {more} * {second} = {costs[1]} . "
        f"{costs[0]} + {costs[1]} = {sum(costs)} ."
    )
    text = f"What do {few} {one} and {more} {other} cost together?"
    return Asked(text, (kind, few, price, more, second), told, str(sum(costs)))


def shops(split: str, count: int, each: int, seed: int) -> Iterator[tuple[str, list[Asked]]]:
    """So many lists of prices with ``each`` questions at most; no tuple of numbers is in both splits."""
    rng = random.Random(f"{seed} {split}")
    for _ in range(count):
        prices = {name: rng.choice(VALUES) for name in rng.sample(GOODS, ON_SALE)}
        found: dict[str, Asked] = {}
        for _ in range(20 * each):
            made = ask(prices, rng)
            held_back = random.Random(f"{seed} {made.numbers}").random() < HELD_BACK
            if held_back == (split == "test") and len(found) < each:
                found.setdefault(made.text, made)
        if found:
            yield (
                " , ".join(f"{name} {price}" for name, price in prices.items()) + " .",
                [*found.values()],
            )


def save_data(folder: Path, *, train: int, test: int, seed: int) -> None:
    """A collection of ``train`` and ``test`` contexts, of eight questions and of two."""
    documents, queries = [], []
    (folder / "qrels").mkdir(parents=True)
    for split, count, each in (("train", train, 8), ("test", test, 2)):
        judged = ["query-id\tcorpus-id\tscore"]
        for number, (text, asked) in enumerate(shops(split, count, each, seed)):
            document = f"{split}{number}"
            documents.append({"_id": document, "title": "", "text": text})
            for place, item in enumerate(asked):
                row = {"_id": f"{document}q{place}", "text": item.text}
                queries.append({**row, "answers": [item.answer], "rationale": item.rationale})
                judged.append(f"{row['_id']}\t{document}\t1")
        (folder / f"qrels/{split}.tsv").write_text("\n".join(judged) + "\n", "utf-8")
    for name, rows in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")


def save_model(folder: Path, texts: Sequence[str], *, layers: int, seed: int) -> None:
    """A Llama of random weights with 128 dimensions, whose tokens are the words of ``texts``. Its embeddings
    are its head, so that what is copied need not be learnt word by word."""
    parts = pre_tokenizers.Whitespace()
    words = {word for text in texts for word, _ in parts.pre_tokenize_str(text)}
    words |= {str(number) for number in range(200)}
    names = ["[PAD]", "[UNK]", "[END]", *_TAGS, *sorted(words - {*_TAGS})]
    made = Tokenizer(WordLevel({name: place for place, name in enumerate(names)}, "[UNK]"))
    made.pre_tokenizer = parts
    made.add_tokens([AddedToken(tag, normalized=False) for tag in _TAGS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        eos_token="[END]",
        model_max_length=1024,
    )
    tokenizer.chat_template = _TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = LlamaForCausalLM(config)
        torch.nn.init.normal_(network.get_input_embeddings().weight, std=0.3)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
