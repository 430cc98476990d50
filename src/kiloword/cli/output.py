"""Output files: names, checks before any drawing, and files that are written whole or not at all.

Texts inside a PNG: PNG specification, third edition (W3C 2025), section 11.3.3.
"""

import io
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kiloword.data.shards import replace_file

MOVING = (".webp", ".gif", ".png")
FILTERS = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}


@dataclass(frozen=True)
class Target:
    """The files of `n` pictures: "apple.png", or "apple-1.png" and so on."""

    folder: Path
    stem: str
    n: int
    suffix: str = ".png"

    def path(self, index: int) -> Path:
        return self.folder / f"{self.stem}{f'-{index + 1}' if self.n > 1 else ''}{self.suffix}"

    @property
    def paths(self) -> list[Path]:
        return [self.path(index) for index in range(self.n)]


def target(output: Path | None, prompt: str, n: int) -> Target:
    """Files as the user named them (they are replaced), or new files named after the prompt."""
    if output is None or output.is_dir():
        return _fresh(output or Path(), _words(prompt), n)
    if output.suffix.lower() not in ("", ".png"):
        raise ValueError(f"{output}: pictures are written as PNG, so name it {output.with_suffix('.png').name}")
    return _checked(Target(output.parent, output.stem, n))


def moving(output: Path, n: int) -> Target:
    """Files for `n` animations."""
    if output.suffix.lower() not in MOVING:
        raise ValueError(f"{output}: an animation is written as one of {', '.join(MOVING)}; name it so")
    return _checked(Target(output.parent, output.stem, n, output.suffix.lower()))


def check_folder(folder: Path) -> None:
    """Raise unless files can be written into this folder; a few kilobytes are written and taken away again."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: create it first, or choose another one")
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(65536))
            probe.flush()
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; nothing was drawn", str(folder)) from error


def write_png(path: Path, image: Image.Image, texts: dict[str, str]) -> None:
    """A picture with texts about it."""
    info = PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info, optimize=True)
    replace_file(path, buffer.getvalue())


def write_moving(path: Path, images: list[Image.Image]) -> None:
    """An endless animation: a tenth of a second a picture, two seconds for the last one."""
    buffer = io.BytesIO()
    times = [100] * (len(images) - 1) + [2000]
    kind = {".webp": "WEBP", ".gif": "GIF", ".png": "PNG"}[path.suffix]
    options = {"lossless": True} if kind == "WEBP" else {"disposal": 2} if kind == "GIF" else {}
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=times, loop=0, **options)
    replace_file(path, buffer.getvalue())


def enlarge(image: Image.Image, scale: int, filter: str) -> Image.Image:
    """A picture `scale` times larger; its colours are weighted by alpha, so that edges stay clean."""
    if scale == 1:
        return image
    size = (image.width * scale, image.height * scale)
    return image.convert("RGBa").resize(size, FILTERS[filter]).convert("RGBA")


def _checked(target: Target) -> Target:
    check_folder(target.folder)
    for path in target.paths:
        if path.is_dir():
            raise ValueError(f"{path} is a folder: name a file")
    return target


def _fresh(folder: Path, stem: str, n: int) -> Target:
    number = 1
    while any(path.exists() for path in Target(folder, _numbered(stem, number), n).paths):
        number += 1
    return _checked(Target(folder, _numbered(stem, number), n))


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}.{number}"


def _words(prompt: str) -> str:
    return "-".join(re.findall(r"\w+", prompt.lower()))[:60].strip("-") or "picture"
