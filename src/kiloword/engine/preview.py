"""Previews: partial pictures decoded from the tokens sampled so far, then from the steps of the decoder.

The announcement of native image generation (OpenAI 2025) shows both: a rough outline early, then a picture that
sharpens from the top. A preview costs one network call.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kiloword.decoders.decoder import Effort
from kiloword.drawing import Progress
from kiloword.engine.cpu.threads import in_threads, threads
from kiloword.model import ImageModel
from kiloword.noise import Seeded, seed_for
from kiloword.tokens import Layout

# Axes: b pictures, n tokens, c channels, H W pixels.


@dataclass(frozen=True)
class Previewed:
    """Pictures after `step` of `steps`, those of sampling and of decoding together, and the seeds that drew them."""

    pixels: Float[Tensor, "b c H W"]
    known: Bool[Tensor, "b n"]
    step: int
    steps: int
    seeds: list[int]


def previews(
    model: ImageModel, drawn: Iterable[tuple[Progress, list[int]]], layout: Layout, effort: Effort | None,
    partials: int | None,
) -> Iterator[Previewed]:  # fmt: skip
    """`partials` previews of a drawing, evenly spread (None: one a step), then the finished pictures.

    Previews do not change the drawing. `effort` None is the decoder's own.
    """
    decoder = model.pixel_decoder
    effort = effort or decoder.effort
    if effort.level < 1:
        raise ValueError(f"a drawing is decoded from level 1, all noise: {effort.level:g} is for cleaning up a picture")
    decoder_steps, before = decoder.steps(layout, effort), None
    for progress, seeds in drawn:
        steps = progress.steps + decoder_steps
        shown = shown_steps(steps, partials)
        last = progress.step == progress.steps
        if progress.step in shown and not (last and not decoder_steps):
            tokens, known = expected(before, progress)
            with threads():
                pixels = decoder.preview(tokens, layout, known)
            yield Previewed(pixels, progress.known, progress.step, steps, seeds)
        before = progress
        if last:
            tokens, known, samples = progress.tokens, progress.known, torch.arange(len(seeds))
            under = None
            if any(progress.steps < step < steps for step in shown):
                with threads():
                    under = decoder.preview(tokens, layout, known)
            decoding = decoder.decode_steps(tokens, layout, known, effort, noise_of(seeds), samples, under=under)
            for decoded in in_threads(decoding):
                step = steps - decoded.steps + decoded.step
                if step in shown:
                    yield Previewed(decoded.pixels, known, step, steps, seeds)


def expected(before: Progress | None, after: Progress) -> tuple[Tensor, Bool[Tensor, "b n"]]:
    """What a preview decodes after a step: known tokens, and of part-noised ones the clean ones that the step headed
    for, along the line through where they were and where they are."""
    if before is None or before.level is None or after.level is None:
        return after.tokens, after.known
    denoising = (before.level > after.level) & (after.level > 0)
    if not denoising.any():
        return after.tokens, after.known
    share = torch.where(denoising, after.level / (before.level - after.level).clamp(min=1e-6), 0)
    return after.tokens + share[..., None] * (after.tokens - before.tokens), denoising | after.known


def noise_of(seeds: list[int]) -> Seeded:
    """The decoder's noise for pictures of these seeds, independent of the noise of their tokens."""
    return Seeded([seed_for(seed, "paint") for seed in seeds])


def shown_steps(steps: int, partials: int | None) -> set[int]:
    """The steps after which a picture is shown: `partials` of them spread evenly, and the last one."""
    if partials is None or partials >= steps:
        return set(range(1, steps + 1))
    return {math.ceil(steps * k / (partials + 1)) for k in range(1, partials + 1)} | {steps}
