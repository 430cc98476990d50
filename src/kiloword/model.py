"""The idea: an image model is modalities around one transformer, a prompt at its entrance, a decoder at its exit.

A modality is a tokenizer x an order x a head. Here stand its check, its loss and the slow, clear way to draw; the fast
way (`engine/`) is tested equal to it. Chen et al. 2020 (Image GPT), Ramesh et al. 2021 (DALL-E), Zhou et al. 2024.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kiloword.heads.head import Head, Sampling
from kiloword.noise import Noise
from kiloword.orders.order import Order, itself
from kiloword.prompts.prompt import Condition, Prompt
from kiloword.stream import Span, lay, pack, picture_span, pile, text_span, unpack
from kiloword.tokenizers.bpe import BPE, END
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Layout, Schedule
from kiloword.transformer import Transformer

# Axes: v views, b pictures, n tokens of a picture, q tokens now, m rows of text, w width.


class Modality(nn.Module):
    """Pictures: how they become tokens, in which order these are drawn, and through which head."""

    def __init__(self, tokenizer: Tokenizer, order: Order, head: Head):
        super().__init__()
        self.tokenizer, self.order, self.head = tokenizer, order, head


class Text(nn.Module):
    """Text that is generated: byte-pair tokens, one after the other, through a head of their own."""

    def __init__(self, tokenizer: BPE, order: Order, head: Head, limit: int = 64):
        super().__init__()
        self.tokenizer, self.order, self.head, self.limit = tokenizer, order, head, limit

    def encode(self, texts: list[str]) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"]]:
        """Ids that end with `END`, and which of them count."""
        ids, present = self.tokenizer.encode(texts, self.limit)
        end = torch.full_like(ids[:, :1], END)
        ids, present = torch.cat([ids, end], 1), torch.cat([torch.ones_like(present[:, :1]), present], 1)
        device = next(self.parameters()).device
        return ids.to(device), present.to(device)

    def span(self, ids: Int[Tensor, "b m"], present: Bool[Tensor, "b m"], pick: Int[Tensor, "b q"]) -> Span:
        """The rows that predict the picked tokens, each fed the token before it."""
        layout = Layout(((1, ids.shape[1]),))
        level = torch.ones(ids.shape, device=ids.device)
        fed = self.order.feed(ids, level, pick, layout)
        vectors, _ = self.head.enter(fed, layout)
        return text_span(vectors, present.gather(1, pick), self.order.causal, first=int(pick[0, 0]))


@dataclass(frozen=True)
class Drawing:
    """A request to draw `count` pictures: views with their weights, how values are chosen, and what is given.

    `views` are conditions of `count` rows each; `weights` [v, b] sum to 1 over views. `given` tokens [b, n] are kept
    as they are in `tokens`.
    """

    layout: Layout
    views: list[Condition]
    weights: Float[Tensor, "v b"]
    sampling: Sampling = Sampling()
    tokens: Tensor | None = None
    given: Bool[Tensor, "b n"] | None = None

    @property
    def count(self) -> int:
        return self.weights.shape[1]


@dataclass(frozen=True)
class Progress:
    """The picture's tokens after `step` of `steps`, and which of them are known."""

    tokens: Tensor
    known: Bool[Tensor, "b n"]
    step: int
    steps: int


