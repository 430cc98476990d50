"""Clean-up: a picture's tokens and some noise over its pixels, from which a diffusion decoder paints to the end.

Meng et al. 2022 (SDEdit): the more noise, the freer the decoder and the less is left of the picture.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from kiloword.decoders.decoder import Effort
from kiloword.engine.fitting import laid, showable
from kiloword.engine.painter import Painter
from kiloword.engine.preview import noise_of
from kiloword.pixels import composite, to_image

# Axes: c the decoder's channels, H W pixels.


@torch.no_grad()
def clean(
    painter: Painter, picture: Image.Image, level: float = 0.3, effort: Effort | None = None, seed: int = 0
) -> Image.Image:
    """A picture of any size, at the model's size and without padding, painted on from `level` (0: as it is, 1: anew).

    `effort` None is the decoder's own. Raises ValueError if the model has no diffusion decoder, and for a level that is
    not above 0 and at most 1.
    """
    decoder, tokenizer = painter.model.pixel_decoder, painter.model.picture.tokenizer
    size = max(painter.card.sizes, key=lambda size: min(size[0] / picture.height, size[1] / picture.width))
    small = painter.read_size(size)
    layout = tokenizer.layout(*small)
    before, (top, left, rows, columns) = laid(picture, size)
    start = (before if tokenizer.channels == 4 else composite(before))[None].to(painter.device)
    tokens = tokenizer.encode(interpolate(start, size=small, mode="area"), layout).shown
    known = torch.ones(tokens.shape[:2], dtype=torch.bool, device=painter.device)
    effort, noise = replace(effort or decoder.effort, level=level), noise_of([seed])
    *_, painted = decoder.decode_steps(tokens, layout, known, effort, noise, torch.arange(1), start=start)
    box = (..., slice(top, top + rows), slice(left, left + columns))
    return to_image(transparent_as(before[box], painted.pixels[0].cpu()[box]))


def transparent_as(before: Float[Tensor, "4 H W"], painted: Float[Tensor, "c H W"]) -> Float[Tensor, "4 H W"]:
    """What was painted, premultiplied: an opaque picture stays opaque, and one in RGB gets the alpha it had before.

    Edges of a transparent picture are the decoder's, since they are what it sharpens.
    """
    colour, alpha = before.split([3, 1])
    if len(painted) == 3:  # painted over white, which is taken off again
        return showable(torch.cat([painted.clamp(-1, 1) - (1 - alpha), alpha])[None])[0]
    shown = showable(painted[None])[0]
    if alpha.min() < 1:
        return shown
    over = shown[:3] + (1 - shown[3:]) / 2 * (colour + 1)
    return torch.cat([over, alpha])
