"""What a student learns beside answers: terms that are added to their loss, each with its weight."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ragdistill.errors import UserError
from ragdistill.training.reading import Reader, last_states
from ragdistill.training.watching import watched


@dataclass(frozen=True)
class Heard:
    """A batch as the student read it."""

    reader: Reader
    """The student."""
    inputs: Mapping[str, Tensor]
    """``[r, l]`` each."""
    places: Tensor
    """Of the tokens that are learnt, among the r * l: those that foretell answers ``[n]``, then contexts' ``[m]``."""
    labels: Tensor
    """The answers' tokens, ``[n]``."""
    states: Tensor
    """What the head reads at ``places``, ``[n + m, h]``; logits where a head is more than a matrix."""
    reading: float = 0.0
    """What a context's token weighs where an answer's weighs 1."""

    @property
    def weights(self) -> Tensor:
        """Of the places, ``[n + m]``."""
        weights = torch.full(
            self.places.shape, self.reading, dtype=torch.float32, device=self.places.device
        )
        weights[: len(self.labels)] = 1.0
        return weights


class Term(nn.Module, ABC):
    """Something that is learnt besides. What it trains itself is thrown away with it.

    Args:
        name: what training logs call it.
        weight: what it is multiplied by.
    """

    def __init__(self, name: str, weight: float) -> None:
        super().__init__()
        self.name, self.weight = name, weight

    def of_student(self, network: Any) -> Sequence[nn.Module]:
        """Whose outputs it wants to see."""
        return ()

    def of_teacher(self, network: Any) -> Sequence[nn.Module]:
        """The same; the teacher is asked only if there are any."""
        return ()

    @abstractmethod
    def forward(self, heard: Heard, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """Scalar: the sum over the places by their weights. ``ours`` and ``theirs`` are what the modules
        said, ``[r, l, w]`` each."""


class Terms(nn.Module):
    """All that is learnt besides.

    Args:
        terms: each of another name.
        teacher: a network that reads what the student reads, if any of them needs one.
    """

    def __init__(self, terms: Sequence[Term] = (), teacher: Any | None = None) -> None:
        super().__init__()
        self._terms = nn.ModuleList(terms)
        # In a tuple it is no module of this one: it is neither trained nor moved.
        self._teacher = (teacher,)
        self._sums: dict[str, Tensor] = {}
        self._tokens = 0

    @property
    def teacher(self) -> Any | None:
        """Who is asked while the student learns."""
        return self._teacher[0]

    @property
    def each(self) -> list[Term]:
        """The terms."""
        return list(self._terms)  # type: ignore[arg-type]

    def maps(self) -> dict[str, nn.Module]:
        """Those that train something themselves, by the file that a checkpoint keeps it in."""
        return {f"{term.name}.safetensors": term for term in self.each if list(term.parameters())}

    @contextmanager
    def listening(self, student: Any) -> Iterator[Mapping[int, Tensor]]:
        """Within, what the student's modules say, all terms' one after another."""
        with watched([part for term in self.each for part in term.of_student(student)]) as said:
            yield said

    def forward(self, heard: Heard, said: Mapping[int, Tensor]) -> Tensor:
        """Scalar: the weighted sum, over tokens and terms.

        Raises:
            UserError: what the teacher says is no number.
        """
        total = heard.states.new_zeros((), dtype=torch.float32)
        theirs = iter(self._asked(heard.inputs))
        ours = iter(said[place] for place in range(len(said)))
        for term in self.each:
            mine = [next(ours) for _ in term.of_student(heard.reader.network)]
            its = [next(theirs) for _ in term.of_teacher(self.teacher)]
            lost = term(heard, mine, its)
            if its and not bool(lost.isfinite()) and not all(_are_numbers(part) for part in its):
                raise UserError(
                    "the teacher's layers say NaN or infinity of what the student reads",
                    where=f"--{term.name}",
                    mend="check its weights, or give --precision float32",
                )
            self._sums[term.name] = self._sums.get(term.name, 0.0) + lost.detach()
            total = total + term.weight * lost
        self._tokens += len(heard.labels)
        return total

    def parts(self) -> dict[str, float]:
        """Of each term the mean over answer tokens, unweighted, since it was asked last."""
        told = {name: float(total) / max(self._tokens, 1) for name, total in self._sums.items()}
        self._sums, self._tokens = {}, 0
        return told

    @torch.no_grad()
    def _asked(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """What the teacher's modules say of the same."""
        teacher = self.teacher
        parts = [part for term in self.each for part in term.of_teacher(teacher)]
        if not parts:
            return []
        with watched(parts) as said:
            last_states(teacher, inputs)
        device = inputs["input_ids"].device
        return [said[place].to(device) for place in range(len(parts))]


def _are_numbers(said: Tensor) -> bool:
    return bool(said.isfinite().all())
