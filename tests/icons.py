"""Icons drawn for tests: shards of coloured squares and discs on nothing, some of them held out."""

import io
from pathlib import Path

from PIL import Image, ImageDraw

from kiloword.data.shards import shard_name, write_metadata, write_shard


def icon(number: int, side: int = 24) -> Image.Image:
    """A square or a disc, each in its own colour and position."""
    image = Image.new("RGBA", (side, side))
    colour = (37 * number % 256, 91 * (number + 1) % 256, 53 * (number + 2) % 256, 255)
    pen, box = ImageDraw.Draw(image), (number % 7, number % 5, side - 2 - number % 6, side - 2 - number % 4)
    (pen.ellipse if number % 2 else pen.rectangle)(box, fill=colour)
    return image


def write_icons(folder: Path, count: int, held_out: int) -> Path:
    """A shard folder: `held_out` of the icons are held out, and one more has a skin tone."""
    records, samples = [], []
    for number in range(count + 1):
        split = "held_out_pair" if number < held_out else "train"
        record = {"key": f"icon-{number:03d}", "caption": f"icon {number}", "style": "flat", "split": split}
        record |= {"base": f"{number}", "skin_tones": ["dark"] if number == count else []}
        record |= {"keywords": ["icon"], "translations": {"de": f"Zeichen {number}"}}
        buffer = io.BytesIO()
        icon(number).save(buffer, "PNG")
        records.append(record)
        samples.append((record["key"], buffer.getvalue(), record))
    folder.mkdir(parents=True, exist_ok=True)
    half = len(samples) // 2
    write_shard(folder / shard_name(0), samples[:half])
    write_shard(folder / shard_name(1), samples[half:])
    write_metadata(folder, records)
    return folder
