"""What parts of a network say while it reads."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ragdistill.errors import UserError
from ragdistill.training.pruning import layer_list

PROJECTIONS = ("q_proj", "k_proj", "v_proj")


@contextmanager
def watched(modules: Sequence[nn.Module]) -> Iterator[dict[int, Tensor]]:
    """Within, what each of ``modules`` said last, by its place among them; gradients flow through it."""
    said: dict[int, Tensor] = {}

    def keeper(place: int) -> Any:
        def keep(module: nn.Module, given: Any, told: Any) -> None:
            said[place] = told[0] if isinstance(told, tuple) else told

        return keep

    hooks = [each.register_forward_hook(keeper(place)) for place, each in enumerate(modules)]
    try:
        yield said
    finally:
        for hook in hooks:
            hook.remove()


def last_projections(network: Any) -> list[nn.Module]:
    """What makes the queries, the keys and the values of the last layer.

    Raises:
        UserError: they are not made apart.
    """
    parts = list(layer_list(network)[-1].named_modules())
    found = [part for kind in PROJECTIONS for name, part in parts if name.split(".")[-1] == kind]
    if len(found) != len(PROJECTIONS):
        raise UserError(
            f"a {type(network).__name__} does not make queries, keys and values apart",
            where="--attention",
            mend="leave it out, or give --feature",
        )
    return found
