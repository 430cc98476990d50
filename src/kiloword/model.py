"""The idea: an image model is modalities around one transformer, a prompt at its entrance, a decoder at its exit.

A modality is a tokenizer x an order x a head. Here stand its check, its loss and the slow, clear way to draw; the fast
way (`engine/`) is tested equal to it. Chen et al. 2020 (Image GPT), Ramesh et al. 2021 (DALL-E), Zhou et al. 2024.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from kiloword.decoders.decoder import Decoder, Own, Sketching
from kiloword.heads.head import Denoising, Head, Sampling
from kiloword.noise import Noise
from kiloword.orders.order import Gradual, Order, Timed, grouped_as, itself, turns_at
from kiloword.prompts.prompt import Condition, Contextual, Framing, Predicted, Prompt, join
from kiloword.stream import Span, lay, pack, picture_span, pile, text_span, unpack
from kiloword.tokenizers.quantizer import Multiscale
from kiloword.tokenizers.tokenizer import OneWay, Tokenizer
from kiloword.tokens import Fed, Layout, Schedule, Vector
from kiloword.tokens.space import values_of
from kiloword.tokens.words import Words
from kiloword.transformer import CrossAttending, HiddenGuidance, Modulable, Transformer, hidden_guidance_at

# Axes: s steps, v views, b pictures, n tokens of a picture, q tokens now, m rows of text, w width.


class Modality(nn.Module):
    """Pictures: how they become tokens, in which order these are drawn, and through which head."""

    def __init__(self, tokenizer: Tokenizer, order: Order, head: Head):
        super().__init__()
        self.tokenizer, self.order, self.head = tokenizer, order, head


class Text(nn.Module):
    """Text that is generated: pieces of words, one after the other, through a head of their own."""

    device: Tensor

    def __init__(self, tokenizer: Words, order: Order, head: Head, limit: int = 64):
        super().__init__()
        self.tokenizer, self.order, self.head, self.limit = tokenizer, order, head, limit
        self.register_buffer("device", torch.empty(0), persistent=False)  # the head may be a part of the picture's

    def encode(self, texts: list[str]) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"]]:
        """Ids that end with the id that ends a text, and which of them count."""
        ids, present = self.tokenizer.encode(texts, self.limit)
        end = torch.full_like(ids[:, :1], self.tokenizer.end)
        ids, present = torch.cat([ids, end], 1), torch.cat([torch.ones_like(present[:, :1]), present], 1)
        return ids.to(self.device.device), present.to(self.device.device)

    def span(
        self, ids: Int[Tensor, "b m"], present: Bool[Tensor, "b m"], pick: Int[Tensor, "b q"],
        after: Condition | None = None,
    ) -> Span:  # fmt: skip
        """The rows that predict the picked tokens, each fed the token before it; `after` is what they stand behind."""
        layout = Layout(((1, ids.shape[1]),))
        level = torch.ones(ids.shape, device=ids.device)
        fed = self.order.feed(ids, level, pick, layout)
        vectors, _ = self.head.enter(fed, layout)
        vectors = vectors if after is None else started(vectors, fed.real, after)
        return text_span(vectors, present.gather(1, pick), self.order.causal, first=int(pick[0, 0]))


@dataclass(frozen=True)
class Drawing:
    """A request to draw `count` pictures: views with their weights, how values are chosen, and what is given.

    `views` are conditions of `count` rows each; `weights` sum to 1 over views. Weights and sampling may differ from
    step to step: [s, v, b], and a tuple. `given` tokens [b, n] are kept as they are in `tokens`. `steps` None is as
    many as the order has by itself. The head sums the views up, or the transformer `after_block` of so many (-1: the
    last one). `groups`, a number and an overlap, are for orders under which tokens become known little by little. A
    drawing goes on from its `progress`.
    """

    layout: Layout
    views: list[Condition]
    weights: Float[Tensor, "v b"] | Float[Tensor, "s v b"]
    sampling: Sampling | tuple[Sampling, ...] = Sampling()
    tokens: Tensor | None = None
    given: Bool[Tensor, "b n"] | None = None
    steps: int | None = None
    after_block: int | None = None
    groups: tuple[int, float] | None = None
    progress: "Progress | None" = None

    @property
    def count(self) -> int:
        return self.weights.shape[-1]

    @property
    def soft(self) -> bool:
        """Whether tokens are drawn as distributions."""
        return (self.sampling if isinstance(self.sampling, Sampling) else self.sampling[0]).soft is not None

    def weights_at(self, step: int) -> Float[Tensor, "v b"]:
        return self.weights if self.weights.ndim == 2 else self.weights[step]

    def output_weights_at(self, step: int) -> Float[Tensor, "v b"]:
        """With which the head sums the views up: only the first one is left if that has been done before."""
        weights = self.weights_at(step)
        return weights if self.after_block is None else torch.eye(len(weights), 1).expand_as(weights)

    def hidden_guidance(self, steps: Int[Tensor, "b q"]) -> HiddenGuidance | None:
        """How the transformer sums up places that are asked for at these steps."""
        return hidden_guidance_at(self.after_block, self.weights, steps)

    def sampling_at(self, step: int) -> Sampling:
        return self.sampling if isinstance(self.sampling, Sampling) else self.sampling[step]


@dataclass(frozen=True)
class Progress:
    """The picture's tokens after `step` of `steps`, which are known, and the unknown share of all, if it is told."""

    tokens: Tensor
    known: Bool[Tensor, "b n"]
    step: int
    steps: int
    level: Float[Tensor, "b n"] | None = None


