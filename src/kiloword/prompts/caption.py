"""Captions made plain before a text encoder reads them, after the cleaner of LlamaGen's authors (Sun et al. 2024).

Theirs, of DeepFloyd IF (2023), also strikes out file names, article numbers and words of shops, which prompts lack.
"""

import html
import re
from urllib.parse import unquote_plus

# pattern -> what stands in its place, one after the other
RULES = (
    (r"<person>", "person"),
    (r"\bhttps?:\S*", ""),  # addresses
    (r"\b[a-z0-9.-]+\.(com|co|ru|net|org|edu|gov|it)\b[\w/-]*", ""),
    (r"</?[a-z][^<>]*>", ""),  # tags
    (r"@\w+", ""),  # names of accounts
    (r"[\u31c0-\u9fff]+", ""),  # Chinese characters, which T5 does not know
    (r"[\u058a\u05be\u1806\u2010-\u2015\u2e3a\u2e3b\u301c\u3030\ufe58\ufe63\uff0d]+", "-"),
    (r"[`´«»“”¨]", '"'),
    (r"[‘’]", "'"),
    (r"#\d+\b", ""),
    (r"[\"']{2,}", '"'),
    (r"\.{2,}", " "),
    (r"[#®•©™&@·º½¾¿¡§~()\[\]{}|\\/*]+", " "),
    (r"\s+\.\s+", " "),
    (r"(\D[,.])\b", r"\1 "),
    (r"\s+", " "),
    (r"^\s*[\"'](.+)[\"']\s*$", r"\1"),
    (r"^\s*[',:;_-]|[',:_+-]\s*$", ""),
)


def plain(text: str) -> str:
    """Lower case, without addresses, tags and marks; one kind of dashes, quotes and spaces."""
    text = html.unescape(html.unescape(unquote_plus(text))).strip().lower()
    for pattern, instead in RULES:
        text = re.sub(pattern, instead, text)
    return text.strip()
