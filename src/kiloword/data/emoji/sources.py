"""The table of packages that the emoji set is made of: pictures in five styles, labels, keywords.

Source: each package's own package.json, LICENSE and README; the credits are written out in NOTICE.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """One version of one npm package; `license` is that of what we use from it (SPDX)."""

    name: str
    version: str
    license: str

    @property
    def spec(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Style:
    """One way of drawing all subjects."""

    key: str
    package: Package
    folder: str | None  # holds files named by code points; None: the package is an Iconify set
    own_flags: bool  # False: the country flags were added by the packager, their origin is unclear
    pictures: int  # how many a full build gives


STYLES = {
    style.key: style
    for style in (
        Style("3d", Package("@lobehub/fluent-emoji-3d", "1.1.0", "MIT"), "assets", False, 3126),
        Style("gradient", Package("@lobehub/fluent-emoji-modern", "1.0.0", "MIT"), "assets", False, 3010),
        Style("flat", Package("@lobehub/fluent-emoji-flat", "1.1.0", "MIT"), "assets", False, 3010),
        Style("noto", Package("@iconify-json/noto", "1.2.9", "Apache-2.0"), None, True, 3686),
        Style("twemoji", Package("@discordapp/twemoji", "16.0.1", "CC-BY-4.0"), "dist/svg", True, 3782),
    )
}

LABELS = Package("emojibase-data", "17.0.0", "MIT")
KEYWORDS = Package("emojilib", "4.0.3", "MIT")

LOCALES = (
    "bn", "da", "de", "en", "en-gb", "es", "es-mx", "et", "fi", "fr", "hi", "hu", "it", "ja",
    "ko", "lt", "ms", "nb", "nl", "pl", "pt", "ru", "sv", "th", "uk", "vi", "zh", "zh-hant",
)  # fmt: skip
