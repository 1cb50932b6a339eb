"""Causal language models as every component uses them: loaded, asked as they were taught to be, and
made to write many replies at once."""

import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
import transformers
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
)

from ragdistill.errors import UserError, loading
from ragdistill.models.entry import architecture
from ragdistill.models.resolve import ResolvedModel

Precision = Literal["float32", "bfloat16"]
"""Of weights and states; log-probabilities are taken in float32."""
_WRITERS = ("ForCausalLM", "GPT2LMHeadModel")
"""How classes of models that write text are called; GPT-2's is older than the custom."""
_DAY = {
    "d": "26",
    "b": "Jul",
    "B": "July",
    "m": "07",
    "Y": "2024",
    "y": "24",
    "a": "Fri",
    "A": "Friday",
}
"""What chat templates that name the day are told (Llama 3.2's own where it knows none), by the letters of
``strftime``: what is asked tomorrow is then what was asked today, in the store and in a run that goes on."""


def usual_precision(device: str) -> Precision:
    """bfloat16 where the processor multiplies in it, else float32: on one that does not, bfloat16 is
    many times slower (benchmarks/LOG.md)."""
    if device != "cpu":
        return "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bfloat16" if able.get("amx_bf16") or able.get("avx512_bf16") else "float32"


def load(model: ResolvedModel, device: str, precision: Precision) -> Any:
    """A causal language model; GGUF weights are brought back to numbers.

    Raises:
        UserError: it cannot be loaded.
    """
    folder, options = _where(model)
    with loading(model.path, "causal language model"):
        network: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, precision), **_unpacked(model), **options
        )
    return network.to(device).eval()


def shell(model: ResolvedModel) -> Any:
    """A causal language model as its configuration has it, without weights: on no device.

    Raises:
        UserError: that does not make one.
    """
    folder, options = _where(model)
    with loading(model.path, "causal language model"), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, **options)
        network: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call,unused-ignore]
            config, trust_remote_code=False
        )
    return network.eval()


def check(model: ResolvedModel, where: str) -> None:
    """Refuse a model that does not write text: its class would be loaded with weights left at random.

    Raises:
        UserError: its configuration names another class.
    """
    made_for = "" if model.path.is_file() else architecture(model.path)
    if not model.path.is_file() and not made_for.endswith(_WRITERS):
        raise UserError(
            f"is made as {made_for or 'nothing in particular'}, which writes no text",
            where=f"{where}: {model.path}",
            mend="name a language model (ForCausalLM, or GPT-2's GPT2LMHeadModel)",
        )


def depth(model: ResolvedModel) -> int:
    """How many layers it has, by its configuration alone.

    Raises:
        UserError: that cannot be read, or does not say.
    """
    return int(_config(model).num_hidden_layers)


def width(model: ResolvedModel) -> int:
    """Dimensions of its hidden states, by its configuration alone.

    Raises:
        UserError: that cannot be read, or does not say.
    """
    return int(_config(model).hidden_size)


def window(model: ResolvedModel) -> int:
    """Tokens of a text that it has positions for, by its configuration alone; no end where that names none.

    Raises:
        UserError: that cannot be read.
    """
    known = getattr(_config(model), "max_position_embeddings", None)
    return sys.maxsize if known is None else int(known)


def _config(model: ResolvedModel) -> Any:
    folder, options = _where(model)
    with loading(model.path, "configuration"):
        return AutoConfig.from_pretrained(folder, **options).get_text_config()


def load_tokenizer(model: ResolvedModel) -> Any:
    """Its tokenizer.

    Raises:
        UserError: it cannot be loaded.
    """
    folder, options = _where(model)
    with loading(model.path, "tokenizer"):
        return AutoTokenizer.from_pretrained(folder, **options)


