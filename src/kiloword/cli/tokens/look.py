"""`kiloword tokens show` and `roundtrip`: a picture's tokens, and what its reconstruction loses.

Peak signal-to-noise ratio, and structural similarity (Wang et al. 2004).
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from kiloword.cli.panels import Panel, differing, enlarged, token_map
from kiloword.cli.tokens.experiment import Result, Subject, checked_paths, encoded, write_result
from kiloword.cli.tokens.options import ExtraFile, FileOptions, TokenizerOptions
from kiloword.engine import surgery
from kiloword.evaluation.ssim import WINDOW, ssim
from kiloword.pixels import psnr
from kiloword.tokens import Bits, Categorical, Vector

# Axes: none.


def show(image: Path, tokenizer: TokenizerOptions, files: FileOptions) -> None:
    """Show each grid as numbers and as a map of colours over the picture."""
    out = checked_paths(files, image, "show")
    (subject,) = encoded([image], tokenizer)
    panels = [Panel("the picture", enlarged(subject.pixels[0]))]
    colours = surgery.colours(subject.tokens[0], subject.notation)
    for scale, (h, w) in enumerate(subject.layout.sizes):
        tokens = subject.tokens[0, subject.layout.part(scale)]
        part = colours[subject.layout.part(scale)].view(h, w, 3)
        mapped, fits = token_map(subject.pixels[0], part, [_in_cell(token, subject) for token in tokens])
        several = f"grid {scale}: " if len(subject.layout.sizes) > 1 else ""
        caption = "" if fits or isinstance(subject.tokenizer.space, Vector) else "too many to write them in"
        panels.append(Panel(several + _extent(h, w), mapped, caption))
    facts = {"tokens": [_nested(subject, scale) for scale in range(len(subject.layout.sizes))]}
    write_result([subject], Result("tokens", panels, _grids(subject), facts), out, files)


def _grids(subject: Subject) -> list[str]:
    """Each grid in rows of numbers; tokens of several codes, or vectors, a line each."""
    space, notation, lines = subject.tokenizer.space, subject.notation, []
    for scale, (h, w) in enumerate(subject.layout.sizes):
        tokens = subject.tokens[0, subject.layout.part(scale)]
        lines.append(f"grid {scale}, {_extent(h, w)}: {notation.about()}")
        if isinstance(space, Categorical):
            width = len(str(space.size - 1))
            lines += [" ".join(f"{token:{width}}" for token in row) for row in tokens.view(h, w).tolist()]
            continue
        prefix = f"{scale}:" if scale < len(subject.layout.sizes) - 1 else ""
        for number, token in enumerate(tokens):
            words = " ".join(f"{x:.3g}" for x in token) if isinstance(space, Vector) else notation.write(token)
            lines.append(f"{prefix}{number // w},{number % w}={words}")
    return lines


def _extent(h: int, w: int) -> str:
    return f"{h} row{'s' * (h > 1)}, {w} column{'s' * (w > 1)}"


def _in_cell(token: Tensor, subject: Subject) -> list[str]:
    """A token in a few short lines, to be written into its cell; none for vectors."""
    space, notation = subject.tokenizer.space, subject.notation
    if isinstance(space, Vector):
        return []
    if isinstance(space, Bits):
        text = notation.write(token)
        return [text[start : start + 8] for start in range(0, len(text), 8)]
    if notation.groups > 1 or isinstance(space, Categorical):
        return notation.parts(token, flat=True)
    return notation.write(token).split(".")


def _nested(subject: Subject, scale: int) -> list[Any]:
    h, w = subject.layout.sizes[scale]
    tokens = subject.tokens[0, subject.layout.part(scale)]
    return tokens.view(h, w, *tokens.shape[1:]).tolist()


def roundtrip(image: Path, tokenizer: TokenizerOptions, files: FileOptions, extra: ExtraFile) -> None:
    """Compare the picture with its reconstruction."""
    out = checked_paths(files, image, "roundtrip", extra)
    (subject,) = encoded([image], tokenizer)
    true, decoded = subject.pixels, subject.drawn()[None]
    inner, rebuilt = subject.fitted.inside(true), subject.fitted.inside(decoded)
    change = surgery.difference(true, decoded)[0]
    figures, words = _figures(subject, float(psnr(rebuilt, inner)[0]), rebuilt, inner)
    panels = [
        Panel("the picture", enlarged(true[0])),
        Panel("decoded from its tokens", enlarged(decoded[0]), "\n".join(words[:2])),
        differing("what differs", change),
    ]
    write_result([subject], Result("roundtrip", panels, words, figures, subject.fitted.inside(decoded)[0]), out, files)


def _figures(subject: Subject, decibel: float, rebuilt: Tensor, true: Tensor) -> tuple[dict[str, Any], list[str]]:
    """PSNR, SSIM and bits per pixel, as JSON fields and as lines; None where undefined."""
    similar = float(ssim(rebuilt, true)[0]) if min(rebuilt.shape[-2:]) >= WINDOW else None
    height, width = subject.fitted.size
    space, bits = subject.tokenizer.space, surgery.bits(subject.tokenizer, subject.layout)
    finite = not isinstance(space, Vector)
    figures = {
        "psnr": decibel, "ssim": similar, "bits": bits if finite else None,
        "bits_per_pixel": bits / (height * width) if finite else None,
    }  # fmt: skip
    ratio = f"{similar:.3f}" if similar is not None else f"none, it needs {WINDOW}x{WINDOW} pixels"
    lines = [f"PSNR {decibel:.2f} dB, SSIM {ratio} (on white)"]
    if isinstance(space, Vector):
        stored = subject.layout.count * space.dim * 16 / (height * width)
        return figures, [*lines, f"no number of bits: real numbers; as float16 {stored:.3f} bits per pixel"]
    return figures, [*lines, f"{bits:,.0f} bits, {figures['bits_per_pixel']:.3f} bits per pixel"]
