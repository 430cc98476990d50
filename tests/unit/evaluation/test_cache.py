"""Tests of datasets/cache.py: the set is built when it is first asked for, and then found."""

from pathlib import Path

from kiloword.datasets import cache


def test_the_folder_is_the_environments_or_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("KILOWORD_CACHE", str(tmp_path / "here"))
    assert cache.cache_dir() == tmp_path / "here"
    monkeypatch.delenv("KILOWORD_CACHE")
    assert cache.cache_dir() == Path.home() / ".cache" / "kiloword"


def test_the_set_is_built_once(monkeypatch, tmp_path):
    monkeypatch.setenv("KILOWORD_CACHE", str(tmp_path))
    calls = []

    def building(out, **settings):
        calls.append((out, settings["cache"]))
        out.mkdir(parents=True)
        (out / "shard-00000.tar").touch()
        (out / "summary.json").write_text('{"shards": 1}')

    monkeypatch.setattr(cache, "build", building)
    folder = cache.ensure_emoji()
    assert folder == tmp_path / "data" / "emoji" == cache.ensure_emoji()
    assert calls == [(folder, tmp_path / "npm")]