def _unpacked(model: ResolvedModel) -> dict[str, Any]:
    """What has GGUF weights be numbers like any others: as blocks they are neither trained nor saved.
    Releases of transformers that cannot keep them as blocks need not be told."""
    kept_as_blocks = getattr(transformers, "GgufConfig", None)
    if kept_as_blocks is None or not model.path.is_file():
        return {}
    return {"quantization_config": kept_as_blocks(dequantize=True)}


def _where(model: ResolvedModel) -> tuple[str, dict[str, Any]]:
    """The folder that the ecosystem's classes load, and how."""
    path = model.path
    named = {"gguf_file": path.name} if path.is_file() else {}
    folder = str(path.parent if path.is_file() else path)
    return folder, {"local_files_only": True, "trust_remote_code": False, **named}


def as_chat(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    """``messages`` (``role``, ``content``) as the text that is answered: by the chat template where there
    is one, else their contents, one after another. Contents are :func:`quoted`."""
    messages = [
        each | {"content": quoted(tokenizer, each["content"])} for each in map(dict, messages)
    ]
    if tokenizer.chat_template:
        said: str = tokenizer.apply_chat_template(
            list(messages),
            tokenize=False,
            add_generation_prompt=True,
            # What follows is the answer, of models too that would think first (Qwen3's template).
            enable_thinking=False,
            chat_template=_on_one_day(tokenizer.get_chat_template()),
        )
        return said
    text = "\n\n".join(message["content"] for message in messages)
    opening = tokenizer.bos_token_id
    begins = opening is not None and tokenizer("")["input_ids"][:1] == [opening]
    return f"{tokenizer.bos_token if begins else ''}{text}\n"


def _on_one_day(template: str) -> str:
    """A chat template that is told the same day whenever it asks."""
    if "strftime_now" not in template:
        return template
    parts = "".join(f" | replace('%{letter}', '{told}')" for letter, told in _DAY.items())
    # The line's end is not part of what is said (trim_blocks).
    return f"{{% macro strftime_now(format) %}}{{{{ format{parts} }}}}{{% endmacro %}}\n{template}"


def quoted(tokenizer: Any, text: str) -> str:
    """``text`` with a blank in whatever its tokenizer would read as a control token: a document that
    holds ``<|im_end|>`` ends no turn, and cannot speak in another role's name."""
    controls = _controls(tokenizer)
    return controls.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text) if controls else text


@lru_cache(maxsize=8)
def _controls(tokenizer: Any) -> re.Pattern[str] | None:
    """What finds the control tokens of more than a character; none where there are none."""
    added = (str(each) for each in tokenizer.added_tokens_decoder.values() if each.special)
    known = {each for each in (*tokenizer.all_special_tokens, *added) if len(each) > 1}
    longest_first = sorted(known, key=lambda each: (-len(each), each))
    return re.compile("|".join(map(re.escape, longest_first))) if known else None


def as_request(tokenizer: Any, text: str) -> str:
    """``text`` as the one thing that a model is asked."""
    return as_chat(tokenizer, [{"role": "user", "content": text}])


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of ``text`` as it stands, control tokens included: nothing is added."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of what somebody wrote: :func:`quoted`, and nothing is added."""
    return token_ids(tokenizer, quoted(tokenizer, text))


def words(tokenizer: Any) -> int:
    """How many ids it has, from 0: a head may have more rows, with which it was padded."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def known_ends(model: ResolvedModel, tokenizer: Any) -> list[int]:
    """What :func:`ending_ids` says of a model, by its files alone.

    Raises:
        UserError: they cannot be read.
    """
    folder, options = _where(model)
    with loading(model.path, "configuration"):
        if (model.path / "generation_config.json").is_file():
            ends = GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
        else:
            ends = AutoConfig.from_pretrained(folder, **options).get_text_config().eos_token_id
    return _as_list(tokenizer.eos_token_id if ends is None else ends)


def ending_ids(network: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a reply, the usual one first; none where nothing ends it."""
    ends = network.generation_config.eos_token_id
    return _as_list(tokenizer.eos_token_id if ends is None else ends)


