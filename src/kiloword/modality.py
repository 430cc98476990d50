"""Modalities: a tokenizer x an order x a head, and the positions that pictures and texts take in a stream.

A picture that is generated is fed what its order says; one that is read is fed its own tokens. Zhou et al. 2024
(Transfusion), Chameleon Team 2024.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kiloword.document import Span, picture_span, text_span
from kiloword.heads.head import Head
from kiloword.opening import started
from kiloword.orders.order import Order, itself
from kiloword.tokenizers.quantizer import Multiscale
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Fed, Layout, Schedule
from kiloword.tokens.words import Words

# Axes: b pictures or texts, n tokens of a picture, q of them, m tokens of a text, w width.


class Modality(nn.Module):
    """Pictures: the tokenizer, the order in which tokens are generated, and the head that embeds and predicts them."""

    def __init__(self, tokenizer: Tokenizer, order: Order, head: Head):
        super().__init__()
        self.tokenizer, self.order, self.head = tokenizer, order, head

    @property
    def ranked(self) -> bool:
        """Whether attention within a picture is restricted by the tokens' ranks."""
        return self.order.causal or (self.head.denoising and not self.head.whole)

    def feed(
        self, shown: Tensor, schedule: Schedule, level: Float[Tensor, "b n"], index: Int[Tensor, "b q"], layout: Layout,
        to: Float[Tensor, "b n"] | None = None, canvas: Callable | None = None,
    ) -> Fed:  # fmt: skip
        """The input of the positions that predict the tokens of `index` (see `Order.feed`); `to` is the level after the
        step."""
        fed = self.order.feed(shown, schedule, level, index, layout, canvas or self.canvas(layout))
        return fed if to is None else replace(fed, to=to.gather(1, index))

    def drawn_span(
        self, fed: Fed, schedule: Schedule, rank: Int[Tensor, "b q"], layout: Layout, start: Tensor | None = None
    ) -> tuple[Span, Any]:
        """The span of a picture that is generated, and the head's memo of it. `rank`: see `Order.attention_rank`. The
        `start` [b, w] of a condition is added where nothing is fed."""
        vectors, memo = self.head.enter(fed, layout)
        place = self.order.row_positions(schedule, layout).gather(1, fed.index)
        times, vectors = self.order.times(layout), started(vectors, fed.real, start)
        span = picture_span(vectors, layout, place, rank, self.ranked, fed.real, times)
        return replace(span, modulation=self.head.modulation(fed)), memo

    def read_span(self, tokens: Tensor, layout: Layout) -> Span:
        """The span of a given picture: full attention within it, or causal attention if its tokens advance time."""
        fed, times = itself(tokens), self.order.times(layout)
        vectors, _ = self.head.enter(fed, layout)
        step = torch.zeros_like(fed.index) if times is None else times.to(fed.index.device)[fed.index]
        span = picture_span(vectors, layout, fed.index, step, causal=times is not None, times=times)
        return replace(span, modulation=self.head.modulation(fed))

    def canvas(self, layout: Layout) -> Callable[[Tensor, int], Tensor]:
        """The function (shown, scale) -> latents decoded from the grids before `scale`, for orders that feed the
        canvas."""

        def painted(shown: Tensor, scale: int) -> Tensor:
            return self.multiscale().canvas(shown, layout, scale)

        return painted

    def multiscale(self) -> Multiscale:
        """The multi-scale quantizer. Raises ValueError if the tokenizer has none."""
        scales = self.tokenizer.multiscale
        if scales is None:
            raise ValueError("this order feeds the canvas of coarser grids, and the tokenizer has a single grid")
        return scales


class TextModality(nn.Module):
    """Text: a subword tokenizer, its order, and the head that embeds and predicts text tokens; at most `limit`
    tokens."""

    device: Tensor

    def __init__(self, tokenizer: Words, order: Order, head: Head, limit: int = 64):
        super().__init__()
        self.tokenizer, self.order, self.head, self.limit = tokenizer, order, head, limit
        self.register_buffer("device", torch.empty(0), persistent=False)  # the head may be a part of the picture's

    def encode(self, texts: list[str]) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"]]:
        """Ids of texts, each with its end token, and which of them are present (not padding)."""
        ids, present = self.tokenizer.encode(texts, self.limit)
        end = torch.full_like(ids[:, :1], self.tokenizer.end)
        ids, present = torch.cat([ids, end], 1), torch.cat([torch.ones_like(present[:, :1]), present], 1)
        return ids.to(self.device.device), present.to(self.device.device)

    def schedule(self, batch: int, length: int) -> tuple[Schedule, Layout]:
        """The schedule of `batch` texts of `length` tokens, and their layout, a grid of one row."""
        line = Layout(((1, length),))
        return self.order.schedule(line, batch, None, None).to(self.device.device), line

    def span(
        self, ids: Int[Tensor, "b m"], present: Bool[Tensor, "b m"], start: Float[Tensor, "b w"] | None = None
    ) -> Span:
        """The span that predicts the ids, each position fed the id before it, the first one a condition's `start`."""
        schedule, line = self.schedule(*ids.shape)
        index = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        fed = self.order.feed(ids, schedule, torch.ones(ids.shape, device=ids.device), index, line)
        vectors, _ = self.head.enter(fed, line)
        return text_span(started(vectors, fed.real, start), present, self.order.causal)
