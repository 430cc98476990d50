"""Recording the inputs and outputs of one module while the whole system runs.

Forward hooks (Paszke et al. 2019, PyTorch), so that a recorded tensor is found on the way and not computed apart.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def recorded_calls(module: nn.Module, run: Callable[[], object]) -> tuple[list[Tensor], list[Tensor]]:
    """The first input and the output of every call of `module` during `run()`, as two lists in the order of the calls.

    The hook is removed at the end, also if `run` raises.
    """
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def record(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        inputs.append(arguments[0])
        outputs.append(output)

    hook = module.register_forward_hook(record)
    try:
        run()
    finally:
        hook.remove()
    return inputs, outputs
