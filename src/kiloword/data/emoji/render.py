"""From a drawing (SVG or WebP) to a square RGBA picture of a given size.

Source: resvg for SVG; Porter and Duff 1984 for why one resizes colours multiplied by their alpha (no dark fringes).
"""

import importlib.util
import io

from PIL import Image

_FINER = 3  # times: drawings with filters are rendered larger, since filters leave hard, stepped edges
_SEEN = 16  # of 255: less alpha than this is not seen
_LEAST = 0.004  # share of the pixels that must be seen


def require_renderer() -> None:
    """ValueError, with the remedy, where SVG drawings cannot be rendered."""
    if importlib.util.find_spec("resvg_py") is None:
        raise ValueError('SVG drawings need resvg, which is not installed: pip install "kiloword[train]"')


def render(drawing: bytes, size: int) -> Image.Image:
    """The drawing, as large as fits in size x size, in the middle of a transparent square."""
    file = _svg_to_png(drawing.decode(), size) if b"<svg" in drawing[:1000] else drawing
    picture = Image.open(io.BytesIO(file)).convert("RGBA")
    scale = size / max(picture.size)
    fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if fitted != picture.size:
        picture = picture.convert("RGBa").resize(fitted, Image.Resampling.LANCZOS).convert("RGBA")
    if fitted == (size, size):
        return picture
    square = Image.new("RGBA", (size, size))
    square.paste(picture, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
    return square


def is_blank(picture: Image.Image) -> bool:
    """Whether next to nothing of an RGBA picture can be seen."""
    seen = sum(picture.getchannel("A").histogram()[_SEEN:])
    return seen < _LEAST * picture.width * picture.height


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _svg_to_png(drawing: str, size: int) -> bytes:
    import resvg_py  # optional: only building the set needs it

    width = size * _FINER if "<filter" in drawing else size
    return bytes(resvg_py.svg_to_bytes(svg_string=drawing, width=width, skip_system_fonts=True))
