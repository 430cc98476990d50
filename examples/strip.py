"""Draws the strip of the README, from the first preview to the picture: python examples/strip.py OUT.png"""

import sys

from PIL import Image

import kiloword

PROMPTS = (
    ("a red apple", "3d"), ("crying face", "flat"), ("sunflower", "gradient"), ("watermelon", "noto"),
    ("star", "twemoji"), ("lady beetle", "3d"),
)  # fmt: skip
SHOWN, SIDE, GAP = 5, 128, 8


def strip(path: str, seed: int = 7) -> None:
    """Two prompts a row, each with its previews; enlarged, over white."""
    model = kiloword.load()
    columns = 2 * (SHOWN + 1)
    rows = (len(PROMPTS) + 1) // 2
    sheet = Image.new("RGB", (columns * (SIDE + GAP) + GAP, rows * (SIDE + GAP) + GAP), "white")
    for index, (prompt, style) in enumerate(PROMPTS):
        for place, preview in enumerate(model.stream(prompt, style=style, seed=seed, partials=SHOWN)):
            picture = preview.image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            left = ((index % 2) * (SHOWN + 1) + place) * (SIDE + GAP) + GAP
            sheet.paste(picture, (left, index // 2 * (SIDE + GAP) + GAP), picture)
    sheet.quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    strip(sys.argv[1] if len(sys.argv) > 1 else "strip.png")