class ImageModel(nn.Module):
    """Text and pictures around one transformer; `text` None draws only."""

    def __init__(self, picture: Modality, prompt: Prompt, transformer: Transformer, text: Text | None = None):
        super().__init__()
        self.picture, self.prompt, self.transformer, self.text = picture, prompt, transformer, text
        self.check()

    def check(self) -> None:
        """Raise ValueError, with the reason, if these parts do not go together."""
        modalities = {"picture": self.picture, **({"text": self.text} if self.text else {})}
        for name, modality in modalities.items():
            spoken, heard = modality.tokenizer.space, modality.head.space
            if spoken != heard:
                raise ValueError(f"{name}: the tokenizer gives {spoken} and the head predicts {heard}")
        parts = {"transformer": self.transformer, "prompt": self.prompt}
        parts |= {f"{name} head": modality.head for name, modality in modalities.items()}
        if len({part.width for part in parts.values()}) > 1:
            widths = ", ".join(f"{name} {part.width}" for name, part in parts.items())
            raise ValueError(f"all parts must have one width, these differ: {widths}")

    # Learning

    def loss(
        self, prompts: list, target: Tensor, shown: Tensor, layout: Layout, noise: Noise | None = None,
        captions: list[str] | None = None, pictures: Tensor | None = None, capacity: int = 64,
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "d m"] | None]:  # fmt: skip
        """Loss of every token of pictures that are drawn from prompts, and of every text token of `captions` that
        are read off other `pictures` [d, n] (tokens): 0 where a caption has ended."""
        drawing, memo, rows = self._lay_drawing(prompts, shown, layout, noise)
        streams = [drawing]
        if captions is not None:
            if self.text is None or pictures is None:
                raise ValueError("captions need pictures to be read off, and a model that writes text")
            ids, present = self.text.encode(captions)
            pick = torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
            streams.append(lay([self.reading_span(pictures, layout), self.text.span(ids, present, pick)]))
        piled = pile(streams)
        packed, where = pack(piled, capacity)
        hidden = unpack(self.transformer(packed), where)
        b = len(target)
        drawn = self.picture.head.loss(hidden[:b, rows], target, memo, noise)
        if captions is None or self.text is None:
            return drawn, None
        start = shown.shape[1]
        told = self.text.head.loss(hidden[b:, start : start + ids.shape[1]], ids, None, noise)
        return drawn, told * present

    def _lay_drawing(self, prompts: list, shown: Tensor, layout: Layout, noise: Noise | None):
        b, n = shown.shape[:2]
        condition = self.prompt.read(prompts)
        order = self.picture.order
        level = order.lesson(layout, b, noise).to(shown.device)
        step = order.schedule(layout, b, None, noise).start.long().to(shown.device)
        pick = torch.arange(n, device=shown.device).expand(b, -1)
        fed = order.feed(shown, level, pick, layout)
        vectors, memo = self.picture.head.enter(fed, layout)
        spans = [prefix_span(condition), picture_span(vectors, layout, fed.place, step, order.causal)]
        return lay(spans, condition.vector), memo, slice(condition.prefix.shape[1], condition.prefix.shape[1] + n)

    def reading_span(self, tokens: Tensor, layout: Layout) -> Span:
        """A whole picture that is looked at: every token sees every other one."""
        fed = itself(tokens)
        vectors, _ = self.picture.head.enter(fed, layout)
        return picture_span(vectors, layout, fed.place, torch.zeros_like(fed.place), causal=False)

    # Drawing, slow and clear

    def draw(self, drawing: Drawing, noise: Noise) -> Iterator[Progress]:
        """The tokens after every step. Every step runs the whole stream anew: see `engine/` for the fast way."""
        order, layout, b = self.picture.order, drawing.layout, drawing.count
        schedule = order.schedule(layout, b, None, noise)
        tokens, given = starting_tokens(self, drawing)
        for step in range(schedule.steps):
            visited = pick_of(schedule, step)
            so_far = pick_of(schedule, slice(0, step + 1))
            hidden = torch.stack([self._hidden(view, tokens, schedule, so_far, step, layout) for view in drawing.views])
            now = (so_far[:, None] == visited[:, :, None]).int().argmax(-1)
            hidden = hidden[:, torch.arange(b)[:, None], now]
            self.place(tokens, given, visited, hidden, drawing, noise)
            yield Progress(tokens.clone(), given | (schedule.level(step + 1) == 0), step + 1, schedule.steps)

    def _hidden(
        self, view: Condition, tokens: Tensor, schedule: Schedule, pick: Int[Tensor, "b q"], step: int, layout: Layout
    ) -> Float[Tensor, "b q w"]:
        order = self.picture.order
        level = torch.ones(tokens.shape[:2], device=tokens.device)
        fed = order.feed(tokens, level, pick, layout)
        vectors, _ = self.picture.head.enter(fed, layout)
        start = schedule.start.long().gather(1, pick)
        prefix = prefix_span(view)
        stream = lay([prefix, picture_span(vectors, layout, fed.place, start, order.causal)], view.vector)
        return self.transformer(stream)[:, prefix.vectors.shape[1] :]

    def place(
        self, tokens: Tensor, given: Tensor, visited: Int[Tensor, "b q"], hidden: Float[Tensor, "v b q w"],
        drawing: Drawing, noise: Noise,
    ) -> None:  # fmt: skip
        """Sample the visited tokens and write those that are not given."""
        rows = torch.arange(len(tokens))
        weights = drawing.weights.to(hidden)
        drawn = self.picture.head.sample(hidden, weights, None, drawing.sampling, noise, rows)
        index = rows[:, None]
        fixed = given[index, visited].view(*visited.shape, *(1,) * (tokens.ndim - 2))
        tokens[index, visited] = torch.where(fixed, tokens[index, visited], drawn)


def prefix_span(condition: Condition) -> Span:
    """The rows of a condition as a span in which all see all."""
    return text_span(condition.prefix, condition.present, causal=False)


def starting_tokens(model: ImageModel, drawing: Drawing) -> tuple[Tensor, Bool[Tensor, "b n"]]:
    """Zeros and what is given, and which tokens are given."""
    space, b, n = model.picture.tokenizer.space, drawing.count, drawing.layout.count
    device = drawing.weights.device
    given = torch.zeros(b, n, dtype=torch.bool, device=device) if drawing.given is None else drawing.given
    tokens = torch.zeros(b, n, *space.tail, dtype=torch.long, device=device)
    if drawing.tokens is not None:
        space.check(drawing.tokens)
        tokens = torch.where(given.view(b, n, *(1,) * len(space.tail)), drawing.tokens, tokens)
    return tokens, given


def pick_of(schedule: Schedule, steps: int | slice) -> Int[Tensor, "b q"]:
    """The tokens visited in a step, or in a range of steps, in the order of the picture."""
    if isinstance(steps, int):
        visited = schedule.visited(steps)
    else:
        visited = torch.stack([schedule.visited(s) for s in range(steps.stop)[steps]]).any(0)
    return visited.nonzero()[:, 1].view(len(visited), -1)
