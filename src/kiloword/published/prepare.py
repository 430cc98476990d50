"""A picture made ready as a system's authors do it: laid over a grey, resized, cut out of its middle.

Porter and Duff 1984 for laying over; sizes and filters are the pages'.
"""

from PIL import Image

from kiloword.published.page import Preparation

LONGEST = 4  # of a picture this many times longer than wide, only the middle can matter


def prepare(picture: Image.Image, how: Preparation) -> Image.Image:
    """An RGB picture; a square of `how.size` pixels a side if there is such a size, else as large as it was."""
    short = min(picture.size)
    picture = _middle(picture, *(min(side, LONGEST * short) for side in picture.size))
    grey = round(how.background * 255)
    plain = Image.new("RGBA", picture.size, (grey, grey, grey, 255))
    plain.alpha_composite(picture.convert("RGBA"))
    if how.size is None:
        return plain.convert("RGB")
    scale = round(how.enlarge * how.size) / short
    size = (round(picture.width * scale), round(picture.height * scale))
    resized = plain.convert("RGB").resize(size, Image.Resampling[how.filter])
    return _middle(resized, how.size, how.size)


def _middle(picture: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
