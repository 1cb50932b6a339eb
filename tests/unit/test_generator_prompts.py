"""How a question is put: as messages and as tokens, within what a model reads."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from answer_helpers import save_answerer
from ragdistill.causal import as_chat, token_ids
from ragdistill.errors import UserError
from ragdistill_generator.cases import Case
from ragdistill_generator.prompts import Prompter

CASE = Case("q", "what is red?", ("the river is red " * 4, "the tree is green and old " * 4))
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_answerer(tmp_path_factory.mktemp("model"))


@pytest.fixture
def tokenizer(folder: Path) -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("style", ["short", "cited"])
def test_tokens_are_those_of_the_messages(tokenizer: AutoTokenizer, style: str) -> None:
    prompter = Prompter(tokenizer, 1024, 16, style)  # type: ignore[arg-type]
    whole = token_ids(tokenizer, as_chat(tokenizer, prompter.messages(CASE)))
    assert prompter.encode(CASE).ids == whole


def test_the_beginning_is_that_of_every_question(tokenizer: AutoTokenizer) -> None:
    prompter = Prompter(tokenizer, 1024, 16, "short")
    other = Case("o", "which tree?", CASE.contexts)
    assert prompter.encode(CASE).beginning == prompter.encode(other).beginning
    assert prompter.encode(CASE).question != prompter.encode(other).question


def test_contexts_are_cut_from_the_last_and_the_question_never(tokenizer: AutoTokenizer) -> None:
    whole = Prompter(tokenizer, 1024, 16, "short")
    size = len(whole.encode(CASE).ids)
    assert whole.fitted(CASE) == (CASE, 0)
    tight = Prompter(tokenizer, size + 16 - 4, 16, "short")
    fitted, cut = tight.fitted(CASE)
    assert cut == 4
    assert fitted.contexts[0] == CASE.contexts[0]
    assert len(fitted.contexts[1]) < len(CASE.contexts[1])
    assert len(tight.encode(fitted).ids) <= size - 4
    with pytest.raises(UserError, match="leaves no room"):
        Prompter(tokenizer, 60, 16, "short").fitted(CASE)


def test_a_template_without_a_system_role_has_it_said_by_the_user(tokenizer: AutoTokenizer) -> None:
    usual = Prompter(tokenizer, 1024, 16, "short")
    before = usual.template
    assert [message["role"] for message in usual.messages(CASE)] == ["system", "user"]
    tokenizer.chat_template = NO_SYSTEM + tokenizer.chat_template
    other = Prompter(tokenizer, 1024, 16, "short")
    (asked,) = other.messages(CASE)
    assert asked["role"] == "user"
    assert usual.messages(CASE)[0]["content"] in asked["content"]
    assert other.template != before
