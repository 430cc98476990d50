"""Wordbook: the text tokenizer of a pretrained language model, from its tokenizer.json.

Moi and Patry 2019 (tokenizers); Gemma's, Qwen's and Llama's come in this form.
"""

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from tokenizers import Tokenizer
from torch import Tensor

from kiloword.tokens import Categorical

# Axes: b texts, m text tokens.


@dataclass(frozen=True)
class WordbookConfig:
    """`json` is the content of tokenizer.json ("": only ids can be used, no texts).

    The model's embedding has `size` vectors, which may be more than the vocabulary; `end` is the id that ends a text.
    """

    size: int
    end: int
    json: str = ""

    def __post_init__(self):
        if not 0 <= self.end < self.size:
            raise ValueError(f"the id that ends a text is one of {self.size} ids, got {self.end}")

    def build(self) -> "Wordbook":
        return Wordbook(self)


class Wordbook:
    """Texts to ids without added tokens; marks like <eos> are encoded as plain text, not as special tokens.

    Raises ValueError if the tokenizer.json cannot be read or has more words than the model has embeddings.
    """

    def __init__(self, config: WordbookConfig):
        self.space, self.end = Categorical(config.size), config.end
        self._tokenizer = opened(config.json) if config.json else None
        if self._tokenizer and (largest := max(self._tokenizer.get_vocab().values())) >= config.size:
            raise ValueError(f"tokenizer.json has a word {largest}, the model has {config.size}: give its own file")

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            raise ValueError("this model came without its tokenizer.json: give ids, or pull it with --from that file")
        return self._tokenizer

    def encode(self, texts: list[str], limit: int) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"]]:
        """Ids and the mask of real ones; m is at least 1. Raises ValueError for a text over the limit."""
        encoded = [found.ids for found in self.tokenizer.encode_batch(texts, add_special_tokens=False)]
        for text, ids in zip(texts, encoded, strict=True):
            if len(ids) > limit:
                raise ValueError(f"the text has {len(ids)} tokens, the limit is {limit}: shorten {text[:60]!r}...")
        longest = max([1, *map(len, encoded)])
        ids = torch.tensor([text + [self.end] * (longest - len(text)) for text in encoded])
        lengths = torch.tensor([len(text) for text in encoded])
        return ids, torch.arange(longest)[None] < lengths[:, None]

    def decode(self, ids: list[int]) -> str:
        """The text of some ids, up to the first `end`."""
        kept = ids[: ids.index(self.end)] if self.end in ids else ids
        return self.tokenizer.decode(kept).strip()


@functools.lru_cache(maxsize=4)
def opened(json: str) -> Tokenizer:
    """The tokenizer of a tokenizer.json. Raises ValueError in one line if it is none."""
    try:
        tokenizer = Tokenizer.from_str(json)
    except Exception as error:  # the library raises bare exceptions
        line = str(error).strip().partition("\n")[0]
        raise ValueError(f"the tokenizer.json cannot be read ({line}): give the language model's own file") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer
