"""The pieces of the embedder: what it learns from, how it encodes, what a student is."""

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from ragdistill.data.collection import Collection, Document, Query
from ragdistill.data.training_texts import as_question, is_english, sentences, spans, training_texts
from ragdistill.encoder import BATCH_TOKENS, Encoder, Prompts, load_encoder
from ragdistill.errors import UserError
from ragdistill.training import fitting
from ragdistill.training.preparing import freeze_words, layers_of, without_dropout
from ragdistill_embedder.student import make_student, projection
from tiny_models import save_tiny, texts


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return load_encoder(save_tiny(tmp_path_factory.mktemp("tiny") / "model"), "cpu")


ENGLISH = "The song of the king is that of a river. It flows to the sea and it sings in the night."


def collection(count: int = 3, text: str = ENGLISH) -> Collection:
    documents = tuple(Document(str(n), f"{text} number {n}", f"title {n}") for n in range(count))
    queries = (Query("q1", "what does the river do"), Query("q2", "who sings"))
    return Collection(
        "made", documents, queries, {"train": {"q1": {"0": 1}}, "test": {"q2": {"0": 1}}}
    )


def test_judged_queries_never_train_but_those_of_the_train_split_do() -> None:
    found = {item.text: item.role for item in training_texts(collection(), limit=None, seed=0)}
    assert found["what does the river do"] == "query"
    assert "who sings" not in found


def test_a_text_that_is_an_evaluation_query_is_left_out_whatever_its_case() -> None:
    avoided = training_texts(collection(), limit=None, seed=0, avoid=["  TITLE   1 "])
    assert "title 1" not in {item.text for item in avoided}
    assert "title 2" in {item.text for item in avoided}


def test_training_texts_are_the_same_again_and_independent_of_other_documents() -> None:
    few, again = (training_texts(collection(3), limit=None, seed=0) for _ in range(2))
    assert few == again
    assert len(set(few)) == len(few)
    assert set(few) <= set(training_texts(collection(4), limit=None, seed=0))
    assert set(few) != set(training_texts(collection(3), limit=None, seed=1))
    assert set(training_texts(collection(3), limit=7, seed=0)) < set(few)


def test_only_english_text_is_put_as_questions() -> None:
    german = collection(
        3, "Der Fluss fliesst ins Meer und singt die ganze Nacht ein altes Lied dazu."
    )
    assert is_english(collection().documents)
    assert not is_english(german.documents)
    assert any(item.text.endswith("?") for item in training_texts(collection(), limit=None, seed=0))
    assert not any(item.text.endswith("?") for item in training_texts(german, limit=None, seed=0))


def test_spans_are_runs_of_the_text() -> None:
    rng = random.Random(0)
    for span in spans(ENGLISH, 50, rng):
        assert span in ENGLISH
        assert 4 <= len(span.split()) <= 16
    assert spans("only four words here", 5, rng) == []
    assert as_question("the king sings.", rng).endswith("the king sings?")


def test_sentences_end_where_sentences_end() -> None:
    assert sentences("One two three. Four five six! Seven\n\neight nine ten") == [
        "One two three.",
        "Four five six!",
        "eight nine ten",
    ]


def test_vectors_equal_those_of_sentence_transformers(encoder: Encoder) -> None:
    wanted = [*texts(40), "", "word " * 300]
    reference = encoder.model.encode(wanted, batch_size=7)
    assert np.allclose(encoder.encode(wanted), reference, atol=1e-6)
    prompted = encoder.model.encode(wanted, prompt="query: ")
    assert np.allclose(encoder.encode(wanted, "query: "), prompted, atol=1e-6)


def test_batches_keep_to_their_budget_and_lose_nothing(encoder: Encoder) -> None:
    rows = encoder.tokenise(texts(300))
    seen: list[int] = []
    for places, answer in encoder.batches(rows):
        assert answer.vectors.shape == (len(places), encoder.dimensions)
        assert len(places) * max(len(rows[p]) for p in places) <= BATCH_TOKENS["cpu"]
        seen += places
    assert sorted(seen) == list(range(300))


def test_a_student_keeps_the_layers_it_was_told_to(encoder: Encoder) -> None:
    student = make_student(copy.deepcopy(encoder), "0,3", Prompts(query="q: ", passage="p: "))
    kept, whole = layers_of(student), layers_of(encoder.model)
    assert len(kept) == 2
    assert len(whole) == 4
    for mine, theirs in zip(kept, (whole[0], whole[3]), strict=True):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
    assert student.prompts == {"query": "q: ", "document": "p: "}
    assert student[0].auto_model.config.num_hidden_layers == 2


def test_the_student_that_was_saved_is_the_student_that_is_loaded(
    encoder: Encoder, tmp_path: Path
) -> None:
    student = Encoder(make_student(copy.deepcopy(encoder), "2", Prompts(query="q: ")))
    student.model.save_pretrained(str(tmp_path), create_model_card=False)
    loaded = load_encoder(tmp_path, "cpu")
    assert np.array_equal(student.encode(texts(5)), loaded.encode(texts(5)))
    assert loaded.prompts == Prompts(query="q: ")


def test_words_are_frozen_and_dropout_is_off(encoder: Encoder) -> None:
    student = make_student(copy.deepcopy(encoder), "2", Prompts())
    freeze_words(student)
    without_dropout(student)
    frozen = [name for name, p in student.named_parameters() if not p.requires_grad]
    assert len(frozen) == 1
    assert frozen[0].endswith("word_embeddings.weight")
    student.train()
    features = encoder.features(encoder.tokenise(texts(3)))
    first, second = (student(dict(features))["sentence_embedding"] for _ in range(2))
    assert torch.equal(first, second)


def test_a_projection_is_there_only_where_dimensions_differ() -> None:
    assert projection(32, 32, 0) is None
    head = projection(32, 64, 0)
    again = projection(32, 64, 0)
    assert head is not None
    assert again is not None
    assert head.weight.shape == (64, 32)
    assert torch.equal(head.weight, again.weight)
    assert torch.allclose(head.weight.T @ head.weight, torch.eye(32), atol=1e-5)


def test_max_length_is_bounded_by_the_model(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    assert load_encoder(folder, "cpu", max_length=8).max_length == 8
    assert max(map(len, load_encoder(folder, "cpu", max_length=8).tokenise(["a " * 99]))) == 8
    with pytest.raises(UserError, match="100000 tokens are more than the model takes"):
        load_encoder(folder, "cpu", max_length=100_000)


def test_a_loss_that_is_no_number_is_not_logged() -> None:
    history = [{"loss": 0.5, "step": 1}, {"eval_loss": float("nan"), "step": 1}, {"step": 2}]
    assert fitting.losses_of(history) == [{"step": 1, "train": 0.5}]