def resumed(drawing: Drawing, progress: Progress) -> Drawing:
    """The drawing that goes on from `progress`: with the same noise to the same picture, with other views elsewhere."""
    return replace(drawing, progress=progress)


class ImageModel(nn.Module):
    """Text and pictures around one transformer; `text` None draws only, `decoder` None is the tokenizer's own."""

    def __init__(
        self, picture: Modality, prompt: Prompt, transformer: Transformer, text: Text | None = None,
        decoder: Decoder | None = None,
    ):  # fmt: skip
        super().__init__()
        self.picture, self.prompt, self.transformer, self.text = picture, prompt, transformer, text
        self.decoder = decoder
        if isinstance(decoder, Sketching):
            decoder.work_from(picture.tokenizer)
        self.check()

    @property
    def pixel_decoder(self) -> Decoder:
        """What turns tokens into pixels."""
        return Own(self.picture.tokenizer) if self.decoder is None else self.decoder

    def check(self) -> None:
        """Raise ValueError, with the reason, if these parts do not go together."""
        modalities = {"picture": self.picture, **({"text": self.text} if self.text else {})}
        for name, modality in modalities.items():
            if (spoken := modality.tokenizer.space) != (heard := modality.head.space):
                raise ValueError(f"{name}: the tokenizer gives {spoken} and the head predicts {heard}")
        parts = {"transformer": self.transformer, "prompt": self.prompt}
        parts |= {f"{name} head": modality.head for name, modality in modalities.items()}
        if len({part.width for part in parts.values()}) > 1:
            widths = ", ".join(f"{name} {part.width}" for name, part in parts.items())
            raise ValueError(f"all parts must have one width, these differ: {widths}")
        if self.picture.order.painted != (self.picture.head.canvas > 0):
            feeds, takes = ("tokens", "canvases") if self.picture.head.canvas else ("canvases", "tokens")
            raise ValueError(f"this order feeds {feeds}, and the head's entrance takes {takes}")
        if isinstance(self.picture.order, Gradual) != isinstance(self.picture.head, Denoising):
            takes, draws = ("steps", "whole") if isinstance(self.picture.order, Gradual) else ("one go", "by steps")
            raise ValueError(f"this order makes tokens known in {takes}, and the head draws them {draws}")
        if (self.picture.order.causal or isinstance(self.picture.order, Gradual)) and not self.transformer.causal:
            raise ValueError("this order draws later tokens from earlier ones, and the transformer shows all to all")
        tokenizer, head, decoder = self.picture.tokenizer, self.picture.head, self.pixel_decoder
        modulated = isinstance(self.transformer, Modulable) and self.transformer.modulated
        if isinstance(head, Denoising) and head.modulates and not modulated:
            raise ValueError("the head tells each token's level to the blocks, and nothing modulates the transformer's")
        if self.decoder is None and isinstance(tokenizer, OneWay):
            raise ValueError(tokenizer.way_back)
        if decoder.space != tokenizer.space:
            raise ValueError(f"the tokenizer gives {tokenizer.space} and the decoder is told {decoder.space}")
        if (stride := tokenizer.stride) != (covers := decoder.stride):
            raise ValueError(f"the tokenizer's tokens cover {stride} pixels a side, the decoder's {covers}")
        cross_attends = isinstance(self.transformer, CrossAttending) and self.transformer.cross_attends
        if cross_attends != isinstance(self.prompt, Contextual):
            missing = "the prompt has none" if cross_attends else "the transformer attends to none"
            raise ValueError(f"a context takes a prompt that has it and a transformer that attends to it: {missing}")
        if isinstance(self.prompt, Predicted) and self.text is None:
            raise ValueError("this prompt is to be predicted too, and the model has no text to say it in")

    # Learning

    def loss(
        self, prompts: list, target: Tensor, shown: Tensor, layout: Layout, noise: Noise | None = None,
        captions: list[str] | None = None, pictures: Tensor | None = None, capacity: int = 64,
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "d m"] | None]:  # fmt: skip
        """Loss of every token of pictures that are drawn from prompts, and of every text token: of those prompts, if
        they are predicted, and then of `captions` that are read off other `pictures` [d, n] (tokens). 0 where a token
        was not asked for or a text has ended."""
        drawing, memo, rows, asked = self._lay_drawing(prompts, shown, layout, noise)
        streams, start = [drawing], 0
        if captions is not None:
            if self.text is None or pictures is None:
                raise ValueError("captions need pictures to be read off, and a model that writes text")
            ids, present = self.text.encode(captions)
            pick = torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
            seen, after = self.reading(pictures, layout)
            start = sum(span.vectors.shape[1] for span in seen)
            streams.append(lay([*seen, self.text.span(ids, present, pick, after)]))
        piled = pile(streams)
        packed, where = pack(piled, capacity)
        hidden = unpack(self.transformer(packed), where)
        b = len(target)
        drawn = self.picture.head.loss(hidden[:b, rows], target, memo, noise) * asked
        told = []
        if isinstance(self.prompt, Predicted) and self.text is not None:
            told.append(self.text.head.loss(hidden[:b, : rows.start], self.prompt.target(prompts), None, noise))
        if captions is not None and self.text is not None:
            told.append(self.text.head.loss(hidden[b:, start : start + ids.shape[1]], ids, None, noise) * present)
        longest = max((losses.shape[1] for losses in told), default=0)
        told = [pad(losses, (0, longest - losses.shape[1])) for losses in told]
        return drawn, torch.cat(told) if told else None

    def _lay_drawing(self, prompts: list, shown: Tensor, layout: Layout, noise: Noise | None):
        b, n = shown.shape[:2]
        condition = self.prompt.read(prompts)
        order = self.picture.order
        level = order.lesson(layout, b, noise).to(shown.device)
        pick = torch.arange(n, device=shown.device).expand(b, -1)
        step, asked = torch.zeros_like(pick), level > 0
        if isinstance(order, Gradual):
            shown, asked = order.noised(shown, level, noise), asked & (level < 1)
            step = order.turns(layout, torch.zeros_like(asked), level == 0, asked)
        if order.causal:
            step = order.schedule(layout, b, None, noise).start.long().to(shown.device)
        span, memo = self.picture_rows(condition, shown, level, pick, step, layout)
        rows = slice(condition.prefix.shape[1], condition.prefix.shape[1] + n)
        stream = lay([prefix_span(condition), span], condition.vector, context=condition.context)
        return stream, memo, rows, asked

    def picture_rows(
        self, condition: Condition, shown: Tensor, level: Float[Tensor, "b n"], pick: Int[Tensor, "b q"],
        step: Int[Tensor, "b q"], layout: Layout, to: Float[Tensor, "b n"] | None = None,
    ) -> tuple[Span, Any]:  # fmt: skip
        """The rows that ask for the picked tokens, and what the head wants to be reminded of at its output; `to` is the
        level after the step."""
        order, head = self.picture.order, self.picture.head
        fed = order.feed(shown, level, pick, layout, self.canvas(layout))
        fed = fed if to is None else replace(fed, to=to.gather(1, pick))
        vectors, memo = head.enter(fed, layout)
        vectors = started(vectors, fed.real, condition)
        seat = order.seats(layout).to(pick.device)[fed.place]
        causal = order.causal or (isinstance(head, Denoising) and not head.whole)
        span = picture_span(vectors, layout, seat, step, causal, fed.real, self.moments(layout))
        return self.told(span, fed), memo

    def told(self, span: Span, fed: Fed) -> Span:
        """Rows with what the level of their tokens says to the blocks, if the head has anything to say."""
        head = self.picture.head
        return replace(span, modulation=head.modulation(fed)) if isinstance(head, Denoising) else span

    def moments(self, layout: Layout) -> Int[Tensor, "n"] | None:
        """When each of a picture's rows comes, if the order takes time."""
        order = self.picture.order
        return order.moments(layout) if isinstance(order, Timed) else None

    def canvas(self, layout: Layout) -> Callable[[Tensor, int], Tensor]:
        """What the tokens of the grids before a scale have painted, for orders that feed that."""

        def painted(shown: Tensor, scale: int) -> Tensor:
            return self.multiscale().canvas(shown, layout, scale)

        return painted

    def multiscale(self) -> Multiscale:
        """The quantizer that paints on several grids. Raises ValueError if there is none."""
        quantizer = getattr(self.picture.tokenizer, "quantizer", None)
        if not isinstance(quantizer, Multiscale):
            raise ValueError("this order feeds what coarser grids have painted, and the tokenizer paints on one")
        return quantizer

    def reading(self, tokens: Tensor, layout: Layout) -> tuple[list[Span], Condition | None]:
        """A whole picture that is looked at, in what the prompt puts round it, and what a text behind starts with."""
        seen = self.reading_span(tokens, layout)
        if not isinstance(self.prompt, Framing):
            return [seen], None
        before, after = self.prompt.frame(len(tokens))
        return [prefix_span(before), seen, prefix_span(after)], after

    def reading_span(self, tokens: Tensor, layout: Layout) -> Span:
        """A whole picture that is looked at: every token sees every other one, or those before it if it takes time."""
        fed, moments = itself(tokens), self.moments(layout)
        vectors, _ = self.picture.head.enter(fed, layout)
        if moments is None:
            span = picture_span(vectors, layout, fed.place, torch.zeros_like(fed.place), causal=False)
            return self.told(span, fed)
        step = moments.to(fed.place.device)[fed.place]
        return picture_span(vectors, layout, fed.place, step, causal=True, moments=moments)

    # Drawing, slow and clear

    def draw(self, drawing: Drawing, noise: Noise) -> Iterator[Progress]:
        """The tokens after every step. Every step runs the whole stream anew: see `engine/` for the fast way."""
        order, b, layout = grouped_as(self.picture.order, drawing.groups), drawing.count, drawing.layout
        schedule = order.schedule(layout, b, drawing.steps, noise)
        tokens, given = starting_tokens(self, drawing, noise)
        for step in range(first_step(order, drawing), schedule.steps):
            visited = self.visited(schedule, step)
            rows = pick_of(schedule, slice(0, step + 1 if order.causal else schedule.steps))
            level, to = (level_at(schedule, moment, given, order.causal) for moment in (step, step + 1))
            start = turns_at(order, schedule, step, layout, given).gather(1, rows)
            asked = start if order.causal else torch.full_like(start, step)
            hidden = self._hidden(drawing, tokens, rows, start, level, drawing.hidden_guidance(asked))
            now = (rows[:, None] == visited[:, :, None]).int().argmax(-1)
            hidden = hidden[:, torch.arange(b)[:, None], now]
            _, memo = self.picture_rows(drawing.views[0], tokens, level, visited, visited, layout, to)
            self.place(tokens, given, visited, hidden, memo, drawing, step, noise)
            known, told = given | (schedule.level(step + 1) == 0), None if order.causal else to
            yield Progress(tokens.clone(), known, step + 1, schedule.steps, told)

    def visited(self, schedule: Schedule, step: int) -> Int[Tensor, "b q"]:
        """The tokens that are asked for in a step."""
        head = self.picture.head
        whole = isinstance(head, Denoising) and head.whole
        return pick_of(schedule, slice(0, schedule.steps) if whole else step)

    def _hidden(
        self, drawing: Drawing, tokens: Tensor, pick: Int[Tensor, "b q"], start: Int[Tensor, "b q"],
        level: Float[Tensor, "b n"], hidden_guidance: HiddenGuidance | None,
    ) -> Float[Tensor, "v b q w"]:  # fmt: skip
        view, v = join(drawing.views), len(drawing.views)
        prefix = prefix_span(view)
        tokens, level, pick, start = (t.repeat(v, *(1,) * (t.ndim - 1)) for t in (tokens, level, pick, start))
        picture, _ = self.picture_rows(view, tokens, level, pick, start, drawing.layout)
        stream = lay([prefix, picture], view.vector, context=view.context, hidden_guidance=hidden_guidance)
        return self.transformer(stream)[:, prefix.vectors.shape[1] :].unflatten(0, (v, -1))

    def place(
        self, tokens: Tensor, given: Tensor, visited: Int[Tensor, "b q"], hidden: Float[Tensor, "v b q w"], memo: Any,
        drawing: Drawing, step: int, noise: Noise,
    ) -> None:  # fmt: skip
        """Sample the visited tokens and write those that are not given."""
        rows = torch.arange(len(tokens))
        weights, sampling = drawing.output_weights_at(step).to(hidden), drawing.sampling_at(step)
        drawn = self.picture.head.sample(hidden, weights, memo, sampling, noise, rows)
        index = rows[:, None]
        fixed = given[index, visited].view(*visited.shape, *(1,) * (tokens.ndim - 2))
        tokens[index, visited] = torch.where(fixed, tokens[index, visited], drawn)


