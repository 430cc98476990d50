"""`kiloword pull`, `generate` and `describe` with a tiny language model that draws, from files like its authors'."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import kiloword
from kiloword.cli import main
from kiloword.verification.recordings import recorded
from liquid_files import TINY, tiny_page, written


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The authors' folder; the page of that size stands in for Liquid's."""
    monkeypatch.setitem(sys.modules, "kiloword.published.liquid", SimpleNamespace(PAGE=tiny_page()))
    monkeypatch.setenv("KILOWORD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    written(tmp_path / "there", TINY)
    return tmp_path / "there"


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_words_become_a_picture_and_a_picture_words(folder: Path, capsys):
    assert main(["pull", "liquid", "--from", str(folder)]) == 0
    assert 'kiloword generate --model liquid "a red apple"' in capsys.readouterr().err
    values = printed(capsys, "generate", "a red apple", "--model", "liquid", "--seed", 4, "-o", "a.png")
    assert values["model"] == "liquid/tiny" and values["prompt"] == "a red apple"
    with Image.open("a.png") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (6, 6))
    model = kiloword.load("liquid")
    again = model.generate("a red apple", seed=4)[0]
    assert again.tobytes() == Image.open("a.png").tobytes() and again != model.generate("a blue house", seed=4)[0]
    assert again != model.generate("a red apple", seed=4, guidance=1.0)[0]
    assert again != model.generate("a red apple", seed=4, negative="a pear")[0]
    model.model.text.limit = 12
    said = model.describe(again)
    assert said and said == model.describe(again)
    assert len(list(model.stream("a pear", partials=None, seed=1))) == 9  # a token a step


def test_what_is_wrong_with_the_files_is_one_line(folder: Path, capsys, tmp_path: Path):
    def refused(*words: str) -> str:
        assert main(["pull", "liquid", *words]) == 2
        err = capsys.readouterr().err
        assert err.startswith("kiloword: ") and err.count("\n") == 1
        assert not list((tmp_path / "cache").rglob("config.json"))
        return err

    (folder / "vqgan.ckpt").rename(tmp_path / "vqgan.ckpt")
    assert "holds no vqgan.ckpt: give the file with --from" in refused("--from", str(folder))
    (folder / "tokenizer.json").write_text("{}")
    both = ("--from", str(folder), "--from", str(tmp_path / "vqgan.ckpt"))
    assert "the tokenizer.json cannot be read" in refused(*both)
    (folder / "model-1.safetensors").unlink()
    assert "names model-1.safetensors, which is not beside it: put it there" in refused(*both)


def test_a_prompt_that_is_too_long_is_refused_with_its_length(folder: Path, capsys):
    assert main(["pull", "liquid", "--from", str(folder)]) == 0
    capsys.readouterr()
    assert main(["generate", "z" * 700, "--model", "liquid"]) == 2
    err = capsys.readouterr().err
    assert "tokens, the limit is 512: shorten" in err and err.count("\n") == 1


def test_a_published_name_is_listed_with_its_licence(capsys):
    assert main(["pull", "--list", "--json"]) == 0
    facts = {one["name"]: one for one in json.loads(capsys.readouterr().out)["published"]}["liquid/7b"]
    assert facts["parameters"] == 8_562_846_720 and "no commercial use" in facts["licence"]
    assert recorded("liquid_gemma")[0].name == facts["name"].partition("/")[0] == "liquid"
    assert torch.tensor(facts["bytes"]) == 4 * facts["parameters"]
