"""How questions are put at the edges: odd templates, narrow windows, contexts that changed."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, OPTConfig, OPTForCausalLM

from answer_helpers import NO_EXPORT, answering, run, save_answerer
from ragdistill.causal import as_chat
from ragdistill_generator.cases import Case
from ragdistill_generator.prompts import Prompter
from rerank_helpers import report_of

COLLECT = ("--stages", "collect")
SAYS = "{% for message in messages %}{{ message['content'] }} {% endfor %}answer"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return answering(tmp_path / "data")


def test_a_ranking_that_changed_is_another_run(tmp_path: Path, data: Path) -> None:
    ranked = tmp_path / "ranked.trec"
    rows = [f"q{n}{kind} Q0 d{n} 1 1.0 x\n" for n in range(30) for kind in ("first", "last")]
    ranked.write_text("".join(rows))
    asked = ("--contexts-from", str(ranked), *COLLECT)
    assert run(tmp_path, data, *asked).exit_code == 0
    assert run(tmp_path, data, *asked).exit_code == 0
    ranked.write_text("".join(row.replace("Q0 d1 ", "Q0 d2 ") for row in rows))
    result = run(tmp_path, data, *asked)
    assert result.exit_code == 2
    assert "the contexts is not the one" in result.output


def test_no_more_is_read_than_there_are_positions_for(tmp_path: Path, data: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(save_answerer(tmp_path / "made"))
    tokenizer.model_max_length = int(1e30)
    config = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=32, word_embed_proj_dim=32, num_hidden_layers=4,
        num_attention_heads=4, ffn_dim=64, max_position_embeddings=220, bos_token_id=None,
        eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    OPTForCausalLM(config).save_pretrained(tmp_path / "teacher")
    tokenizer.save_pretrained(tmp_path / "teacher")
    path = data / "corpus.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    told = (json.dumps(row | {"text": f"{row['text']} " * 60}) + "\n" for row in rows)
    path.write_text("".join(told), encoding="utf-8")
    report = report_of(run(tmp_path, data, *NO_EXPORT, "--json"))
    assert report["data"]["contexts"]["tokens_cut"] > 0
    result = run(tmp_path, data, "--window", "500", *COLLECT, out="wide")
    assert result.exit_code == 2
    assert "500 tokens are more than teacher reads (220)" in result.output


def test_contexts_are_cut_between_characters_and_never_beyond_the_window(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(save_answerer(tmp_path / "model"))
    case = Case("q", "what is red?", ("the river is red " * 6, "the tree is green and old " * 6))
    whole = Prompter(tokenizer, 1024, 16, "short")
    size = len(whole.encode(case).ids)
    for less in range(1, 33):
        tight = Prompter(tokenizer, size + 16 - less, 16, "short")
        fitted, _ = tight.fitted(case)
        assert len(tight.encode(fitted).ids) <= size - less
        for kept, text in zip(fitted.contexts, case.contexts, strict=False):
            assert text.startswith(kept)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            SAYS.replace("{% endfor %}", "{{ message['content'] }} {% endfor %}"),
            "does not say once",
        ),
        ("{{ messages[0]['content'] }}", "does not say once"),
        ("{% for message in %}", "cannot be used"),
        ("{{ messages[7]['content'] }}", "cannot be used"),
    ],
)
def test_a_template_that_loses_the_question_is_refused(
    tmp_path: Path, data: Path, template: str, said: str
) -> None:
    (save_answerer(tmp_path / "teacher") / "chat_template.jinja").write_text(template)
    result = run(tmp_path, data, *COLLECT)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert not (tmp_path / "run/run.json").exists()


def test_a_template_that_passes_over_the_system_has_it_said_by_the_user(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(save_answerer(tmp_path / "model"))
    tokenizer.chat_template = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}"
    prompter = Prompter(tokenizer, 1024, 16, "short")
    assert "from the context only" in prompter.template


def test_a_template_that_names_the_day_is_the_same_tomorrow(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(save_answerer(tmp_path / "model"))
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} " + SAYS
    told = as_chat(tokenizer, [{"role": "user", "content": "what?"}])
    assert told == "26 Jul 2024 what? answer"
