"""The 1000 classes of ImageNet by number and by name: the prompts of a class-conditional model.

Source: Russakovsky et al. 2015 (ImageNet Large Scale Visual Recognition Challenge), the challenge's order of 2012;
names from WordNet 3.0 (Princeton University), in imagenet_classes.txt, a class a line, its names separated by commas.
"""

import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

CLASSES = 1000


def class_id(name: str | int) -> int:
    """The number of a class, from 0, of a number or of one of its names; case, spaces and signs don't matter.

    Raises ValueError for names that no class has, with similar ones, and for names of several, with their numbers.
    """
    text = str(name).strip()
    if re.fullmatch(r"[+-]?\d{1,9}", text):
        return _checked(int(text))
    found = _by_name().get(_bare(text), ())
    if len(found) == 1:
        return found[0]
    if found:
        which = " or ".join(f"{number} ({class_name(number)})" for number in found)
        raise ValueError(f"{text!r} is the name of several ImageNet classes: ask for {which} by number")
    near = get_close_matches(_bare(text[:60]), _by_name(), n=3)
    hint = "; ".join(f"{number} ({class_name(number)})" for key in near for number in _by_name()[key])
    said = text if len(text) <= 60 else f"{text[:60]}..."
    raise ValueError(f"no ImageNet class is called {said!r}: {f'near are {hint}' if hint else 'give its number'}")


def class_name(number: int) -> str:
    """All names of a class, the usual one first. Raises ValueError for numbers outside 0 to 999."""
    return _names()[_checked(number)]


def _checked(number: int) -> int:
    if not 0 <= number < CLASSES:
        raise ValueError(f"ImageNet's classes have the numbers 0 to {CLASSES - 1}, not {number}")
    return number


@cache
def _names() -> tuple[str, ...]:
    return tuple(Path(__file__).with_name("imagenet_classes.txt").read_text(encoding="utf-8").splitlines())


@cache
def _by_name() -> dict[str, tuple[int, ...]]:
    """The classes that have a name, or these names together."""
    found: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(_names()):
        for key in dict.fromkeys(_bare(name) for name in (line, *line.split(","))):
            found[key] = (*found.get(key, ()), number)
    return found


def _bare(name: str) -> str:
    """Letters and digits alone."""
    return "".join(filter(str.isalnum, name.casefold()))
