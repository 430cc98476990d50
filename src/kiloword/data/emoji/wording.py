"""Wordings for pictures of the emoji set: many for a user's request, one for the model's description.

Varied captions are what lets a small set of pictures teach words rather than file names (Betker et al. 2023, DALL-E 3,
on captions).
"""

import random

STYLE_WORDS = {"3d": "3D", "gradient": "glossy", "flat": "flat", "noto": "Noto", "twemoji": "Twemoji"}
PHRASES = {style: f"a {word} icon of {{}}" for style, word in STYLE_WORDS.items()}

OTHERS = (
    "{caption}, {word}",
    "{word} {caption}",
    "a {word} emoji of a {caption}",
    "{caption} in {word} style",
    "a {word} picture of {caption}",
)


def answer(metadata: dict) -> str:
    """The model's description of a picture: its style and subject."""
    return PHRASES[metadata["style"]].format(metadata["caption"])


def request(metadata: dict, chance: random.Random) -> str:
    """A random request for a picture: plain, in other words, styleless, by keywords, in another language."""
    word, caption = STYLE_WORDS[metadata["style"]], metadata["caption"]
    kind = chance.random()
    if kind < 0.5:
        return answer(metadata)
    if kind < 0.62:
        return chance.choice(OTHERS).format(caption=caption, word=word)
    if kind < 0.72:
        return chance.choice(("a {}", "{}", "{} emoji")).format(caption)
    if kind < 0.85 and metadata["keywords"]:
        known = chance.sample(metadata["keywords"], min(len(metadata["keywords"]), chance.randint(2, 4)))
        subject = ", ".join([caption, *known] if chance.random() < 0.5 else known)
        return f"{word}, {subject}"
    translations = list(metadata["translations"].values())
    return f"{word}, {chance.choice(translations)}" if translations else answer(metadata)


def texts(metadata: dict) -> list[str]:
    """All texts about a picture, to train a vocabulary on."""
    said = [answer(metadata), *(other.format(caption=metadata["caption"], word="") for other in OTHERS)]
    return [*said, ", ".join(metadata["keywords"]), *metadata["translations"].values()]
