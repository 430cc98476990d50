"""Listening: what goes into one part, and comes out of it, while the whole system works as it always does.

Forward hooks (Paszke et al. 2019, PyTorch), so that a recorded tensor is found on the way and not computed apart.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def heard(part: nn.Module, work: Callable[[], object]) -> tuple[list[Tensor], list[Tensor]]:
    """The first input and the output of every call of `part` while `work` is done, in order."""
    given: list[Tensor] = []
    answered: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        given.append(inputs[0])
        answered.append(output)

    hook = part.register_forward_hook(note)
    try:
        work()
    finally:
        hook.remove()
    return given, answered
