"""What is learnt beside answers: what each term is of, and that it is learnt, resumed and thrown away."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from lesson_helpers import (
    CHECKPOINTS,
    WORDS,
    batch_of,
    examples,
    gemma,
    gradients,
    llama,
    recipe,
    student,
    weights,
)
from ragdistill.errors import UserError
from ragdistill.losses import LogitObjective, logit_distillation, relation_divergences
from ragdistill.signals.distributions import top_k
from ragdistill.training.fitting import BLANK, COLUMN
from ragdistill.training.reading import Reader
from ragdistill_generator import lesson as lessons
from ragdistill_generator import variants
from ragdistill_generator.ahead import AheadTerm
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.following import AttentionTerm, FeatureTerm
from ragdistill_generator.lesson import Batches, Lesson
from ragdistill_generator.objective import AnswerLoss
from ragdistill_generator.terms import Term, Terms
from ragdistill_generator.training import fit

OBJECTIVE = LogitObjective(alpha=0.6, temperature=2.0)
BIG = {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 3, "layers": 4}


def big(seed: int = 1) -> Any:
    """Another width, depth and number of heads than the student's."""
    sizes = {key: value for key, value in BIG.items() if key != "layers"}
    config = LlamaConfig(
        vocab_size=WORDS,
        num_hidden_layers=BIG["layers"],
        intermediate_size=64,
        initializer_range=0.3,
        **sizes,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config).double().eval()


def term_of(name: str, network: Any, teacher: Any, **more: Any) -> Term:
    torch.manual_seed(0)
    made: Term
    if name == "feature":
        made = FeatureTerm(0.7, network, teacher, **more)
    elif name == "attention":
        made = AttentionTerm(0.7, network, teacher)
    else:
        made = AheadTerm(0.7, Reader(network), 2, OBJECTIVE)
    return made.double()


def added(name: str, batch: dict[str, Any], teacher: Any, reading: float = 0.0) -> Tensor:
    """What a term adds to the loss of a batch."""
    network = llama()
    terms = Terms([term_of(name, network, teacher)], teacher)
    parts = {"reading": reading}
    whole = AnswerLoss(network, OBJECTIVE, terms=terms, **parts)(**batch)  # type: ignore[arg-type]
    return whole - AnswerLoss(network, OBJECTIVE, **parts)(**batch)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["feature", "attention", "mtp"])
def test_a_term_is_that_of_each_example_alone(name: str) -> None:
    """Whatever is beside it in a row or pads it."""
    told, teacher = examples(8, taught=5), big()
    lesson = Lesson(told, 200)
    found = [
        added(name, batch_of(replace(lesson, together=each)), teacher) for each in (True, False)
    ]
    tokens = [len(example.answer) for example in told]
    lessons_of = [batch_of(Lesson([each], 200, together=False)) for each in told]
    alone = [added(name, batch, teacher).item() for batch in lessons_of]
    expected = sum(each * count for each, count in zip(alone, tokens, strict=True)) / sum(tokens)
    for each in found:
        assert each.item() == pytest.approx(expected, rel=1e-5)
    assert expected > 0


def test_relations_are_of_what_attends() -> None:
    network, teacher = llama(), big()
    batch = batch_of(Lesson(examples(1), 200, together=False))
    read: dict[str, list[Tensor]] = {"ours": [], "theirs": []}
    for side, each in (("ours", network), ("theirs", teacher)):
        layer = each.model.layers[-1]
        states = each.model(batch["input_ids"], output_hidden_states=True).hidden_states[-2]
        normed = layer.input_layernorm(states[0])
        attends = layer.self_attn
        read[side] = [part(normed) for part in (attends.q_proj, attends.k_proj, attends.v_proj)]
    size = batch["input_ids"].shape[1]
    places, seen = batch["places"], torch.ones(size, size).tril().bool()
    # Of 4 and 6 heads two groups each; of 2 and 3 one.
    apart = [
        relation_divergences(ours, theirs, places, seen[places], groups)
        for ours, theirs, groups in zip(*read.values(), (2, 1, 1), strict=True)
    ]
    expected = 0.7 * torch.stack(apart).mean()
    assert added("attention", batch, teacher).item() == pytest.approx(expected.item(), rel=1e-6)


