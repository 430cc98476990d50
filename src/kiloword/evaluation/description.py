"""Descriptions judged by their words: does the text name what the picture shows?

Bags of words as in Salton 1975; articles and joining words do not count.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

_EMPTY = frozenset(("a", "an", "the", "of", "with", "and"))
_WORD = re.compile(r"[^\W_]+|[#*]")
_SPARE = 1  # words too many that a right description may hold

RULE = (
    "the style's phrase is taken off, words are compared without case, accents, hyphens and punctuation, and without "
    f"{', '.join(sorted(_EMPTY))}; right when all words of the caption are there and at most {_SPARE} other; exact: no "
    "other; all_words: any number of others; style: the phrase was that of the picture's style"
)


def subject_of(text: str, templates: Mapping[str, str]) -> tuple[str, str | None]:
    """A description without the phrase that names its style, and that style (None where no phrase fits).

    `templates` are {style: "a flat icon of {}"}; of several that fit, the one that takes off the most.
    """
    fits = []
    for style, template in templates.items():
        before, _, after = template.partition("{}")
        pattern = rf"\s*{re.escape(before.strip())}\s*(.*?)\s*{re.escape(after.strip())}\s*[.]?\s*"
        match = re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL)
        if match:
            fits.append((len(match[1]), match[1], style))
    if not fits:
        return text, None
    _, subject, style = min(fits)
    return subject, style


def content_words(text: str) -> set[str]:
    """The words that count. "A" in capitals is a letter, not an article."""
    plain = unicodedata.normalize("NFKD", re.sub(r"(?<=\w)['’.](?=\w|\s|$)", "", text))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return {word.casefold() for word in _WORD.findall(plain) if word not in _EMPTY}


def judge(texts: Sequence[str], metadata: Sequence[Mapping[str, Any]], templates: Mapping[str, str]) -> dict[str, Any]:
    """Shares of descriptions that are right, exact, hold all words, and name the style; captions in `metadata`."""
    counts = {"right": 0, "exact": 0, "all_words": 0, "style": 0}
    for text, record in zip(texts, metadata, strict=True):
        subject, style = subject_of(text, templates)
        said, true = content_words(subject), content_words(record["caption"])
        all_there = true <= said
        counts["all_words"] += all_there
        counts["right"] += all_there and len(said - true) <= _SPARE
        counts["exact"] += said == true
        counts["style"] += style == record["style"]
    return {**{name: count / len(metadata) if metadata else None for name, count in counts.items()}, "n": len(metadata)}
