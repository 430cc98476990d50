"""From emoji labels to natural captions and keywords.

Source: Unicode CLDR short names as packaged by emojibase; the label syntax is that of UTS #51, section 4.
"""

from collections import Counter
from collections.abc import Iterable

TONES = {1: "light", 2: "medium-light", 3: "medium", 4: "medium-dark", 5: "dark"}

_TONES = tuple(f"{name} skin tone" for name in TONES.values())
_MANY = {
    "man": "men",
    "woman": "women",
    "person": "people",
    "boy": "boys",
    "girl": "girls",
    "adult": "adults",
    "child": "children",
}
_OPENINGS = {"flag: ": "flag of ", "keycap: ": "keycap ", "regional indicator ": "letter "}
_TOGETHER = {"family": "family of {}", "kiss": "kiss between {}", "couple with heart": "couple with heart, {}"}
_QUOTES = str.maketrans("", "", "“”®")


def natural(label: str) -> str:
    """A label as said: "person: light skin tone, red hair" is "person with red hair with light skin tone"."""
    for opening, phrase in _OPENINGS.items():
        if label.startswith(opening):
            return phrase + label.removeprefix(opening)
    subject, colon, rest = label.partition(": ")
    if not colon:
        return label
    details = rest.split(", ")
    people = [detail for detail in details if detail in _MANY]
    tones = [detail for detail in details if detail in _TONES]
    if people:
        subject = _TOGETHER.get(subject, subject + " of {}").format(_counted(people))
    for detail in details:
        if detail not in _MANY and detail not in _TONES:
            subject = _described(subject, detail)
    return f"{subject} with {_listed(tones)}" if tones else subject


def keywords(words: Iterable[str], caption: str) -> list[str]:
    """The words, spaces for underscores, each once whatever its case, without single letters and the caption."""
    seen, found = {caption.casefold()}, []
    for word in words:
        word = " ".join(word.replace("_", " ").translate(_QUOTES).split())
        if len(word) > 1 and word.casefold() not in seen:
            seen.add(word.casefold())
            found.append(word)
    return found


def _described(subject: str, detail: str) -> str:
    if detail == "bald":
        return f"bald {subject}"
    return f"{subject} {detail}" if detail.startswith("facing") else f"{subject} with {detail}"


def _counted(people: list[str]) -> str:
    """["man", "man", "girl"] is "two men and a girl"."""
    return _listed([_number(who, count) for who, count in Counter(people).items()])


def _number(who: str, count: int) -> str:
    if count == 1:
        return f"an {who}" if who.startswith("a") else f"a {who}"
    return f"two {_MANY[who]}" if count == 2 else f"{count} {_MANY[who]}"


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
