"""Draws the pictures of docs/tokens.md: a cat, an apple, and six experiments on their tokens.

Run it where they shall lie: python examples/surgery.py docs/tokens. The drawings are our own, so nobody need be asked.
"""

import sys
from contextlib import chdir
from pathlib import Path

from PIL import Image, ImageDraw

from kiloword.cli import main

SIDE, FINER = 128, 8  # pixels a side, and how many times finer the drawing is
COMMANDS = (
    "show cat.png --size 64x64 -o show.png",
    "set cat.png 3,5=1026 -o set.png",
    "flip cat.png -o flip.png",
    "stitch cat.png apple.png --size 64x64 -o stitch.png",
    "roundtrip cat.png -o roundtrip.png",
    "sweep cat.png 1,2 -n 5 --size 64x64 -o sweep.png",
)

Point = tuple[float, float]


class Drawing:
    """A transparent picture of 128x128 pixels, drawn finer and then made smaller."""

    def __init__(self):
        self.image = Image.new("RGBA", (SIDE * FINER, SIDE * FINER))
        self.pen = ImageDraw.Draw(self.image)

    def disc(self, x: float, y: float, across: float, down: float, colour: str) -> None:
        """An ellipse around (x, y)."""
        corners = (x - across, y - down, x + across, y + down)
        self.pen.ellipse([side * FINER for side in corners], fill=colour)

    def shape(self, points: list[Point], colour: str) -> None:
        self.pen.polygon([(x * FINER, y * FINER) for x, y in points], fill=colour)

    def line(self, points: list[Point], width: float, colour: str) -> None:
        self.pen.line([(x * FINER, y * FINER) for x, y in points], colour, round(width * FINER), joint="curve")

    def save(self, name: str) -> None:
        small = self.image.convert("RGBa").resize((SIDE, SIDE), Image.Resampling.BOX)
        small.convert("RGBA").save(name, optimize=True)


def cat() -> Drawing:
    """Winking, so that left and right are not alike."""
    drawing = Drawing()
    for side in (1, -1):
        x = lambda away, side=side: 64 + side * away  # noqa: E731
        drawing.shape([(x(52), 12), (x(12), 40), (x(50), 68)], "#e8862e")
        drawing.shape([(x(46), 24), (x(22), 42), (x(44), 56)], "#f7b8a8")
    drawing.disc(64, 74, 54, 46, "#f59b3c")
    drawing.disc(64, 96, 30, 22, "#fde3bd")
    drawing.disc(88, 66, 10, 12, "#2b2b33")
    drawing.disc(91, 61, 3.5, 4, "#ffffff")
    drawing.line([(28, 66), (40, 72), (52, 66)], 4, "#2b2b33")
    drawing.shape([(56, 84), (72, 84), (64, 93)], "#d94f5c")
    drawing.line([(50, 98), (57, 104), (64, 97), (71, 104), (78, 98)], 3, "#7a3b2e")
    return drawing


def apple() -> Drawing:
    """With a light on its left cheek and a leaf to the right."""
    drawing = Drawing()
    drawing.line([(64, 42), (62, 26), (56, 14)], 6, "#6d4326")
    drawing.shape([(66, 30), (80, 12), (104, 10), (92, 28)], "#58b04a")
    for x in (46, 82):
        drawing.disc(x, 78, 36, 42, "#d9263a")
    drawing.disc(64, 84, 40, 38, "#d9263a")
    drawing.disc(38, 62, 12, 15, "#f2737c")
    return drawing


if __name__ == "__main__":
    with chdir(Path(sys.argv[1] if len(sys.argv) > 1 else ".")):
        cat().save("cat.png")
        apple().save("apple.png")
        for command in COMMANDS:
            print("kiloword tokens", command)
            if code := main(["tokens", *command.split()]):
                sys.exit(code)
