"""Encoder-decoders for ctranslate2, against the models themselves."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PLBartConfig, T5Config

from expansion_helpers import bart, save_seq2seq
from ragdistill.errors import UserError
from ragdistill.export import seq2seq
from ragdistill.export.seq2seq import CTranslateSeq2Seq, TorchSeq2Seq
from tiny_models import make_tokenizer

pytest.importorskip("ctranslate2")
END = 3
PROMPTS = [[5, 6, 7, 8, 20, END], [9, 10, END], [40, 41, 42, 43, END], [7], [12, 13, 14, END]]
NEW = 9
GAP = 43
"""The row that has no token, beside those at the end."""


def sizes(**more: Any) -> dict[str, Any]:
    """Of a T5 with rows that no token has, and heads wider than a share of the states."""
    told = {"vocab_size": len(make_tokenizer()) + 5, "d_model": 32, "d_kv": 10, "d_ff": 64}
    told |= {"num_layers": 2, "num_decoder_layers": 1, "num_heads": 4, "pad_token_id": 0}
    return told | {"eos_token_id": END, "decoder_start_token_id": 0} | more


CONFIGS: dict[str, Any] = {
    "t5": lambda: T5Config(**sizes()),
    # As flan-t5 is: its logits are not scaled.
    "t5-v1.1": lambda: T5Config(**sizes(feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
    "bart": bart,
}


def saved(folder: Path, config: Any) -> Path:
    """Weights so large that what is written differs from prompt to prompt, and a vocabulary with a gap."""
    save_seq2seq(folder, config)
    network = AutoModelForSeq2SeqLM.from_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        for name, weight in network.named_parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.3 if "shared" in name else 0.6)
    network.save_pretrained(folder)
    told = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    words = told["model"]["vocab"]
    del words[next(word for word, number in words.items() if number == GAP)]
    (folder / "tokenizer.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def load(folder: Path) -> TorchSeq2Seq:
    network = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    model = TorchSeq2Seq(network, AutoTokenizer.from_pretrained(folder))
    model.greedily()
    return model


@pytest.fixture(scope="module", params=list(CONFIGS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has three tokens to end a reply with: the first reply with its first, the second with its
    second."""
    folder = saved(tmp_path_factory.mktemp("models") / request.param, CONFIGS[request.param]())
    model = load(folder)
    first, second = (model.generate([prompt], NEW)[0] for prompt in PROMPTS[:2])
    model.network.generation_config.eos_token_id = [END, first[0], second[1]]
    model.network.save_pretrained(folder)
    return folder


def replies(model: TorchSeq2Seq) -> list[list[int]]:
    """Of each prompt on its own, by a loop of one line a step."""
    found = []
    for prompt in PROMPTS:
        reply: list[int] = []
        while len(reply) < NEW and not {*reply} & {*model.ends}:
            said = model.log_probs(prompt, [*reply, 0])[-1]
            reply.append(int(said[: len(make_tokenizer())].argmax()))
        found.append(reply)
    return found


def test_an_export_writes_what_the_model_writes(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    expected = replies(model)
    assert [len(reply) for reply in expected[:2]] == [1, 2]
    assert max(map(len, expected)) == NEW
    assert model.generate(PROMPTS, NEW) == expected
    seq2seq.write(folder, tmp_path / "fp32", "float32", source_digest="ab")
    runner = CTranslateSeq2Seq(tmp_path / "fp32", threads=1)
    assert runner.record.precision == "float32"
    assert runner.generate(PROMPTS, NEW) == expected
    for prompt, reply in zip(PROMPTS, expected, strict=True):
        found = runner.log_probs(prompt, [*reply, GAP])
        np.testing.assert_allclose(found, model.log_probs(prompt, [*reply, GAP]), atol=2e-3)
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-4)
    # The tokenizer beside it is the model's.
    told = [AutoTokenizer.from_pretrained(each) for each in (folder, tmp_path / "fp32")]
    assert told[0]("the old river")["input_ids"] == told[1]("the old river")["input_ids"]
    seq2seq.write(folder, tmp_path / "int8", "int8", source_digest="ab")
    weights = [(tmp_path / name / "model.bin").stat().st_size for name in ("int8", "fp32")]
    assert weights[0] < 0.5 * weights[1]
    written = CTranslateSeq2Seq(tmp_path / "int8", threads=1).generate(PROMPTS, NEW)
    assert all(0 < len(reply) <= NEW for reply in written)


def test_a_model_writes_greedily_whatever_its_folder_says(tmp_path: Path) -> None:
    folder = saved(tmp_path / "bart", bart())
    model = load(folder)
    expected = model.generate(PROMPTS, NEW)
    told = model.network.generation_config
    told.num_beams, told.no_repeat_ngram_size, told.forced_eos_token_id = 4, 1, END
    model.network.save_pretrained(folder)
    again = load(folder)
    assert again.generate(PROMPTS, NEW) == expected
    again.network.save_pretrained(folder)
    kept = json.loads((folder / "generation_config.json").read_text("utf-8"))
    assert not {"num_beams", "no_repeat_ngram_size", "forced_eos_token_id"} & kept.keys()


def test_what_cannot_be_written_or_read_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "pad_token_id": 0}
    few |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_start_token_id": 0}
    few |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": len(make_tokenizer())}
    other = save_seq2seq(tmp_path / "plbart", PLBartConfig(**few, eos_token_id=END))
    out = tmp_path / "out"
    with pytest.raises(UserError, match="ctranslate2 does not take a PLBartForConditional"):
        seq2seq.write(other, out, "int8", source_digest="ab")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="does not load as a encoder-decoder"):
        seq2seq.write(tmp_path, out, "int8", source_digest="ab")
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(UserError, match="not an exported seq2seq"):
        CTranslateSeq2Seq(tmp_path)
    seq2seq.write(save_seq2seq(tmp_path / "t5"), out, "int8", source_digest="ab")
    whole = (out / "model.bin").read_bytes()
    (out / "model.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"out: ctranslate2 cannot load it .*; export the model"):
        CTranslateSeq2Seq(out)
    (out / "model.bin").write_bytes(whole)
    (out / "shared_vocabulary.json").unlink()
    with pytest.raises(UserError, match="ctranslate2 cannot load it"):
        CTranslateSeq2Seq(out)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    for asked in (lambda: seq2seq.write(other, out, "int8", source_digest="ab"), lambda: CTranslateSeq2Seq(out)):  # fmt: skip
        with pytest.raises(UserError, match=r"pip install 'ragdistill\[serve\]'"):
            asked()