def started(
    vectors: Float[Tensor, "b q w"], real: Bool[Tensor, "b q"], condition: Condition
) -> Float[Tensor, "b q w"]:
    """Rows with the condition's `start` added where nothing real is fed."""
    if condition.start is None:
        return vectors
    return vectors + torch.where(real[..., None], 0, condition.start[:, None])


def level_at(schedule: Schedule, step: int, given: Bool[Tensor, "b n"], causal: bool) -> Float[Tensor, "b n"]:
    """The unknown share that the rows of a step are told: their own at the time when each row is visited."""
    if causal:
        return torch.ones(given.shape, device=given.device)
    return schedule.level(step).float().to(given.device).masked_fill(given, 0.0)


def prefix_span(condition: Condition) -> Span:
    """The rows of a condition as a span of their own."""
    return text_span(condition.prefix, condition.present, condition.causal, placed=condition.placed)


def first_step(order: Order, drawing: Drawing) -> int:
    """Where to go on: earlier steps need not be gone through again if no noise is drawn in them."""
    been = drawing.progress
    return min(been.step, been.steps - 1) if been is not None and isinstance(order, Gradual) else 0


def starting_tokens(model: ImageModel, drawing: Drawing, noise: Noise) -> tuple[Tensor, Bool[Tensor, "b n"]]:
    """Zeros, or noise, and what is given, and which tokens are given; or what a drawing goes on from."""
    space, b, n, device = model.picture.tokenizer.space, drawing.count, drawing.layout.count, drawing.weights.device
    given = torch.zeros(b, n, dtype=torch.bool, device=device) if drawing.given is None else drawing.given
    kind = torch.float if isinstance(space, Vector) or drawing.soft else torch.long
    tail = (*space.tail, int(values_of(space).max())) if drawing.soft else space.tail
    tokens = torch.zeros(b, n, *tail, dtype=kind, device=device)
    if drawing.tokens is not None:
        space.check(drawing.tokens)
        shown = one_hot(drawing.tokens, tail[-1]).to(kind) if drawing.soft else drawing.tokens
        tokens = torch.where(given.view(b, n, *(1,) * len(tail)), shown, tokens)
    order, progress = model.picture.order, drawing.progress
    if isinstance(order, Gradual):
        if progress is None:
            return order.noised(tokens, (~given).float(), noise, drawing.sampling_at(0).temperature), given
        return progress.tokens.clone(), given | progress.known & (progress.step == progress.steps)
    return (tokens, given) if progress is None else (progress.tokens.clone(), given | progress.known)


def pick_of(schedule: Schedule, steps: int | slice) -> Int[Tensor, "b q"]:
    """The tokens visited in a step, or in a range of steps, in the order of the picture."""
    if isinstance(steps, int):
        visited = schedule.visited(steps)
    else:
        visited = torch.stack([schedule.visited(s) for s in range(steps.stop)[steps]]).any(0)
    return visited.nonzero()[:, 1].view(len(visited), -1)
