"""The drawings of one style: from a package's tarball to {code sequence: SVG or WebP file}.

Source: Twemoji's file names (code points joined by dashes) and the Iconify JSON format (icons.json, chars.json).
"""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

from kiloword.data.emoji.sources import Style

_FILE = re.compile(r"([0-9a-fA-F_-]+)\.?(?:svg|webp)")  # some files of one package lack the dot
_BOX = {"left": 0, "top": 0, "width": 16, "height": 16}  # Iconify's defaults
_FLAG_TAGS, _END_TAG = "1f3f4-e0067-", "-e007f"


def normal_code(name: str) -> str:
    """The canonical form of a code sequence: lower case, four digits or more, dashes, no variation selectors."""
    points = [point.zfill(4) for point in name.lower().replace("_", "-").split("-")]
    code = "-".join(point for point in points if point not in ("fe0e", "fe0f"))
    unfinished = code.startswith(_FLAG_TAGS) and not code.endswith(_END_TAG)
    return code + _END_TAG if unfinished else code


def open_package(tarball: Path, folder: str = "") -> dict[str, bytes]:
    """The files of a package below folder, by name within it, sorted."""
    start = f"package/{folder}/" if folder else "package/"
    try:
        with tarfile.open(tarball) as archive:
            found = [member for member in archive if member.isfile() and member.name.startswith(start)]
            files = {member.name.removeprefix(start): archive.extractfile(member).read() for member in found}  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"cannot read {tarball} ({error}): delete it and build again to fetch it anew") from None
    return dict(sorted(files.items()))


def drawings(style: Style, tarball: Path) -> dict[str, bytes]:
    """{code: file}, a code's first file if it has several."""
    if style.folder is None:
        files = open_package(tarball)
        return _iconify(json.loads(files["icons.json"]), json.loads(files["chars.json"]))
    found: dict[str, bytes] = {}
    for name, content in open_package(tarball, style.folder).items():
        if match := _FILE.fullmatch(name):
            found.setdefault(normal_code(match[1]), content)
    return found


def _iconify(icons: dict[str, Any], characters: dict[str, str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for points, name in sorted(characters.items()):
        icon = icons["icons"].get(name)
        if icon:
            size = {side: icon.get(side, icons.get(side, default)) for side, default in _BOX.items()}
            found.setdefault(normal_code(points), _svg(icon["body"], size))
    return found


def _svg(body: str, size: dict[str, int]) -> bytes:
    box = f"{size['left']} {size['top']} {size['width']} {size['height']}"
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {space} viewBox="{box}">{body}</svg>'.encode()
