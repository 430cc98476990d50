"""A pre-trained text encoder, loaded through the transformers library: T5 and its kin (Raffel et al. 2019).

It is no part of a model: its weights are neither trained here nor kept in our checkpoints.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kiloword.prompts.caption import plain

# Axes: _ tokens, of each text another number, c channels.


def twice_plain(text: str) -> str:
    """LlamaGen's preprocessing."""
    return plain(plain(text))


class TextEncoder:
    """`name` is a folder or owner/name on the hub; texts are cut off after `limit` tokens.

    It is loaded with the first text, in bfloat16, as LlamaGen's authors run it; `wording` preprocesses each text.
    """

    def __init__(self, name: str, limit: int, wording: Callable[[str], str] = twice_plain):
        self.name, self.limit, self.wording = name, limit, wording
        self._opened: tuple[Any, Any] | None = None

    @torch.no_grad()
    def read(self, texts: list[str], device: torch.device) -> list[Float[Tensor, "_ c"]]:
        """The last hidden states of each text's tokens. Raises ValueError if there is no encoder to be had."""
        if self._opened is None:
            self._opened = opened(self.name)
        tokenizer, network = self._opened
        ids = tokenizer(
            [self.wording(text) for text in texts], max_length=self.limit, padding=True, truncation=True,
            return_tensors="pt",
        ).to(device)  # fmt: skip
        hidden = network.to(device)(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"])
        present = ids["attention_mask"].bool()
        return [states[mask] for states, mask in zip(hidden.last_hidden_state, present, strict=True)]


def opened(name: str) -> tuple[Any, Any]:
    """The encoder's tokenizer and network, from safetensors only. Raises ValueError if they cannot be loaded."""
    if not name:
        raise ValueError("this model names no text encoder: its prompts are features, not texts")
    try:
        from transformers import AutoTokenizer, T5EncoderModel
    except ImportError as error:
        raise ValueError(f"reading texts with {name} takes: pip install 'kiloword[text-encoders]'") from error
    try:
        network = T5EncoderModel.from_pretrained(name, dtype=torch.bfloat16, use_safetensors=True)
        return AutoTokenizer.from_pretrained(name), network.eval().requires_grad_(False)
    except ImportError as error:
        raise ValueError(f"reading texts with {name} takes: pip install 'kiloword[text-encoders]'") from error
    except (OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise ValueError(f"{name!r} is no text encoder that transformers can open: {line}") from error
