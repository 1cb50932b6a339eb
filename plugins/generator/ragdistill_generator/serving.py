"""Generators in a stack: students and models through PyTorch, exports by what runs them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from ragdistill import causal
from ragdistill.encoder import pick_device
from ragdistill.errors import UserError, loading
from ragdistill.export.causal import forms
from ragdistill.export.causal.runner import Runner, TorchCausal
from ragdistill.export.folder import CausalRecord, read_record_of
from ragdistill.files import folder_bytes, sha256_json
from ragdistill.models.digest import folder_digest
from ragdistill.models.entry import entry
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.rag.serving import Answer, Reference
from ragdistill_generator.cases import Case
from ragdistill_generator.prompts import LEAST_CONTEXT, Prompter, Style
from ragdistill_generator.serving_options import GeneratorOptions
from ragdistill_generator.setup import WINDOW

_WARM = ("Who built the bridge?", "The king built the bridge.")
_ANSWER_TOKENS = 48


def open_generator(reference: Reference, options: GeneratorOptions, device: str) -> "Served":
    """The generator that ``reference`` names.

    Raises:
        UserError: there is no such model or export, or an export is asked for another precision.
    """
    if not reference.exported or reference.path is None:
        return ServedModel(reference, options, device)
    if options.precision is not None:
        raise UserError("an export has its own precision", mend="leave precision out")
    return ServedExport(reference, options)


class Served(ABC):
    """What both have in common."""

    def __init__(self, reference: Reference, options: GeneratorOptions) -> None:
        self._reference = reference
        run = reference.config
        self._style: Style = options.style or run.get("style", "short")
        self._new_tokens: int = options.answer_tokens or run.get("answer_tokens", _ANSWER_TOKENS)
        self._asked_window: int | None = options.window or run.get("window")

    @property
    def name(self) -> str:
        """See ``Part``."""
        return self._reference.name

    @property
    @abstractmethod
    def identity(self) -> list[str]:
        """Digests of what runs."""

    @cached_property
    def fingerprint(self) -> str:
        """See ``Part``: of the words around a question, too."""
        words = Prompter(None, 0, 0, self._style).words
        asked = [self._new_tokens, self._asked_window, *words]
        return sha256_json(["generator", *self.identity, *asked])

    @property
    @abstractmethod
    def _readable(self) -> int:
        """Tokens that it reads and writes, at the most."""

    @property
    @abstractmethod
    def _ends(self) -> Sequence[int]:
        """The tokens that end an answer."""

    @cached_property
    @abstractmethod
    def _tokenizer(self) -> Any:
        """What it reads with."""

    @cached_property
    @abstractmethod
    def _runner(self) -> Runner:
        """What writes."""

    @cached_property
    def _prompter(self) -> Prompter:
        known = [WINDOW, int(self._tokenizer.model_max_length), self._readable]
        window = self._asked_window or min(known)
        return Prompter(self._tokenizer, window, self._new_tokens, self._style)

    def admit(self, contexts: int) -> None:
        """See ``Generator``."""
        prompter, least = self._prompter, contexts * LEAST_CONTEXT
        if prompter.window > self._readable:
            raise UserError(
                f"a window of {prompter.window} tokens, and {self.name} reads {self._readable}",
                mend="lower window",
            )
        room = prompter.room(Case("", "?", ()))
        if room < least:
            raise UserError(
                f"{self.name} reads {prompter.window} tokens, of which its answer and the question leave"
                f" {max(room, 0)}: no room for {contexts} contexts",
                mend="lower contexts or answer_tokens, or name a model that reads more",
            )

    def load(self) -> None:
        """See ``Part``."""
        question, context = _WARM
        self._reply(question, [context], 2)

    def close(self) -> None:
        """See ``Part``."""
        vars(self).pop("_runner", None)

    def answer(self, question: str, contexts: Sequence[str]) -> Answer:
        """See ``Generator``; contexts that do not fit are cut, the last first."""
        return self._reply(question, contexts, self._new_tokens)

    def _reply(self, question: str, contexts: Sequence[str], new_tokens: int) -> Answer:
        case, _ = self._prompter.fitted(Case(question, question, tuple(contexts)))
        reply, likely = self._runner.sure(self._prompter.encode(case).ids, new_tokens)
        return Answer(causal.reply_text(self._tokenizer, reply, self._ends).strip(), likely)


class ServedModel(Served):
    """A causal language model in PyTorch."""

    def __init__(self, reference: Reference, options: GeneratorOptions, device: str) -> None:
        """Nothing is loaded yet.

        Raises:
            UserError: there is no such model, or it writes no text.
        """
        super().__init__(reference, options)
        named = str(reference.path) if reference.path is not None else reference.text
        self._model: ResolvedModel = resolve(named, kind="causal-lm")
        causal.check(self._model, "generator")
        self._device = pick_device(device)
        # A student is measured in what it was trained in.
        usual: causal.Precision = (
            "float32" if reference.run else causal.usual_precision(self._device)
        )
        self._precision: causal.Precision = options.precision or usual

    @property
    def identity(self) -> list[str]:
        """See :class:`Served`."""
        model = self._model
        return [model.weights_digest, model.tokenizer_digest, self._precision]

    def describe(self) -> dict[str, Any]:
        """See ``Part``."""
        return entry(self._model)

    @cached_property
    def _readable(self) -> int:
        return causal.window(self._model)

    @property
    def _ends(self) -> Sequence[int]:
        return causal.ending_ids(self._runner.network, self._tokenizer)

    @cached_property
    def _tokenizer(self) -> Any:
        return causal.load_tokenizer(self._model)

    @cached_property
    def _runner(self) -> TorchCausal:
        network = causal.load(self._model, self._device, self._precision)
        return TorchCausal(network, self._tokenizer)


class ServedExport(Served):
    """An ONNX graph, or a model that ctranslate2 runs."""

    def __init__(self, reference: Reference, options: GeneratorOptions) -> None:
        """Nothing is loaded yet.

        Raises:
            UserError: it is no whole export of a generator.
        """
        super().__init__(reference, options)
        self._folder = reference.path or Path(reference.text)
        self._record = read_record_of(CausalRecord, self._folder)

    @property
    def identity(self) -> list[str]:
        """See :class:`Served`."""
        return [folder_digest(self._folder)]

    def describe(self) -> dict[str, Any]:
        """See ``Part``."""
        size = round(folder_bytes(self._folder) / 1e6, 3)
        return {"name": self.name, "digest": self.identity[0], "size_mb": size}

    @property
    def _readable(self) -> int:
        return self._record.window

    @property
    def _ends(self) -> Sequence[int]:
        return self._record.end_ids

    @cached_property
    def _tokenizer(self) -> Any:
        with loading(self._folder, "tokenizer"):
            return AutoTokenizer.from_pretrained(
                str(self._folder), local_files_only=True, trust_remote_code=False
            )

    @cached_property
    def _runner(self) -> Runner:
        return forms.load(self._folder)
