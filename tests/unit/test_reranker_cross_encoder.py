"""Cross-encoders as teachers give each pair the score that it has alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentence_transformers
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ragdistill.encoder import load_encoder
from ragdistill.errors import UserError
from ragdistill.models.resolve import resolve
from ragdistill_reranker import students, teachers
from ragdistill_reranker.config import RerankerConfig
from ragdistill_reranker.cross_encoder import CrossEncoder
from ragdistill_reranker.finding import is_embedder
from ragdistill_reranker.language_model import LanguageModel
from ragdistill_reranker.lists import Lists, examine
from ragdistill_reranker.own_words import InItsWords
from ragdistill_reranker.training import Lesson, first_scale
from tiny_models import save_tiny, texts
from tiny_scorers import save_cross_encoder, save_in_its_words, save_roberta

PAIRS = [(texts(30)[n % 4], " ".join(texts(30)[n : n + 1 + n % 3])) for n in range(24)]


def scored(scorer: CrossEncoder) -> np.ndarray:
    found = np.full(len(PAIRS), np.nan, dtype=np.float32)
    for places, scores, tokens in scorer.answers(PAIRS):
        found[places] = scores
        assert tokens > 0
    return found


def second_above_first(folder: Path) -> np.ndarray:
    """What transformers itself says of each pair: by how much the second logit is above the first."""
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    asked, told = (list(side) for side in zip(*PAIRS, strict=True))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    read = tokenizer(asked, told, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        logits = network(**read).logits
    found: np.ndarray = (logits[:, 1] - logits[:, 0]).numpy()
    assert np.abs(found).min() > 1e-3  # else a sign would not show
    return found


def test_an_embedder_becomes_a_student_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = RerankerConfig(teacher="any", student="cross-encoder", device="cpu")
    students.make(config, save_tiny(tmp_path / "base"), [])
    assert "Converting" not in caplog.text


def test_long_texts_end_where_the_positions_of_the_family_end(tmp_path: Path) -> None:
    folder = save_roberta(tmp_path / "roberta")
    scorer = CrossEncoder(resolve(str(folder)), "cpu")
    assert scorer.max_length == 63  # of 64 positions, one stands for padding, which comes first
    long = " ".join(["harbour", "tide", "storm"] * 40)
    [(_, scores, tokens)] = list(scorer.answers([("harbour", long)]))
    assert np.isfinite(scores).all()
    assert tokens == 63
    encoder = load_encoder(folder, "cpu")
    assert encoder.max_length == encoder.model.max_seq_length == 63
    assert np.isfinite(encoder.encode([long])).all()


def test_scores_are_the_logits_of_the_library(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "one")
    scorer = CrossEncoder(resolve(str(folder)), "cpu")
    theirs = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    logits = theirs.predict(PAIRS, convert_to_numpy=False, convert_to_tensor=True)
    probabilities = 1 / (1 + np.exp(-scored(scorer)))
    sigmoid = theirs.activation_fn.__class__.__name__ == "Sigmoid"
    expected = probabilities if sigmoid else scored(scorer)
    np.testing.assert_allclose(expected, logits.cpu().numpy(), atol=1e-5)
    assert len(set(scored(scorer).round(4).tolist())) == len(set(PAIRS))


def test_of_two_logits_the_difference_counts_and_more_are_refused(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "two", labels=2)
    found = scored(CrossEncoder(resolve(str(folder)), "cpu"))
    np.testing.assert_allclose(found, second_above_first(folder), atol=1e-5)
    three = CrossEncoder(resolve(str(save_cross_encoder(tmp_path / "three", labels=3))), "cpu")
    with pytest.raises(UserError, match="3 classes and has no score"):
        scored(three)


def test_long_pairs_are_cut_and_the_cut_is_part_of_what_is_stored(tmp_path: Path) -> None:
    model = resolve(str(save_cross_encoder(tmp_path / "one")))
    whole, cut = CrossEncoder(model, "cpu"), CrossEncoder(model, "cpu", max_length=12)
    assert (whole.max_length, cut.max_length) == (64, 12)
    assert whole.fingerprint().id != cut.fingerprint().id
    assert not np.allclose(scored(whole), scored(cut))


def test_a_student_of_two_logits_begins_with_their_difference(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "two", labels=2)
    config = RerankerConfig(teacher=str(folder), student="cross-encoder", device="cpu")
    student = students.make(config, folder, [])
    assert isinstance(student, students.JointReader)
    expected = second_above_first(folder)
    np.testing.assert_allclose(student.score_pairs(PAIRS), expected, atol=1e-5)
    student.save(tmp_path / "student")
    again = students.JointReader.load(tmp_path / "student", "cpu")
    np.testing.assert_allclose(again.score_pairs(PAIRS), expected, atol=1e-5)
    assert again.model.num_labels == 1


def test_a_cross_encoder_spreads_its_scores_itself(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "one")
    config = RerankerConfig(teacher=str(folder), student="cross-encoder", device="cpu")
    student = students.make(config, folder, [])
    queries, rows = [query for query, _ in PAIRS[:6]], [[d for _, d in PAIRS[:4]]] * 6
    lists = Lists(queries, rows, np.ones((6, 4), dtype=bool))
    # A teacher that has nothing to do with it, and a thousand times its spread.
    target = np.random.default_rng(0).normal(-5, 1000, (6, 4)).astype(np.float32)
    findings = examine(target, lists.there, np.ones(6, bool))
    places = np.tile(np.arange(4), (6, 1))
    scale = first_scale(student, Lesson(lists, target, findings, places, [[0]] * 6))
    assert scale.log_factor.item() == 0
    met = scale(torch.from_numpy(student.score(lists))).detach().mean()
    assert met.item() == pytest.approx(float(target.mean()), rel=1e-4)


def test_candidates_are_found_by_embedders_and_no_other_model_of_the_library(
    tmp_path: Path,
) -> None:
    bare = save_cross_encoder(tmp_path / "bare")
    sentence_transformers.CrossEncoder(str(bare), device="cpu").save(str(tmp_path / "whole"))
    embedder = save_tiny(tmp_path / "embedder")
    assert (tmp_path / "whole/modules.json").exists()
    found = [is_embedder(folder) for folder in (embedder, tmp_path / "whole", bare)]
    assert found == [True, False, False]


def test_a_language_model_with_words_of_its_own_is_read_by_them(tmp_path: Path) -> None:
    folder = save_in_its_words(tmp_path / "model")
    config = RerankerConfig(teacher=str(folder), device="cpu")
    scorer = teachers.make_scorer(config, str(folder))
    assert isinstance(scorer, InItsWords)
    found = np.full(len(PAIRS), np.nan, dtype=np.float32)
    read = 0
    for places, scores, tokens in scorer.answers(PAIRS):
        found[places] = scores
        read += tokens
    library = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    wanted = library.predict(PAIRS, activation_fn=torch.nn.Identity())
    assert np.std(wanted) > 0.01
    assert found == pytest.approx(wanted, abs=1e-4)
    told = scorer.forecast([PAIRS])
    assert (told.tokens, told.seconds is not None) == (read, True)
    before = scorer.fingerprint().id
    words = next(folder.glob("*LogitScore/config.json"))
    words.write_text(words.read_text().replace('"true_token_id": ', '"true_token_id": 1'))
    assert scorer.fingerprint().id != before  # it asks for another word
    asked = teachers.make_scorer(replace(config, reading="likelihood"), str(folder))
    assert isinstance(asked, LanguageModel)
