"""Whole runs of the generator with tiny models."""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from answer_helpers import LAYERS, NO_EXPORT, answering, run
from ragdistill.metrics.answers import token_f1
from ragdistill.signals.store import SignalStore
from rerank_helpers import report_of
from tiny_models import save_tiny

ENDS = ("first", "last")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return answering(tmp_path / "data")


def test_half_of_the_teacher_learns_its_distributions(tmp_path: Path, data: Path) -> None:
    report = report_of(run(tmp_path, data, "--json"))
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "run/student")
    assert student.config.num_hidden_layers == LAYERS // 2
    losses = [each["held_out"] for each in report["training"]["losses"] if "held_out" in each]
    assert losses[-1] < losses[0]
    # Anybody can recompute every figure.
    for name in ("teacher", "student"):
        lines = (tmp_path / f"run/answers/{name}.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        mean = token_f1([row["answer"] for row in rows], [row["references"] for row in rows]).mean()
        assert report["quality"]["F1"][name] == pytest.approx(mean)
        assert all(row["contexts"] for row in rows)
    assert {"kl", "top1", "perplexity_student"} <= report["agreement"].keys()
    assert (
        report["calibration"]["student"]["tokens"] == report["calibration"]["teacher"]["tokens"] > 0
    )
    assert {"onnx", "onnx-int8"} <= report["exports"].keys()
    assert report["speed"]["student"]["per_second"] > 0
    assert report["data"]["train"]["answers"] == "gold"
    # Nothing that is measured on was learnt from: the parts share no context.
    learnt, asked = report["data"]["train"]["learnt"], report["data"]["queries"]
    assert learnt + asked < 60


def test_what_is_stored_is_not_asked_again(tmp_path: Path, data: Path) -> None:
    first = report_of(run(tmp_path, data, *NO_EXPORT, "--json"))
    again = report_of(run(tmp_path, data, *NO_EXPORT, "--json", out="again"))
    assert first["stages"]["collect"]["items"] > 0
    assert again["stages"]["collect"] | {"seconds": 0} == {"seconds": 0, "items": 0, "tokens": 0}
    assert again["quality"]["F1"] == first["quality"]["F1"]
    kinds = {space.kind for space in SignalStore(tmp_path / "store").spaces()}
    assert kinds == {"text", "logits"}


@pytest.mark.parametrize("method", ["sequence", "labels"])
def test_answers_alone_are_learnt(tmp_path: Path, data: Path, method: str) -> None:
    asked = ("--student-layers", "3", "--prune", "even", "--method", method, *NO_EXPORT)
    report = report_of(run(tmp_path, data, *asked, "--json"))
    train = report["data"]["train"]
    assert train["answers"] == ("teacher" if method == "sequence" else "gold")
    # Answers that were cut off teach to break off, so they are left out, and counted.
    assert train["learnt"] + sum(train["left_out"].values()) == train["questions"]
    assert "agreement" not in report


def test_words_find_contexts(tmp_path: Path, data: Path) -> None:
    report = report_of(run(tmp_path, data, "--contexts-from", "bm25", *NO_EXPORT, "--json"))
    assert report["data"]["contexts"]["from"] == "bm25"


def test_a_plan_says_what_collecting_then_asks(tmp_path: Path, data: Path) -> None:
    plan = json.loads(run(tmp_path, data, "--dry-run", "--json").stdout)["plan"]
    assert not (tmp_path / "run").exists()
    report = report_of(run(tmp_path, data, "--stages", "collect", "--json"))
    assert plan["items"] == report["stages"]["collect"]["items"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--student-layers", str(LAYERS)), None),
        (("--student-layers", "9"), "cannot keep 9 layers"),
        (("--window", "4"), "leave nothing of a window of 4"),
        (("--window", "40"), "leaves no room for its context"),
        (("--contexts-from", "nowhere"), "is no run that ranked documents"),
        (("--method", "sequence", "--answers", "gold"), "learns the teacher's answers"),
        (("--method", "labels", "--context-weight", "1"), "only --method logits"),
        (("--divergence", "reverse"), "only the forward one"),
        (("--alpha", "1.5"), "--alpha"),
        (("--contexts", "0"), "--contexts"),
        (("--temperature", "0"), "--temperature"),
        (("--kept", "all"), "--kept"),
        (("--style", "long"), "--style"),
        (("--draws", "5000"), "draws cannot be stored"),
        (("--student-layers", "3,1"), "does not name layers"),
        (("--student-layers", "some"), "neither a number of layers"),
        (("--lora", "0"), "--lora"),
        (("--teacher", "{tiny}"), "ForCausalLM"),
        (("--eval-data", "{bare}"), "no question with a context to measure on"),
        (("--contexts-from", "{ranked}"), "not in the corpus"),
        (("--teacher", "openai:gpt"), "are not to be had"),
        (("--teacher", "openai:gpt", "--method", "sequence"), "not here"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, data: Path, more: tuple[str, ...], said: str | None
) -> None:
    ranked = tmp_path / "ranked.trec"
    ranked.write_text("".join(f"q{n}{kind} Q0 other 1 1.0 x\n" for n in range(30) for kind in ENDS))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "corpus.jsonl").write_text('{"_id": "a", "text": "a river"}\n')
    if "{tiny}" in more:
        save_tiny(tmp_path / "tiny")
    given = [
        word.format(ranked=ranked, bare=bare, tiny=tmp_path / "tiny") if "{" in word else word
        for word in more
    ]
    result = run(tmp_path, data, *given, "--stages", "collect")
    if said is None:
        assert result.exit_code == 0, result.output
        return
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert not (tmp_path / "run" / "run.json").exists()


def test_data_without_answers_is_measured_against_the_teacher(tmp_path: Path) -> None:
    unknown = answering(tmp_path / "data", known=False)
    result = run(tmp_path, unknown, "--answers", "gold", "--stages", "collect")
    assert result.exit_code == 2
    assert "no question that is learnt from has an answer" in result.output


def test_a_changed_chat_template_is_refused(tmp_path: Path, data: Path) -> None:
    assert run(tmp_path, data, "--stages", "collect").exit_code == 0
    template = tmp_path / "teacher/chat_template.jinja"
    template.write_text(template.read_text("utf-8") + " now", encoding="utf-8")
    resumed = run(tmp_path, data, "--stages", "collect")
    assert resumed.exit_code == 2
    assert "template" in resumed.output or "tokenizer" in resumed.output
    other = run(tmp_path, data, "--stages", "collect", out="other")
    assert other.exit_code == 2
    assert "the store knows teacher" in other.output
    accepted = run(
        tmp_path, data, "--stages", "collect", "--accept-teacher-change", "--json", out="other"
    )
    assert report_of(accepted)["stages"]["collect"]["items"] > 0
