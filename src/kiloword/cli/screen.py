"""The terminal while a picture is drawn: a progress bar, and the picture so far in half blocks, two pixels a character.

Everything goes to stderr; where that is no terminal, nothing is shown.
"""

from contextlib import AbstractContextManager
from types import TracebackType

from PIL import Image
from rich.color import Color
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.style import Style
from rich.text import Text

from kiloword.engine.painter import Preview

GAP = 2  # columns between two pictures
SMALLEST = 16  # columns that a picture needs


class Screen(AbstractContextManager):
    """Shows n pictures while they are drawn; `pictures` False leaves the progress bar only."""

    def __init__(self, console: Console, n: int, pictures: bool):
        self.console, self.n, self.pictures = console, n, pictures
        self.images: dict[int, Image.Image] = {}
        columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console)
        self.task = self.progress.add_task("drawing", total=None)
        self.live = Live(console=console, auto_refresh=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.images:
            self.live.update(self._sheet() if self.pictures else Text())
        self.live.stop()

    def show(self, preview: Preview) -> None:
        """Add a preview; the screen is redrawn once all pictures have reached its step."""
        self.images[preview.index] = preview.image
        if preview.index == self.n - 1:
            self.live.start()
            self.progress.update(self.task, total=preview.steps, completed=preview.step)
            parts = [self._sheet(), self.progress] if self.pictures else [self.progress]
            self.live.update(Group(*parts), refresh=True)

    def _sheet(self) -> Text:
        return half_blocks(side_by_side(list(self.images.values()), self.console.width, self.console.height - 3))


def side_by_side(images: list[Image.Image], columns: int, rows: int) -> Image.Image:
    """As many of the pictures as fit next to each other, made smaller where they must be."""
    image = images[0]
    width = max(SMALLEST, min(image.width, columns // len(images) - GAP))
    width = max(1, min(width, columns, 2 * rows * image.width // image.height))
    height = max(1, round(width * image.height / image.width))
    fitting = images[: max(1, (columns + GAP) // (width + GAP))]
    sheet = Image.new("RGBa", (len(fitting) * (width + GAP) - GAP, height))
    for index, image in enumerate(fitting):
        small = image.convert("RGBa").resize((width, height), Image.Resampling.BOX)
        sheet.paste(small, (index * (width + GAP), 0))
    return sheet.convert("RGBA")


def half_blocks(image: Image.Image) -> Text:
    """A picture as coloured characters; pixels that are mostly transparent keep the terminal's own background."""
    text = Text(no_wrap=True, overflow="crop")
    for top in range(0, image.height, 2):
        for x in range(image.width):
            text.append(*_cell(_colour(image, x, top), _colour(image, x, top + 1)))
        text.append("\n")
    return text


def _cell(upper: Color | None, lower: Color | None) -> tuple[str, Style | None]:
    if upper is None and lower is None:
        return " ", None
    if upper is None:
        return "▄", Style(color=lower)
    return "▀", Style(color=upper, bgcolor=lower)


def _colour(image: Image.Image, x: int, y: int) -> Color | None:
    red, green, blue, alpha = image.getpixel((x, y)) if y < image.height else (0, 0, 0, 0)  # pyright: ignore
    return Color.from_rgb(red, green, blue) if alpha >= 128 else None
