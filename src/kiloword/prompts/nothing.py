"""No prompt: unconditional generation (Chen et al. 2020, Image GPT)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kiloword.prompts.prompt import Condition, Prompt


@dataclass(frozen=True)
class NothingConfig:
    """For models of this width."""

    width: int

    def build(self) -> "Nothing":
        return Nothing(self)


class Nothing(Prompt, nn.Module):
    """The only prompt is None."""

    device: Tensor

    def __init__(self, config: NothingConfig):
        super().__init__()
        self.config, self.width = config, config.width
        self.register_buffer("device", torch.empty(0), persistent=False)

    def read(self, prompts: list) -> Condition:
        prompt = next((prompt for prompt in prompts if prompt is not None), None)
        if prompt is not None:
            raise ValueError(f"this model draws without a prompt; it cannot be asked for {prompt!r}")
        prefix = self.device.new_zeros(len(prompts), 0, self.width)
        return Condition(prefix, torch.ones(len(prompts), 0, dtype=torch.bool, device=prefix.device))

    def null(self, condition: Condition) -> Condition:
        return condition