def test_heads_ahead_foretell_the_tokens_after_next() -> None:
    network, example = llama(), examples(4)[3]
    batch = batch_of(Lesson([example], 200, together=False))
    ids = torch.tensor([[*example.beginning, *example.question, *example.answer]])
    states = network.model(ids).last_hidden_state[0, -len(example.answer) - 1 : -1]
    labels, words = torch.tensor(example.answer), network.lm_head.weight
    expected, before = torch.zeros(()), states
    term = term_of("mtp", network, None)
    assert isinstance(term, AheadTerm)
    for head in term.heads:  # at first each says what the state said that it was given
        torch.nn.init.normal_(head.out.weight)  # type: ignore[arg-type, union-attr]
    for depth, head in enumerate(term.heads, start=1):
        following = network.model.embed_tokens(labels[depth - 1 : -1])
        before = head(before[:-1], following)
        main = (states[depth:] @ words.T).detach()
        expected = expected + logit_distillation(
            before @ words.T, main, labels[depth:], OBJECTIVE, normaliser=len(labels)
        )
    whole = AnswerLoss(network, OBJECTIVE, terms=Terms([term]))(**batch)
    rest = AnswerLoss(network, OBJECTIVE)(**batch)
    assert (whole - rest).item() == pytest.approx(0.7 * expected.item() / 2, rel=1e-6)


def test_heads_ahead_say_nothing_of_ids_that_no_token_has() -> None:
    network, example = llama(), examples(4)[3]
    batch = batch_of(Lesson([example], 200, together=False))
    known = max(*example.beginning, *example.question, *example.answer) + 1
    assert known < WORDS
    with torch.no_grad():  # rows that a head was padded with, which say the most
        network.lm_head.weight[known:] *= 50
    asked = GeneratorConfig(teacher="any", mtp=1)
    found = variants.terms(asked, network, None, OBJECTIVE, known)
    within = AnswerLoss(network, OBJECTIVE, terms=found, vocabulary=known)(**batch)
    bare = AnswerLoss(network, OBJECTIVE, vocabulary=known)(**batch)
    with torch.no_grad():
        network.lm_head.weight[known:] = 0
    again = AnswerLoss(network, OBJECTIVE, terms=found, vocabulary=known)(**batch)
    assert (within - bare).item() == pytest.approx((again - bare).item(), rel=1e-5)


def test_contexts_count_as_much_as_they_are_read() -> None:
    example, teacher = examples(1, taught=1)[0], big()
    count = len(example.beginning) - 1
    logits = np.random.default_rng(0).normal(size=(count, WORDS)).astype(np.float32)
    said = top_k(logits, np.array(example.beginning[1:]), mass=0.95, most=40, temperature=2.0)
    batch = batch_of(Lesson([replace(example, read=said)], 200))
    unread = added("feature", batch, teacher).item()
    half, whole = (added("feature", batch, teacher, each).item() - unread for each in (0.5, 1.0))
    assert half > 0
    assert whole == pytest.approx(2 * half, rel=1e-5)


@pytest.mark.parametrize("name", ["feature", "attention", "mtp"])
def test_a_share_without_rows_has_a_gradient_of_zeros(name: str) -> None:
    lesson, network, teacher = Lesson(examples(4, taught=2), 200), llama(), big()
    batch = Batches(lesson, lesson.rows(range(4)))([{COLUMN: BLANK}])
    term = term_of(name, network, teacher)
    loss = AnswerLoss(network, OBJECTIVE, terms=Terms([term], teacher))(**batch)
    loss.backward()
    assert loss.item() == 0
    assert not gradients(network).any()
    assert all(part.grad is not None and not part.grad.any() for part in term.parameters())


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("feature", {}),
        ("feature", {"layer_map": "learned", "kind": "cosine"}),
        ("attention", {}),
        ("mtp", {}),
    ],
)
def test_a_term_is_learnt_and_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, more: dict[str, Any]
) -> None:
    teacher, lesson = big(), Lesson(examples(40, taught=20), 90)
    before = {key: part.clone() for key, part in teacher.state_dict().items()}

    def learn(folder: str) -> tuple[Any, Any]:
        made = student()
        terms = Terms([term_of(name, made.network, teacher, **more)], teacher)
        return made, fit(made, lesson, recipe(), tmp_path / folder / CHECKPOINTS, terms=terms)

    calm, found = learn("calm")
    held_out = [row[name] for row in found["losses"] if "held_out" in row]
    assert min(held_out) < held_out[0]
    assert all(name in row for row in found["losses"])
    assert set(calm.network.state_dict()) == set(weights(student()))
    assert all(torch.equal(part, before[key]) for key, part in teacher.state_dict().items())
    # Cut short and gone on with, it is the same student.
    step, calls = Batches.__call__, 0

    def cut_short(self: Batches, batch: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 24:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(lessons.Batches, "__call__", cut_short)
        with pytest.raises(KeyboardInterrupt):
            learn("hard")
    hard, again = learn("hard")
    assert again["losses"] == found["losses"]
    for key, weight in weights(calm).items():
        assert torch.equal(weights(hard)[key], weight)


def test_what_cannot_follow_says_so() -> None:
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
    fused = GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=WORDS, intermediate_size=64, **sizes))
    with pytest.raises(UserError, match="queries, keys and values apart"):
        AttentionTerm(1.0, llama(), fused)
    with pytest.raises(UserError, match="bends its logits"):
        AheadTerm(1.0, Reader(gemma()), 1, OBJECTIVE)
