"""Picture files: opened upright, 8 bits a channel, as RGBA; what cannot be taken so is refused with a remedy.

Two functions. `open_picture` makes the best of a file, for folders of thousands of them; `read_picture` takes a file as
it is or not at all, for measuring. Orientation after EXIF 2.32 (CIPA DC-008, 2019).
"""

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

PLAIN = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX")  # modes of 8 bits a channel, or of fewer
MODES = {"CMYK": "CMYK, colours for print", "F": "floating-point numbers", "I": "whole numbers of 32 bits"}
REMEDY = "replace it, or remove it"


def open_picture(path: Path, content: bytes | None = None) -> Image.Image:
    """The picture as RGBA; of an animation the first frame, with a warning; grey of 16 bits is scaled to 8.

    With `content`, that is the file, and the path is only what it is called. Raises ValueError, which names it.
    """
    with _opened(path, content) as picture:
        if getattr(picture, "n_frames", 1) > 1:
            warnings.warn(f"{path} is animated, only its first frame is used", stacklevel=2)
            picture.seek(0)
        upright = ImageOps.exif_transpose(picture)
        return eight_bits(upright).convert("RGBA")


def read_picture(path: Path) -> Image.Image:
    """The picture as RGBA, every pixel as the file has it.

    Raises ValueError for animations, CMYK, more than 8 bits a channel, no pixels at all, and more than Pillow
    thinks safe to unpack.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a picture file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such a picture is refused below
        with _opened(path) as picture:
            _refuse(path, picture)
            return ImageOps.exif_transpose(picture).convert("RGBA")


class _Refused(ValueError):
    """A refusal that says everything already."""


def _refuse(path: Path, picture: Image.Image) -> None:
    """Raise for a picture of which something would be lost, or that would fill the memory."""
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # a camera's JPEG with its own thumbnail
        raise _Refused(f"{path} holds {frames} pictures, an animation or pages: save the one you mean as a PNG")
    width, height = picture.size
    if width * height > (Image.MAX_IMAGE_PIXELS or width * height):
        raise _too_large(path, width * height, Image.MAX_IMAGE_PIXELS or 0)
    if _is_deep(picture):
        raise _Refused(f"{path} has 16 bits a channel ({picture.mode}): save it with 8, as an ordinary PNG")
    if picture.mode not in PLAIN:
        what = MODES.get(picture.mode, picture.mode)
        raise _Refused(f"{path} is in {what}: convert it to RGB or RGBA, for example to an ordinary PNG")


def _is_deep(picture: Image.Image) -> bool:
    """Whether the file has 16 bits a channel; Pillow shows that of colours in the raw mode of the tiles only."""
    layouts = [str(tile[3]) for tile in getattr(picture, "tile", [])]
    return ";16" in picture.mode or any(";16" in layout or "65535" in layout for layout in layouts)


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """The file as an open picture; whatever goes wrong while it is used becomes a ValueError that names it."""
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as picture:
            yield picture
    except _Refused:
        raise
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: correct its name, or add the picture") from None
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        raise _too_large(path, int(found[0]) if found else None, 2 * (Image.MAX_IMAGE_PIXELS or 0)) from None
    except (OSError, SyntaxError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{path} is not a picture that can be read ({_reason(path, error)}): {REMEDY}") from None


def _too_large(path: Path, pixels: int | None, limit: int) -> _Refused:
    has = f"{pixels:,} pixels, " if pixels else ""
    return _Refused(f"{path} has {has}more than {limit:,}: make it smaller, or remove it")


def _reason(path: Path, error: Exception) -> str:
    """Why a file is no picture; Pillow itself cannot tell an empty picture from none."""
    if not path.is_file():
        return str(error)
    with open(path, "rb") as file:
        head = file.read(64)
    size = _size_said(head)
    if not head:
        return "the file is empty"
    return f"it is {size[0]}x{size[1]} pixels" if size and 0 in size else str(error)


def _size_said(head: bytes) -> tuple[int, int] | None:
    """Width and height in the first bytes of a PNG, GIF, BMP or PNM file."""
    try:
        if head.startswith(b"\x89PNG"):
            return struct.unpack(">II", head[16:24])
        if head.startswith(b"GIF8"):
            return struct.unpack("<HH", head[6:10])
        if head.startswith(b"BM"):
            return struct.unpack("<ii", head[18:26])
    except struct.error:
        return None
    found = re.match(rb"P[1-6]\s+(\d+)\s+(\d+)", head)
    return (int(found[1]), int(found[2])) if found else None


def eight_bits(picture: Image.Image) -> Image.Image:
    """Grey pictures of 16 bits (Pillow would clip them) scaled to 8; all others as they are."""
    if 0 in picture.size:
        raise ValueError(f"it is {picture.width}x{picture.height} pixels")
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture, dtype=np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its pixels range from {values.min()} to {values.max()}, not within 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))
