"""Language models as rerankers: what is computed once for many pairs is what each pair alone gives."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragdistill.models.resolve import resolve
from ragdistill.packing import Group, pack
from ragdistill_reranker import language_model
from ragdistill_reranker.language_model import LanguageModel, Reading
from ragdistill_reranker.scoring import Pair
from tiny_models import texts
from tiny_scorers import save_language_model

PAIRS: list[Pair] = [
    (query, document)
    for query, document in product(["where flows the river", "old king?", "a song"], texts(4))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_language_model(tmp_path_factory.mktemp("causal"))


def scored(scorer: LanguageModel) -> tuple[np.ndarray, int]:
    found, tokens = np.full(len(PAIRS), np.nan), 0
    for places, scores, read in scorer.answers(PAIRS):
        assert np.isnan(found[places]).all()  # none twice
        found[places] = scores
        tokens += read
    return found, tokens


def alone(scorer: LanguageModel, pair: Pair) -> float:
    """The score of one pair by the model as anybody calls it."""
    network: Any = scorer.network
    (group,) = scorer.groups([pair])
    ((_, asked),) = group.continuations
    ids = torch.tensor([[*group.beginning, *asked]])
    with torch.inference_mode():
        logits = network(input_ids=ids).logits[0]
    if scorer.reading == "yes-no":
        yes, no = (scorer.tokenizer(word)["input_ids"][1] for word in ("yes", "no"))
        return float(logits[-1, yes] - logits[-1, no])
    shares = logits.log_softmax(dim=-1)[len(group.beginning) - 1 : -1]
    return float(shares[range(len(asked)), list(asked)].mean())


@pytest.mark.parametrize("reading", ["likelihood", "yes-no"])
@pytest.mark.parametrize("budget", [1, 120, 1024])
def test_scores_are_those_of_each_pair_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reading: Reading, budget: int
) -> None:
    monkeypatch.setitem(language_model.ROW_TOKENS, "cpu", budget)
    scorer = LanguageModel(resolve(str(folder)), "cpu", reading)
    found, tokens = scored(scorer)
    np.testing.assert_allclose(found, [alone(scorer, pair) for pair in PAIRS], atol=1e-4)
    assert len(set(found.round(4))) == len(PAIRS)  # else the model would be blind
    groups = scorer.groups(PAIRS)
    once = sum(len(g.beginning) + sum(len(t) for _, t in g.continuations) for g in groups)
    assert tokens == once if budget == 1024 else tokens >= once


def eager(network: Any) -> None:
    """Attention that adds what masks hold."""
    network.set_attn_implementation("eager")


def maskless(network: Any) -> None:
    """One that takes no mask of pairs of tokens."""
    forward = network.forward

    def refusing(*args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        if attention_mask is not None:
            raise ValueError("no such mask")
        return forward(*args, **kwargs)

    network.forward = refusing


def blind(network: Any) -> None:
    """One that lets every token see all before it, whatever masks say."""
    forward = network.forward
    network.forward = lambda *args, attention_mask=None, **kwargs: forward(*args, **kwargs)


@pytest.mark.parametrize(("change", "shares"), [(eager, True), (maskless, False), (blind, False)])
def test_rows_are_shared_only_by_models_that_heed_what_sees_what(
    folder: Path, change: Callable[[Any], None], shares: bool
) -> None:
    scorer = LanguageModel(resolve(str(folder)), "cpu")
    wanted = [alone(scorer, pair) for pair in PAIRS]
    change(scorer.network)
    found, _ = scored(scorer)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert scorer.shares is shares


def test_scores_have_a_fingerprint_of_what_is_asked(folder: Path) -> None:
    model = resolve(str(folder))
    likelihood, yes_no = (LanguageModel(model, "cpu", way) for way in ("likelihood", "yes-no"))
    assert likelihood.fingerprint().kind == "score"
    assert likelihood.fingerprint().id != yes_no.fingerprint().id
    assert (likelihood.scale, yes_no.scale) == ("log-likelihood", "log-odds")


sizes = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 5), min_size=1, max_size=6)), min_size=1
)


@given(sizes=sizes, budget=st.integers(1, 40))
def test_rows_hold_every_pair_once_and_show_it_nothing_else(
    sizes: list[tuple[int, list[int]]], budget: int
) -> None:
    groups, place = [], 0
    for number, (beginning, lengths) in enumerate(sizes):
        asked = []
        for length in lengths:
            asked.append((place, [1000 * (place + 1) + at for at in range(length)]))
            place += 1
        groups.append(Group([-100 * (number + 1) - at for at in range(beginning)], asked))
    wanted = {
        key: [*group.beginning, *tokens] for group in groups for key, tokens in group.continuations
    }
    met: list[int] = []
    for row in pack(groups, budget):
        mask = row.seen()
        assert len(row.tokens) <= budget or len(row.spans) == 1
        for span in row.spans:
            met.append(span.place)
            seen = mask[span.end - 1].nonzero().flatten().tolist()
            assert [row.tokens[at] for at in seen] == wanted[span.place]
            assert [row.positions[at] for at in seen] == list(range(len(seen)))
            foretold = [row.tokens[at] for at in span.before]
            assert foretold == wanted[span.place][-len(foretold) - 1 : -1]
    assert sorted(met) == list(range(place))
