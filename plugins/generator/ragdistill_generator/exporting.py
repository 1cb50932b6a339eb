"""What the student is served as: each form held against it, and the speed of all."""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.causal import ending_ids, reply_text
from ragdistill.export.causal.forms import export_all, load
from ragdistill.export.causal.parity import Reference
from ragdistill.export.causal.runner import Runner, TorchCausal
from ragdistill.export.causal.serving import vllm_line
from ragdistill.metrics import answers
from ragdistill.metrics.generation import Generate, profile_generation
from ragdistill.models.digest import digests
from ragdistill_generator import evaluation
from ragdistill_generator.cases import Case
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.setup import Setup
from ragdistill_generator.student import Student

CHECKED = 64
"""Questions that each form answers."""
TIMED = 16
"""Of those, how many prompts speed is measured with."""
KINDS: Sequence[str] = ("onnx", "onnx-int8", "ctranslate2", "ctranslate2-int8")


def kinds() -> list[str]:
    """The forms that can be made here: ctranslate2 comes with an extra."""
    known = find_spec("ctranslate2") is not None
    return [kind for kind in KINDS if known or not kind.startswith("ctranslate2")]


class Judge:
    """Quality of what a form replies, beside the teacher's."""

    def __init__(
        self,
        folder: Path,
        tokenizer: Any,
        seed: int,
        final: Callable[[str], str] = str.strip,
        ends: Sequence[int] = (),
    ) -> None:
        """``final``: the answer in a reply; ``ends``: the tokens that end one."""
        self._folder, self._tokenizer, self._seed, self._ends = folder, tokenizer, seed, ends
        self._final = final
        cases, self._theirs = evaluation.kept(folder, "teacher")
        self.cases: list[Case] = cases[:CHECKED]
        self.quality: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str, replies: Sequence[list[int]]) -> NDArray[np.float64]:
        """F1 of each reply, ``[q]``, or the agreement with the teacher where no answer is known."""
        whole = [reply_text(self._tokenizer, reply, self._ends).strip() for reply in replies]
        said = [self._final(reply) for reply in whole]
        if name != "student":
            evaluation.keep(self._folder, name, self.cases, said, whole)
        theirs = self._theirs[: len(said)]
        self.quality[name] = answers.quality(self.cases, theirs, said, self._seed)
        _, _, found = answers.headline(self.cases, theirs, said)
        # Of questions without a known answer nothing is gained or lost.
        values = np.zeros(len(said))
        values[: len(found)] = found
        return values


def export(setup: Setup, folder: Path, config: GeneratorConfig) -> dict[str, Any]:
    """``exports`` and ``speed`` of report.json."""
    student = Student.load(folder / "student", "cpu")
    ours = TorchCausal(student.network, student.tokenizer)
    ends = ending_ids(student.network, student.tokenizer)
    judge = Judge(folder, student.tokenizer, config.seed, setup.final, ends)
    prompts = [setup.prompter.encode(case).ids for case in judge.cases]
    made = export_all(
        folder / "student",
        folder / "export",
        Reference(ours, prompts, setup.new_tokens, judge),
        source_digest=digests(folder / "student").weights,
        kinds=kinds(),
    )
    entries = {
        name: each.as_json() | {"quality": judge.quality[name]} for name, each in made.items()
    }
    entries["huggingface"] = {"passed": True, "serve": vllm_line(folder / "student", at="student")}
    runners = {name: load(each.folder) for name, each in made.items()}
    return {
        "exports": entries,
        "speed": speed(
            setup,
            {"student": ours, **runners},
            prompts[:TIMED],
            [setup.teacher_prompter.encode(case).ids for case in judge.cases[:TIMED]],
        ),
    }


def speed(
    setup: Setup,
    runners: dict[str, Runner],
    prompts: Sequence[Sequence[int]],
    theirs: Sequence[Sequence[int]] | None = None,
) -> dict[str, Any]:
    """How fast each writes, and the teacher if it is here, in turns; ``theirs``: the same prompts as the
    teacher's tokens, where those are others."""
    systems = {name: _streamed(runner) for name, runner in runners.items()}
    asked = prompts if theirs is None else theirs
    if not setup.served:
        # It reads the same questions in its own tokens.
        own = {tuple(prompt): each for prompt, each in zip(prompts, asked, strict=True)}
        reads = _streamed(TorchCausal(setup.network, setup.teacher_prompter.tokenizer))
        systems = {"teacher": lambda prompt, most: reads(own[tuple(prompt)], most), **systems}
    tokens = max(2, min(setup.new_tokens, 32))
    found = profile_generation(systems, prompts, new_tokens=tokens)
    if "teacher" in found:
        found["teacher"]["prompt_tokens"] = float(np.mean([len(prompt) for prompt in asked]))
    return found


def _streamed(runner: Runner) -> Generate:
    def generate(prompt: Sequence[int], new_tokens: int) -> Iterator[int]:
        return runner.stream(list(prompt), new_tokens)

    return generate
