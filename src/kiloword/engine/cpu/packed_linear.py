"""Packed linear layers: matrices in blocks, as oneDNN multiplies them, up to three times as fast on a CPU.

Many vectors at once stay with MKL in one thread without AVX-512, where it is up to 15 % faster.
Georganas et al. 2018 (Anatomy of high-performance deep learning convolutions on SIMD architectures) for the blocks. The
usual layout is kept beside them for checkpoints and training; the copy costs as much memory again.
"""

from copy import deepcopy
from functools import cache
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

# Axes: i inputs, o outputs.

MOST = 1 << 30  # bytes of copies that a model may have
_BATCH_HINT = 16  # vectors, for oneDNN to lay out blocks: those for one are half as fast for several, not the reverse

_MANY = 128  # vectors that MKL multiplies faster in one thread where there is no AVX-512
_FUSED_GELU = 64  # vectors at most for which the GELU fused into oneDNN's product is faster than PyTorch's


def pack_matrices(module: nn.Module, most: int = MOST) -> None:
    """Give the linear layers of a module packed matrices, in the order of the module, up to `most` bytes of copies.

    All weights are also laid out anew, in place, with the longer side contiguous: fastest to read in a product with
    one vector, and never slower than before for layers that get no copy.
    """
    layers = [layer for layer in module.modules() if type(layer) is nn.Linear and "forward" not in vars(layer)]
    sizes = accumulate(layer.weight.numel() * layer.weight.element_size() for layer in layers)
    for layer, size in zip(layers, sizes, strict=True):
        if size <= most and can_pack(layer.weight):
            layer.forward = Packed(layer)
        if layer.out_features >= layer.in_features:
            layer.weight.data = layer.weight.data.t().contiguous().t()


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN can pack and multiply this matrix."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and not weight.is_inference()
        and weight.numel() > 0
    )


def blocks_for_many() -> bool:
    """Whether oneDNN's blocks are the fastest for any number of vectors."""
    return torch.get_num_threads() > 1 or _wide()


@cache
def _wide() -> bool:
    """Whether there is AVX-512, or no MKL to use instead."""
    return bool(torch.cpu.get_capabilities().get("avx512_f")) or not torch.backends.mkl.is_available()


class Packed:
    """The `forward` of a linear layer: over packed blocks without autograd, as in PyTorch with it.

    `approximate` ("none" or "tanh", as in PyTorch) applies GELU to the result, in place: fused into oneDNN's product
    for few vectors, by PyTorch for many, where that is faster.
    """

    def __init__(self, layer: nn.Linear):
        self.layer, self.packed, self.blocks = layer, (0, 0), torch.empty(0)

    def __call__(self, input: Float[Tensor, "*b i"], approximate: str | None = None) -> Float[Tensor, "*b o"]:
        weight, bias = self.layer.weight, self.layer.bias
        plain = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or input.dtype != torch.float32
        if plain or weight.device.type != "cpu" or not input.numel():
            result = linear(input, weight, bias)
            return result if approximate is None else gelu(result, approximate=approximate)
        vectors = input.numel() // self.layer.in_features
        if vectors >= _MANY and not blocks_for_many():
            result = linear(input, weight, bias)
            return result if approximate is None else torch.ops.aten.gelu_(result, approximate=approximate)
        if self.packed != (state := (weight.data_ptr(), weight._version)):  # new, or changed since
            self.blocks, self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _BATCH_HINT), state
        if approximate is not None and 1 < vectors <= _FUSED_GELU:
            return torch.ops.mkldnn._linear_pointwise(input, self.blocks, bias, "gelu", [], approximate)
        if vectors == 1:
            result = self._one(input)
        else:
            result = torch.ops.mkldnn._linear_pointwise(input, self.blocks, bias, "none", [], "")
        return result if approximate is None else torch.ops.aten.gelu_(result, approximate=approximate)

    def _one(self, input: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        """For one vector: as fast as the matrix is read."""
        result = torch.mv(self.layer.weight, input.flatten()).view(*input.shape[:-1], -1)
        return result if self.layer.bias is None else result.add_(self.layer.bias)

    def __deepcopy__(self, memo: dict) -> "Packed":
        return Packed(deepcopy(self.layer, memo))

    def __reduce__(self) -> tuple:
        return Packed, (self.layer,)
