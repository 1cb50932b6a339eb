"""Heads that foretell the tokens after the next, so that a state is to hold more than the next one.

Multi-token prediction as in DeepSeek-V3, arXiv:2412.19437, section 2.2: the head of depth k reads the state
of depth k - 1 with the embedding of the token k - 1 places on, and its words go through the main head and
the student's embeddings. Two things differ. In place of a transformer block a residual one, as Medusa's
heads have (arXiv:2401.10774): it begins as the state that it is given, and needs nothing but the answer's
tokens, of which a row holds several answers'. And the main head, which knows the tokens between, teaches it
beside the labels, as a teacher's distributions do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ragdistill.errors import UserError
from ragdistill.losses import LogitObjective, TeacherStates, chunked_distillation
from ragdistill.training.reading import Reader
from ragdistill_generator.terms import Heard, Term


class Ahead(nn.Module):
    """A head of one depth: states ``[n, h]`` and embeddings of the tokens that follow them ``[n, e]`` to the
    states that foretell those after, ``[n, h]``."""

    def __init__(self, wide: int, embedded: int) -> None:
        super().__init__()
        self.joined = nn.Linear(wide + embedded, wide)
        self.out = nn.Linear(wide, wide, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, states: Tensor, following: Tensor) -> Tensor:
        """As above."""
        parts = [functional.rms_norm(part, part.shape[-1:]) for part in (states, following)]
        added: Tensor = self.out(functional.silu(self.joined(torch.cat(parts, dim=-1))))
        return states + added


class AheadTerm(Term):
    """What heads for the tokens after next lose, the mean over them.

    Args:
        weight: what it is multiplied by.
        student: the network; only its sizes are looked at.
        depth: how many heads.
        objective: what they minimise against the main head, and the labels.
        vocabulary: ids that exist, from 0; None for all.

    Raises:
        UserError: the student's logits are more than its states and a matrix.
    """

    def __init__(
        self,
        weight: float,
        student: Reader,
        depth: int,
        objective: LogitObjective,
        vocabulary: int | None = None,
    ) -> None:
        super().__init__("mtp", weight)
        if student.factor is None:
            raise UserError(
                f"a {type(student.network).__name__} bends its logits, which further heads do not",
                where="--mtp",
                mend="leave it out",
            )
        wide = student.head.weight.shape[1]
        embedded = student.network.get_input_embeddings().weight.shape[1]
        self.heads = nn.ModuleList(Ahead(wide, embedded) for _ in range(depth))
        self._objective, self._vocabulary = objective, vocabulary

    def forward(self, heard: Heard, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """See :class:`Term`; of answers alone."""
        count = len(heard.labels)
        places, labels, main = heard.places[:count], heard.labels, heard.states[:count]
        embedded = heard.reader.network.get_input_embeddings()
        total, states = main.new_zeros((), dtype=torch.float32), main
        head = heard.reader.head
        for depth, module in enumerate(self.heads, start=1):
            # An answer's tokens are foretold at places that follow each other, and no other's are.
            rest = max(count - depth, 0)
            stays = places[depth:] == places[:rest] + depth
            states = module(states[:rest], embedded(labels[depth - 1 :][:rest]))
            told = TeacherStates(main[depth:][stays].detach(), head)
            total = total + chunked_distillation(
                states[stays],
                head,
                told,
                labels[depth:][stays],
                self._objective,
                normaliser=1.0,
                vocabulary=self._vocabulary,
            )
        return total / len(self.heads)
