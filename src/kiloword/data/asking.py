"""How somebody may ask for a picture, and what a model answers of it, from what is known of the picture.

Betker et al. 2023 (DALL-E 3, on captions): words that vary teach words, not file names. Pictures of the emoji set have
many wordings of their own; of all others the caption is all that is known.
"""

import random
from typing import Any

from kiloword.data.emoji import wording

PHRASES = wording.PHRASES  # style: what asks for it, "a flat icon of {}"
EMOJI = {"style", "caption", "keywords", "translations"}  # what is told of a picture of the emoji set


def ask(metadata: dict[str, Any], chance: random.Random) -> str:
    """One of the ways to ask for it; of a caption: as it stands, or with an article or without."""
    if is_emoji(metadata):
        return wording.ask(metadata, chance)
    caption = answer(metadata)
    bare = caption.removeprefix("a ").removeprefix("an ")
    return chance.choice((caption, caption, bare, f"a {bare}"))


def answer(metadata: dict[str, Any]) -> str:
    """What a model says of it."""
    return wording.answer(metadata) if is_emoji(metadata) else str(metadata["caption"])


def texts(metadata: dict[str, Any]) -> list[str]:
    """All that is said of it, to learn a vocabulary from."""
    return wording.texts(metadata) if is_emoji(metadata) else [answer(metadata)]


def is_emoji(metadata: dict[str, Any]) -> bool:
    return metadata.keys() >= EMOJI and metadata["style"] in PHRASES
