"""What each code sequence shows: caption, keywords, translations, group, and its subject without skin tones.

Source: emojibase-data (`en/data.json`, `LOCALE/data.json`, `meta/groups.json`) and emojilib (`emoji-en-US.json`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kiloword.data.emoji.artwork import normal_code, open_package
from kiloword.data.emoji.captions import TONES, keywords, natural
from kiloword.data.emoji.sources import LOCALES

Entry = dict[str, Any]


def subjects(labels: Path, words: Path) -> dict[str, dict[str, Any]]:
    """{code: the part of the metadata that all styles share}, from the two packages' tarballs."""
    files = open_package(labels)
    names = json.loads(files["meta/groups.json"])
    found_words = json.loads(open_package(words)["dist/emoji-en-US.json"])
    more_words = {_code(emoji): found for emoji, found in found_words.items()}
    translations = {locale: _translation(locale, files) for locale in LOCALES}
    found = {}
    for entry, parent in _entries(json.loads(files["en/data.json"])):
        code, base = normal_code(entry["hexcode"]), normal_code(parent["hexcode"])
        caption = natural(entry["label"])
        found[code] = {
            "caption": caption,
            "keywords": keywords([*parent.get("tags", []), *more_words.get(base, [])], caption),
            "translations": {locale: known[code] for locale, known in translations.items() if code in known},
            "code": code,
            "base": base,
            "skin_tones": _tones(entry),
            "group": names["groups"].get(str(entry.get("group")), "component"),
            "subgroup": names["subgroups"].get(str(entry.get("subgroup")), "regional-indicator"),
        }
    return found


def _translation(locale: str, files: dict[str, bytes]) -> dict[str, str]:
    """{code: label}, as a caption in English and as the label is elsewhere."""
    path = f"{locale}/data.json"
    if path not in files:
        return {}
    say = natural if locale.startswith("en") else str
    return {normal_code(entry["hexcode"]): say(entry["label"]) for entry, _ in _entries(json.loads(files[path]))}


def _entries(data: list[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Every entry with the one it is a skin tone of (itself, when it has none)."""
    for parent in data:
        yield parent, parent
        yield from ((skin, parent) for skin in parent.get("skins", []))


def _tones(entry: Entry) -> list[str]:
    tone = entry.get("tone", [])
    return [TONES[number] for number in (tone if isinstance(tone, list) else [tone])]


def _code(emoji: str) -> str:
    return normal_code("-".join(f"{ord(character):x}" for character in emoji))
