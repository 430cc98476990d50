"""Texts for training from a picture's metadata: a user's request for it, and the model's description of it.

Betker et al. 2023 (DALL-E 3, on captions): varied captions train better than one. Pictures of the emoji set have many
wordings; all others have only their caption.
"""

import random
from typing import Any

from kiloword.data.emoji import wording

PHRASES = wording.PHRASES  # style: its request, "a flat icon of {}"
EMOJI = {"style", "caption", "keywords", "translations"}  # metadata fields of a picture of the emoji set


def request(metadata: dict[str, Any], chance: random.Random) -> str:
    """A random request for the picture; of a caption: as it stands, or with an article or without."""
    if is_emoji(metadata):
        return wording.request(metadata, chance)
    caption = answer(metadata)
    bare = caption.removeprefix("a ").removeprefix("an ")
    return chance.choice((caption, caption, bare, f"a {bare}"))


def answer(metadata: dict[str, Any]) -> str:
    """The model's description of it."""
    return wording.answer(metadata) if is_emoji(metadata) else str(metadata["caption"])


def texts(metadata: dict[str, Any]) -> list[str]:
    """All texts about it, to train a vocabulary on."""
    return wording.texts(metadata) if is_emoji(metadata) else [answer(metadata)]


def is_emoji(metadata: dict[str, Any]) -> bool:
    return metadata.keys() >= EMOJI and metadata["style"] in PHRASES