def is_word(tokenizer: Any, token: int) -> bool:
    """Whether an id is that of an ordinary word: of no control token, and of none that was added."""
    return token not in tokenizer.all_special_ids and token not in tokenizer.added_tokens_decoder


def reply_text(tokenizer: Any, reply: Sequence[int], ends: Sequence[int]) -> str:
    """What a reply says, without the token that ended it: the usual one of ``ends``, or another one that is
    no ordinary word. An ordinary word that ended it is said, too."""
    marks = bool(reply) and reply[-1] in ends
    if marks and (reply[-1] == ends[0] or not is_word(tokenizer, reply[-1])):
        reply = reply[:-1]
    said: str = tokenizer.decode(list(reply), skip_special_tokens=True)
    return said


def _as_list(ends: list[int] | int | None) -> list[int]:
    if ends is None:
        return []
    return list(ends) if isinstance(ends, list) else [ends]


@torch.inference_mode()
def write(
    network: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    heeding: LogitsProcessor | None = None,
) -> list[list[int]]:
    """The replies to ``b`` prompts of token ids, read at once: greedily, or as ``heeding`` changes the
    scores of the next tokens (:class:`~ragdistill.drawing.Drawn`, with a seed for each prompt).

    Padded on the left, each reply is that of its prompt alone, but for rounding.

    Returns:
        Token ids of each reply, cut after ``new_tokens``; one that came to its end has the token that
        ended it as its last. Ids that no token has are never written.

    Raises:
        UserError: a prompt has ids that the model does not have.
        NoNumbers: it says NaN.
    """
    ends = ending_ids(network, tokenizer)
    rows, known = len(network.get_input_embeddings().weight), words(tokenizer)
    check_ids(max(map(max, prompts)), rows)
    pad = tokenizer.pad_token_id
    if pad is None or pad >= rows:  # where a reply has ended, too, so it must not be read as a word
        pad = ends[0] if ends else 0
    options = GenerationConfig(  # type: ignore[no-untyped-call,unused-ignore]
        max_new_tokens=new_tokens,
        do_sample=False,
        suppress_tokens=list(range(known, rows)) or None,
        eos_token_id=ends or None,
        pad_token_id=pad,
    )
    wide = max(map(len, prompts))
    padded = [[pad] * (wide - len(row)) + list(row) for row in prompts]
    seen = [[0] * (wide - len(row)) + [1] * len(row) for row in prompts]
    found = network.generate(
        input_ids=torch.tensor(padded, device=network.device),
        attention_mask=torch.tensor(seen, device=network.device),
        generation_config=options,
        logits_processor=[_Finite(), *([] if heeding is None else [heeding])],
    )
    return [_ended(reply, ends) for reply in found[:, wide:].tolist()]


def check_ids(greatest: int, rows: int) -> None:
    """Refuse token ids, up to ``greatest``, of a model that has ``rows`` embeddings.

    Raises:
        UserError: one of them has none.
    """
    if greatest >= rows:
        raise UserError(
            f"the tokenizer has the id {greatest}, and its model embeddings of {rows} ids",
            mend="bring the tokenizer and the weights that belong together",
        )


class NoNumbers(UserError):
    """What a model said is NaN or infinity."""


class _Finite(LogitsProcessor):
    """Refuses what is no number: the likeliest of NaN would be written as any other token is."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The same ``scores`` ``[b, v]``."""
        if not bool((scores < float("inf")).all()):
            raise NoNumbers(
                "a model said NaN or infinity of what is to be written",
                mend="check its weights, or compute in float32",
            )
        return scores


def _ended(reply: list[int], ends: Sequence[int]) -> list[int]:
    """``reply`` up to the token that ended it, that one included."""
    places = [place for place, token in enumerate(reply) if token in ends]
    return reply[: places[0] + 1] if places else reply
