"""A tiny emoji set, seven subjects in three styles, and a tiny painter that knows these styles."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

import tiny
from kiloword import parts
from kiloword.data.shards import shard_name, write_metadata, write_shard
from kiloword.engine.card import Card
from kiloword.engine.painter import Painter
from kiloword.evaluation.image_set import ImageSet, fitted
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.factorised import FactorisedConfig
from kiloword.modality import Modality
from kiloword.model import ImageModel
from kiloword.orders.draft import DraftConfig
from kiloword.prompts.text_prefix import TextPrefixConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokens import Categorical, Codes

STYLES = {"3d": "a red {}", "flat": "a blue {}", "noto": "a green {}"}
SUBJECTS = [
    ("1f34e", "apple", "food-drink"),
    ("1f600", "pear", "smileys-emotion"),
    ("1f550", "one-thirty", "travel-places"),
    ("1f468", "house", "people-body"),
    ("1f330", "red pear", "food-drink"),
    ("1f331", "blue apple", "food-drink"),
    ("1f332", "green house", "objects"),
]


def picture(number: int, style: str, tone: int = 0) -> Image.Image:
    """Half a picture in the subject's colour, with a mark for the style and one for the skin tone."""
    image = Image.new("RGBA", (16, 16))
    pencil = ImageDraw.Draw(image)
    colour = (37 * number % 256, 91 * (number + 1) % 256, 53 * (number + 2) % 256, 255)
    pencil.rectangle((number % 4, number % 3, 11, 15 - number % 5), fill=colour)
    pencil.rectangle((12, 4 * list(STYLES).index(style), 15, 15), fill=(0, 40 * tone, 0, 255))
    return image


def records() -> list[tuple[dict, Image.Image]]:
    """The metadata and the picture of every example of the set."""
    found = []
    for number, (code, caption, group) in enumerate(SUBJECTS):
        for style in STYLES:
            split = "held_out_pair" if (number + list(STYLES).index(style)) % 5 == 0 else "train"
            split = "held_out_subject" if number == 6 else split
            for tone in range(3 if group == "people-body" else 1):
                toned = f"{code}-1f3f{tone}" if tone else code
                record = {
                    "key": f"{toned}-{style}", "caption": caption, "keywords": [], "translations": {}, "code": toned,
                    "base": code, "skin_tones": ["dark"] * bool(tone), "group": group, "style": style, "split": split,
                }  # fmt: skip
                found.append((record, picture(number, style, tone)))
    return found


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A built set in a folder, in two shards."""
    folder = tmp_path_factory.mktemp("emoji")
    samples = []
    for record, image in records():
        file = io.BytesIO()
        image.save(file, "PNG")
        samples.append((record["key"], file.getvalue(), record))
    for number, part in enumerate((samples[:10], samples[10:])):
        write_shard(folder / shard_name(number), part)
    write_metadata(folder, [record for record, _ in records()])
    return folder


@pytest.fixture(scope="session")
def image_set() -> ImageSet:
    """The same set in memory, at its own size."""
    return ImageSet(
        [record for record, _ in records()], torch.stack([fitted(image, (16, 16)) for _, image in records()])
    )


@pytest.fixture(scope="session")
def painter() -> Painter:
    """Two groups of codes a token, guidance on; untrained."""
    torch.manual_seed(0)
    autoencoder, codes = tiny.autoencoder(groups=2), Codes(tiny.LEVELS * 2)
    head = FactorisedConfig(codes, tiny.WIDTH, units=8, positions=10).build()
    picture = Modality(PyramidConfig(autoencoder).build(), DraftConfig().build(), head)
    vocabulary = Categorical(tiny.words().build().space.size)
    text = parts.TextConfig(tiny.words(), CategoricalConfig(vocabulary, tiny.WIDTH), limit=14)
    prompt = TextPrefixConfig(tiny.words(), tiny.WIDTH).build()
    model = tiny.awake(ImageModel(picture, prompt, tiny.stack().build(), text.build()))
    card = Card("tiny", ((tiny.ROWS, tiny.COLUMNS),), STYLES, guidance=2.0, temperature=0.9)
    return Painter(model.eval(), card)
