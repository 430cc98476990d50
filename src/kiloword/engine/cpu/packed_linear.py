"""Packed linear layers: matrices in blocks, as oneDNN multiplies them, up to three times as fast on a CPU.

Many rows go the usual way in one thread without AVX-512: there MKL multiplies them up to 15 % faster.
Georganas et al. 2018 (Anatomy of high-performance deep learning convolutions on SIMD architectures) for the blocks. The
usual order is kept beside them, so checkpoints and learning do not notice; the copy costs as much memory again.
"""

from copy import deepcopy
from functools import cache
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

# Axes: i inputs, o outputs.

MOST = 1 << 30  # bytes of copies that a model may have
_ROWS = 16  # that oneDNN is told to expect: its blocks for one row are half as fast for several, and not the reverse

_MANY = 128  # rows that MKL multiplies faster in one thread where there is no AVX-512
_BENT = 64  # rows, at most, of which oneDNN works out the GELU faster than PyTorch


def pack_matrices(module: nn.Module, most: int = MOST) -> None:
    """Let the linear layers of a module draw with packed matrices, in the order of the module until `most` bytes.

    All are stretched besides, the same numbers, in place, with the longer side contiguous: so they are read fastest
    where one row is multiplied, and those that find no room for a copy are never worse than they were.
    """
    layers = [layer for layer in module.modules() if type(layer) is nn.Linear and "forward" not in vars(layer)]
    sizes = accumulate(layer.weight.numel() * layer.weight.element_size() for layer in layers)
    for layer, size in zip(layers, sizes, strict=True):
        if size <= most and can_pack(layer.weight):
            layer.forward = Packed(layer)
        if layer.out_features >= layer.in_features:
            layer.weight.data = layer.weight.data.t().contiguous().t()


def can_pack(weight: Tensor) -> bool:
    """Whether a matrix is one that oneDNN multiplies here."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and not weight.is_inference()
        and weight.numel() > 0
    )


def blocks_for_many() -> bool:
    """Whether oneDNN's blocks are the fastest for any number of rows."""
    return torch.get_num_threads() > 1 or _wide()


@cache
def _wide() -> bool:
    """Whether there is AVX-512, or no MKL to turn to."""
    return bool(torch.cpu.get_capabilities().get("avx512_f")) or not torch.backends.mkl.is_available()


class Packed:
    """The `forward` of a linear layer: over blocks where nothing is learned, as ever where something is.

    `approximate` asks for the GELU of the result ("none", "tanh": how PyTorch works it out), where it stands: oneDNN
    bends few rows as it writes them, many rows are bent faster by PyTorch.
    """

    def __init__(self, layer: nn.Linear):
        self.layer, self.packed, self.blocks, self.matrix = layer, (0, 0), torch.empty(0), np.empty(0)

    def __call__(self, input: Float[Tensor, "*b i"], approximate: str | None = None) -> Float[Tensor, "*b o"]:
        weight, bias = self.layer.weight, self.layer.bias
        plain = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or input.dtype != torch.float32
        if plain or weight.device.type != "cpu" or not input.numel():
            straight = linear(input, weight, bias)
            return straight if approximate is None else gelu(straight, approximate=approximate)
        rows = input.numel() // self.layer.in_features
        if rows >= _MANY and not blocks_for_many():
            straight = linear(input, weight, bias)
            return straight if approximate is None else torch.ops.aten.gelu_(straight, approximate=approximate)
        if self.packed != (state := (weight.data_ptr(), weight._version)):  # new, or changed since
            self.blocks, self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS), state
            self.matrix = weight.detach().numpy()
        if approximate is not None and 1 < rows <= _BENT:
            return torch.ops.mkldnn._linear_pointwise(input, self.blocks, bias, "gelu", [], approximate)
        if rows == 1:
            straight = self._one(input)
        else:
            straight = torch.ops.mkldnn._linear_pointwise(input, self.blocks, bias, "none", [], "")
        return straight if approximate is None else torch.ops.aten.gelu_(straight, approximate=approximate)

    def _one(self, input: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        """Of one row, by NumPy, whose matrix times vector is as fast as the matrix is read."""
        row = torch.from_numpy(np.dot(self.matrix, input.flatten().numpy())).view(*input.shape[:-1], -1)
        return row if self.layer.bias is None else row.add_(self.layer.bias)

    def __deepcopy__(self, memo: dict) -> "Packed":
        return Packed(deepcopy(self.layer, memo))

    def __reduce__(self) -> tuple:
        return Packed, (self.layer,)
