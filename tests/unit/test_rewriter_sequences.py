"""Students that write: what they read, how they are fitted, how they are kept."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig

from expansion_helpers import bart, save_seq2seq
from ragdistill.data.collection import Query
from ragdistill.losses.targets import IGNORED
from ragdistill.models.resolve import resolve
from ragdistill.training.fitting import BLANK, COLUMN
from ragdistill.training.preparing import without_dropout
from ragdistill_query_rewriter import (
    scratch,
    sequence_exporting,
    sequence_runtime,
    sequences,
    settings,
)
from ragdistill_query_rewriter.rewriter import Rewriter
from ragdistill_query_rewriter.sequence_training import (
    Batches,
    SequenceLoss,
    SequenceRecipe,
    fit,
)
from ragdistill_query_rewriter.sequences import Pair, Seq2SeqStudent, SequenceStudent
from ragdistill_query_rewriter.settings import SequenceSettings
from tiny_writers import save_writer

LESSON = (
    ("where is the river", ("old bridge", "water")),
    ("which king builds", ()),
    ("who sings at night", ("bird song",)),
)
KINDS = ("t5", "bart", "causal")


def made(folder: Path, kind: str) -> SequenceStudent:
    told = SequenceSettings(window=32, new_tokens=24)
    if kind == "causal":
        told = SequenceSettings(window=32, new_tokens=24, student="causal")
        save_writer(folder, ends=[3])
    else:
        config: PretrainedConfig | None = bart() if kind == "bart" else None
        save_seq2seq(folder, config)
    return sequences.make(resolve(str(folder)), "cpu", told, None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_what_it_is_told_and_is_kept(tmp_path: Path, kind: str) -> None:
    student = made(tmp_path / "model", kind)
    assert student.widened  # the tiny tokenizers know no such sign
    pairs = [student.pair(*each) for each in LESSON]
    recipe = SequenceRecipe(lr=1e-2, seed=0, epochs=150, batch_tokens=512)
    found = fit(student, pairs, pairs, recipe, tmp_path / "run/checkpoints")
    assert found["losses"][-1].get("held_out", 0.0) < 0.5
    asked = [query for query, _ in LESSON]
    said = [tuple(each) for each in student.expand(asked)]
    assert said == [variants for _, variants in LESSON]
    # Alone as beside others.
    assert [tuple(student.expand([query])[0]) for query in asked] == said
    student.save(tmp_path / "student")
    auto = AutoModelForCausalLM if kind == "causal" else AutoModelForSeq2SeqLM
    assert auto.from_pretrained(tmp_path / "student")
    again = sequences.load(tmp_path / "student", "cpu")
    assert [tuple(each) for each in again.expand(asked)] == said
    served = Rewriter.load(tmp_path / "student")
    assert [served.rewrite([], query) for query in asked] == student.rewrite(
        [Query("", query) for query in asked]
    )
    assert served.rewrite([], asked[1]) == asked[1]
    if find_spec("ctranslate2") is None:
        return
    # An export says the same, and is silent where the student is.
    exported = sequence_exporting.write(tmp_path / "student", tmp_path / "fp32", "float32")
    whole = sequence_runtime.load(exported)
    assert [tuple(each) for each in whole.expand(asked)] == said
    assert [tuple(whole.expand([query])[0]) for query in asked] == said
    small = Rewriter.load(sequence_exporting.write(tmp_path / "student", tmp_path / "int8", "int8"))
    assert all(small.rewrite([], query).startswith(query) for query in asked)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_networks_own(tmp_path: Path, kind: str) -> None:
    student = made(tmp_path, kind)
    without_dropout(student.network)
    student.network.train()  # nothing is random
    pairs = [student.pair(*each) for each in LESSON]
    loss, batches = SequenceLoss(student.network), Batches(student, pairs)
    whole = loss(normaliser=1.0, **batches([{COLUMN: place} for place in range(3)]))
    alone = [loss(normaliser=1.0, **batches([{COLUMN: place}])) for place in range(3)]
    assert whole.item() == pytest.approx(sum(each.item() for each in alone), rel=1e-4)
    theirs = sum(_own_loss(student, pair, kind) for pair in pairs)
    assert whole.item() == pytest.approx(theirs, rel=1e-4)
    blank = batches([{COLUMN: BLANK}])
    assert "labels" not in blank
    assert loss(normaliser=1.0, **blank).item() == 0


def _own_loss(student: SequenceStudent, pair: Pair, kind: str) -> float:
    """The sum of what transformers makes of one pair."""
    network: Any = student.network
    target = torch.tensor([pair.target])
    if kind == "causal":
        tokens = torch.tensor([[*pair.source, *pair.target]])
        labels = tokens.clone()
        labels[:, : len(pair.source)] = IGNORED
        mean = network(input_ids=tokens, labels=labels).loss
    else:
        mean = network(input_ids=torch.tensor([pair.source]), labels=target).loss
    return float(mean.item()) * len(pair.target)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_writes_on_for_ever(tmp_path: Path, kind: str) -> None:
    student = made(tmp_path, kind)
    student.capped(5)
    source = student.source("the old river " * 50)
    assert len(source) < 64
    assert all(len(ids) <= 5 for ids in student.write([source, source[:9]]))


def test_a_t5_from_nothing_has_the_words_of_its_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scratch, "SIZES", scratch.SIZES | {"d_model": 32, "d_ff": 32, "d_kv": 8})
    texts = ["Aerofoil pressure, é", "pressure of the aerofoil"] * 4
    network, tokenizer = scratch.make(texts, 0)
    again, other = scratch.make(texts, 0)
    assert tokenizer.get_vocab() == other.get_vocab()
    assert all(
        bool((one == two).all())
        for one, two in zip(network.parameters(), again.parameters(), strict=True)
    )
    student = Seq2SeqStudent(network, tokenizer, SequenceSettings(16, 8))
    assert not student.widened
    assert len(tokenizer("aerofoil", add_special_tokens=False)["input_ids"]) == 1
    ids = student.target(["Aerofoil é", "pressure"])
    assert tokenizer.decode(ids, skip_special_tokens=True).split() == [
        "aerofoil", "é", "|||", "pressure",
    ]  # fmt: skip
    assert student.target(()) == [tokenizer.eos_token_id]
    student.save(tmp_path)
    assert type(sequences.load(tmp_path, "cpu").network).__name__ == "T5ForConditionalGeneration"


def test_a_pruned_language_model_is_kept_as_it_is(tmp_path: Path) -> None:
    save_writer(tmp_path / "model", ends=[3])
    told = SequenceSettings(32, 8, student="causal")
    student = sequences.make(resolve(str(tmp_path / "model")), "cpu", told, "1")
    assert student.network.config.num_hidden_layers == 1
    student.save(tmp_path / "student")
    assert sequences.load(tmp_path / "student", "cpu").expand(["a bird"]) == student.expand(
        ["a bird"]
    )


def test_settings_of_both_kinds_are_told_apart(tmp_path: Path) -> None:
    told = SequenceSettings(64, 9, "causal", "rrf", 0.4)
    told.write(tmp_path)
    assert settings.read_sequence(tmp_path) == told
    assert settings.task_of(tmp_path) == "expand"
    settings.Settings(64).write(tmp_path)
    assert settings.task_of(tmp_path) == "rewrite"
