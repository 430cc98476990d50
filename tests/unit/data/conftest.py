"""Tiny emoji packages with the layout of the real ones, and a fetch function that hands them out.

Source: the tarballs that `npm pack` gives for the packages in `kiloword.data.emoji.sources`.
"""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from kiloword.data.emoji.sources import KEYWORDS, LABELS, LOCALES, STYLES, Package

ENGLAND = "1F3F4-E0067-E0062-E0065-E006E-E0067"


def entry(code: str, label: str, group: int = 0, subgroup: int = 0, **more) -> dict:
    return {"hexcode": code, "label": label, "group": group, "subgroup": subgroup, **more}


ENTRIES = [
    entry("1F34E", "red apple", tags=["fruit", "red"]),
    entry("1F466", "boy"),
    entry(
        "1F44B",
        "waving hand",
        tags=["hello"],
        skins=[
            entry("1F44B-1F3FB", "waving hand: light skin tone", tone=1),
            entry("1F44B-1F3FF", "waving hand: dark skin tone", tone=5),
        ],
    ),
    entry(
        "1F46D",
        "women holding hands",
        skins=[
            entry(
                "1F469-1F3FB-200D-1F91D-200D-1F469-1F3FF",
                "women holding hands: light skin tone, dark skin tone",
                tone=[1, 5],
            )
        ],
    ),
    entry("1F1E9-1F1EA", "flag: Germany", 1, 1),
    entry(ENGLAND + "-E007F", "flag: England", 1, 2),
    entry("0023-FE0F-20E3", "keycap: #"),
    entry("00A9", "copyright"),
    {"hexcode": "1F1E6", "label": "regional indicator A"},
]
GROUPS = {
    "groups": {"0": "things", "1": "flags"},
    "subgroups": {"0": "thing", "1": "country-flag", "2": "subdivision-flag"},
}
CODES = [skin["hexcode"].lower() for parent in ENTRIES for skin in (parent, *parent.get("skins", []))]


def svg(code: str) -> str:
    """A picture that no other code has."""
    space = 'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"'
    return f'<svg {space}><circle cx="16" cy="16" r="12" fill="#{color(code).hex()}"/></svg>'


def color(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:3]


def webp(code: str) -> bytes:
    picture = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(picture).ellipse((8, 8, 56, 56), fill=(*color(code), 255))
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True)
    return file.getvalue()


def tarball(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def contents(package: Package) -> dict[str, bytes]:
    """The files of the tiny version of a package."""
    if package is LABELS:
        data = json.dumps(ENTRIES).encode()
        return {"meta/groups.json": json.dumps(GROUPS).encode(), **{f"{locale}/data.json": data for locale in LOCALES}}
    if package is KEYWORDS:
        return {"dist/emoji-en-US.json": json.dumps({"🍎": ["red_apple", "fruit", "school_lunch"]}).encode()}
    if package is STYLES["noto"].package:
        icons = {f"icon-{number}": {"body": svg(f"noto{code}")} for number, code in enumerate(CODES)}
        characters = {code.replace("-fe0f", ""): f"icon-{number}" for number, code in enumerate(CODES)}
        whole = {"icons": icons, "width": 32, "height": 32}
        return {"icons.json": json.dumps(whole).encode(), "chars.json": json.dumps(characters).encode()}
    if package is STYLES["3d"].package:
        return {f"assets/{code}.webp": webp(code) for code in CODES}
    if package is STYLES["gradient"].package:  # some names lack the dot, flags lack the end tag
        return {f"assets/{code.removesuffix('-e007f')}svg": svg(f"gradient{code}").encode() for code in CODES}
    if package is STYLES["flat"].package:
        return {f"assets/{code}.svg": svg(f"flat{code}").encode() for code in CODES}
    return {f"dist/svg/{code.lstrip('0')}.svg": svg(f"twemoji{code}").encode() for code in CODES}


class FakeFetch:
    """Fetches without network; `overrides[package name]` changes a package's files."""

    def __init__(self) -> None:
        self.overrides: dict[str, dict[str, bytes]] = {}

    def __call__(self, package: Package, cache: Path) -> Path:
        cache.mkdir(parents=True, exist_ok=True)
        path = cache / f"{package.name.replace('/', '-').lstrip('@')}.tgz"
        tarball(path, {**contents(package), **self.overrides.get(package.name, {})})
        return path


@pytest.fixture
def fetch() -> FakeFetch:
    return FakeFetch()
