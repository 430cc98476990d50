"""Precision: bfloat16 where the hardware multiplies it, float32 where it would be emulated, which is far slower.

Micikevicius et al. 2017 (mixed precision); Kalamkar et al. 2019 (bfloat16).
"""

import torch


def multiplies_bfloat16(device: torch.device | None = None) -> bool:
    """Whether matrices of bfloat16 are multiplied in hardware on a device (None: the accelerator, or else the CPU)."""
    if device is None:
        device = torch.accelerator.current_accelerator() or torch.device("cpu")
    if device.type != "cpu":
        return True
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
