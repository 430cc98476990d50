"""Tests of data/emoji/npm.py with a pretended npm on the PATH: fetched once, failures in one line.

Source: the command line of `npm pack`.
"""

import pytest

from kiloword.data.emoji.npm import fetch
from kiloword.data.emoji.sources import Package

PACKAGE = Package("@some/pictures", "1.2.3", "MIT")


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Writes a shell script that stands in for npm."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(script: str) -> None:
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)

    return write


def test_fetched_once(npm, tmp_path):
    npm('echo "$@" >> ' + f'{tmp_path}/calls; echo packed > "$5/some-pictures-1.2.3.tgz"')
    cache = tmp_path / "cache"
    path = fetch(PACKAGE, cache)
    assert path.read_text() == "packed\n" and fetch(PACKAGE, cache) == path
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1 and calls[0].startswith("pack @some/pictures@1.2.3 --silent --pack-destination ")
    assert list(cache.iterdir()) == [path]


def test_failure_is_one_line_with_the_remedy(npm, tmp_path):
    npm("echo 'no such version' >&2; echo more >&2; exit 1")
    with pytest.raises(ValueError, match=r"@some/pictures@1.2.3 \(no such version\): run `npm pack") as caught:
        fetch(PACKAGE, tmp_path / "cache")
    assert "\n" not in str(caught.value) and list((tmp_path / "cache").iterdir()) == []


def test_missing_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="npm is not installed"):
        fetch(PACKAGE, tmp_path / "cache")
