"""Byte-level byte-pair encoding for text in any language, without unknown tokens.

Sennrich et al. 2015, Radford et al. 2019. Words are made of UTF-8 bytes, so that no character is missing; only
the merges are trained.
"""

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from kiloword.tokens import Categorical

# Axes: b texts, m text tokens.

END = 0  # the id that ends a text


@dataclass(frozen=True)
class BPEConfig:
    """The merges in the order in which they were learned, each "left right" in byte-level letters."""

    merges: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "merges", tuple(self.merges))

    @staticmethod
    def train(texts: Iterable[str], size: int) -> "BPEConfig":
        """Learn merges from texts until the vocabulary has `size` entries."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator((_clean(text) for text in texts), trainer)
        merges = json.loads(tokenizer.to_str())["model"]["merges"]
        return BPEConfig(tuple(" ".join(pair) for pair in merges))

    def build(self) -> "BPE":
        return BPE(self)


class BPE:
    """Text to ids and back. Ids are padded at the end with `END`; the mask is false at padding."""

    end = END

    def __init__(self, config: BPEConfig):
        self.tokenizer = _tokenizer(config.merges)
        self.space = Categorical(self.tokenizer.get_vocab_size())

    def encode(self, texts: list[str], limit: int) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"]]:
        """Ids and the mask of real ones; m is at least 1. Raises ValueError for a text over the limit."""
        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch([_clean(text) for text in texts])]
        for text, ids in zip(texts, encoded, strict=True):
            if len(ids) > limit:
                raise ValueError(f"the text has {len(ids)} tokens, the limit is {limit}: shorten {text[:60]!r}...")
        longest = max(1, *map(len, encoded)) if encoded else 1
        ids = torch.tensor([one + [END] * (longest - len(one)) for one in encoded], dtype=torch.long).view(-1, longest)
        lengths = torch.tensor([len(one) for one in encoded], dtype=torch.long)
        return ids, torch.arange(longest)[None] < lengths[:, None]

    def decode(self, ids: list[int]) -> str:
        """The text of some ids, up to the first `END`."""
        kept = ids[: ids.index(END)] if END in ids else ids
        return self.tokenizer.decode(kept).strip()


def _clean(text: str) -> str:
    """One leading space before every word, the first one too, so that a word always has the same tokens."""
    return " " + " ".join(text.split()) if text.strip() else ""


@functools.lru_cache(maxsize=8)
def _tokenizer(merges: tuple[str, ...]) -> Tokenizer:
    pieces = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    known = dict.fromkeys([*pieces, *("".join(pair) for pair in pairs)])
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(known)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
