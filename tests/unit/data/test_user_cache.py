"""Tests of data/user_cache.py: the set is built when it is first needed, and then found."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from kiloword.data import user_cache as cache
from kiloword.data.emoji.sources import STYLES
from kiloword.data.emoji.summary import summarize


def test_the_folder_is_the_environments_or_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("KILOWORD_CACHE", str(tmp_path / "here"))
    assert cache.cache_dir() == tmp_path / "here"
    monkeypatch.delenv("KILOWORD_CACHE")
    assert cache.cache_dir() == Path.home() / ".cache" / "kiloword"


def finished(folder: Path, **changes) -> None:
    """A folder that looks like a finished set of this version, but for the changes."""
    folder.mkdir(parents=True)
    (folder / "shard-00000.tar").touch()
    (folder / "metadata.jsonl").write_text("{}\n" * 3)
    records = [{"code": str(k), "style": "3d", "group": "", "split": "", "shard": "", "key": k} for k in range(3)]
    summary = asdict(summarize(records, [], 128, tuple(STYLES)))
    (folder / "summary.json").write_text(json.dumps({**summary, **changes}))


def test_the_set_is_built_once(monkeypatch, tmp_path):
    monkeypatch.setenv("KILOWORD_CACHE", str(tmp_path))
    calls = []

    def building(out, **settings):
        calls.append((out, settings["cache"]))
        finished(out)

    monkeypatch.setattr(cache, "build", building)
    folder = cache.ensure_emoji()
    assert folder == tmp_path / "data" / "emoji" == cache.ensure_emoji()
    assert calls == [(folder, tmp_path / "npm")]


@pytest.mark.parametrize(
    "changes,said",
    [
        ({"format": 0}, "format 0, expected 1"),
        ({"size": 64}, "size 64, expected 128"),
        ({"sources": {"emojilib@3.0.0": "MIT"}}, "sources {'emojilib@3.0.0': 'MIT'}, expected {'emojibase-data@"),
        ({"pictures": 4}, "pictures 4, expected 3"),
        ({"format": 0, "size": 64}, "format 0, expected 1; size 64, expected 128"),
    ],
)
def test_another_set_is_not_taken_for_this_one(tmp_path, changes, said):
    finished(tmp_path / "data" / "emoji", **changes)
    with pytest.raises(ValueError, match="holds another emoji set") as caught:
        cache.ensure_emoji(tmp_path)
    assert said in str(caught.value) and "delete it, and it is built anew" in str(caught.value)


def test_a_set_of_the_asked_settings_is_taken(tmp_path):
    finished(tmp_path / "data" / "emoji", size=16)
    assert cache.ensure_emoji(tmp_path, size=16) == tmp_path / "data" / "emoji"
