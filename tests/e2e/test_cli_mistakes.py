"""Whatever a user gets wrong: exit code 2, one line that says what and how to fix it, and no file."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from kiloword import checkpoint
from kiloword.cli import main

APPLE = ("generate", "a red apple")


@pytest.fixture
def line(tiny: Path, tmp_path: Path, refused, monkeypatch: pytest.MonkeyPatch):
    """Runs a command that must fail in an empty folder; its one line is returned."""
    monkeypatch.chdir(tmp_path)

    def failing(*words: object, model: object = tiny, code: int = 2) -> str:
        words = (*words, "--model", model) if words[0] in ("generate", "describe") and model else words
        return refused(words, code)

    return failing


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", ""), "the prompt is empty"),
        (("generate", " \t\n"), "the prompt is empty"),
        (("generate", "apple " * 200), "the limit is 24"),
        ((*APPLE, "--style", "flatt"), "did you mean 'flat'"),
        ((*APPLE, "--size", "100x64"), "cannot draw 100x64 pixels; it draws 64x64"),
        ((*APPLE, "--size", "big"), "write WIDTHxHEIGHT"),
        ((*APPLE, "-n", 0), "draw at least 1"),
        ((*APPLE, "-n", -3), "draw at least 1"),
        ((*APPLE, "-n", 65), "from 1 to 64"),
        ((*APPLE, "-n", "two"), "'-n'"),
        ((*APPLE, "--best-of", 0), "candidates must be from 1 to 64"),
        ((*APPLE, "-n", 8, "--best-of", 9), "from 1 to 8 for each of 8 pictures"),
        ((*APPLE, "--seed", -1), "a seed is a whole number"),
        ((*APPLE, "--guidance", "nan"), "guidance must be a finite number"),
        ((*APPLE, "--guidance", "inf"), "guidance must be a finite number"),
        ((*APPLE, "--temperature", "nan"), "temperature must be a finite number"),
        ((*APPLE, "--temperature", -1), "temperature must be a finite number"),
        ((*APPLE, "--top-p", 0), "top_p must be in (0, 1]"),
        ((*APPLE, "--scale", 0), "--scale is 0"),
        ((*APPLE, "--filter", "cubic"), "nearest or lanczos"),
        ((*APPLE, "--partials", -1), "--partials is -1"),
        ((*APPLE, "-o", "nowhere/a.png"), "there is no folder nowhere"),
        ((*APPLE, "--partials-dir", "nowhere"), "there is no folder nowhere"),
        ((*APPLE, "--animate", "nowhere/a.webp"), "there is no folder nowhere"),
        ((*APPLE, "--animate", "a.mp4"), ".webp, .gif, .png"),
        ((*APPLE, "-o", "a.jpg"), "name it a.png"),
        ((*APPLE, "--picture", "none.png"), "none.png does not exist"),
        ((*APPLE, "--colour", "red"), "--colour"),
        (("generate",), "the prompt is empty"),
        (("generate", "--class", "207"), "tiny has no classes: ask in words"),
        ((*APPLE, "--class", "207"), "give one of them"),
        ((*APPLE, "--steps", 3), "tiny draws this in 20 steps: it cannot do so in 3"),
        ((*APPLE, "--steps", 0), "steps must be 1 or more"),
        ((*APPLE, "--top-k", -1), "top_k must be 0 (off) or more"),
        (("describe", "none.png"), "none.png does not exist"),
        (("draw",), "no such command 'draw'"),
        (("data", "folder", "nowhere"), "nowhere is not a folder"),
        (("data", "build", "emoji", "--styles", "3d"), "give --out DIR"),
        (("data", "build", "emoji", "--styles", "4d", "--out", "x"), "choose from 3d"),
        (("train",), "say what to train"),
        (("train", "--from", "emoji-64"), "--data DIR"),
        (("train", "--from", "emoji-64", "--data", "nowhere"), "nowhere is not a folder"),
        (("train", "--from", "emoji-64", "--data", ".", "--set", "batch"), "FIELD=VALUE"),
        (("evaluate", "emoji", "--sheet", "nowhere/a.png"), "there is no folder nowhere"),
        (("evaluate", "emoji", "--prompts", 0), "--prompts is 0"),
        (("evaluate", "emoji", "--best-of", 0), "--best-of is 0"),
    ],
)
def test_the_line_says_what_is_wrong(line, words, said):
    assert said in line(*words)


def test_an_unknown_model_is_answered_with_the_known_ones(line, tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kiloword.checkpoint.SHIPPED", tiny.parent)
    assert "did you mean 'tiny'? (shipped: tiny)" in line(*APPLE, model="tinny")


def test_a_mask_needs_a_picture_and_holes(line, tmp_path: Path):
    Image.new("RGB", (64, 64)).save(tmp_path / "full.png")
    assert "no transparent pixels" in line(*APPLE, "--picture", "full.png", "--mask", "full.png")
    assert "both a picture and a mask" in line(*APPLE, "--picture", "full.png")


def test_damaged_and_foreign_checkpoints(line, tiny: Path, tmp_path: Path):
    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny, tmp_path / name))

    weights = copy("cut") / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "cut/weights.safetensors is not a whole safetensors file" in line(*APPLE, model="./cut")
    (copy("gone") / "weights.safetensors").unlink()
    assert "gone/weights.safetensors" in line(*APPLE, model="./gone")
    (tmp_path / "empty").mkdir()
    assert "not a kiloword checkpoint" in line(*APPLE, model="./empty")
    (copy("half") / "config.json").write_text('{"format": 1, "car')
    assert "half/config.json cannot be read" in line(*APPLE, model="./half")
    (copy("foreign") / "config.json").write_text('{"model_type": "llama"}')
    assert "not a kiloword config" in line(*APPLE, model="./foreign")
    newer = copy("newer") / "config.json"
    newer.write_text(json.dumps({**json.loads(newer.read_text()), "format": 99}))
    assert "update kiloword" in line(*APPLE, model="./newer")


def test_a_disk_that_is_full_before_or_after_the_drawing(line, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as before:
        before.setattr("tempfile.TemporaryFile", full)
        assert "No space left on device; nothing was drawn" in line(*APPLE)
    monkeypatch.setattr("kiloword.data.shards.os.fsync", full)
    assert "a.png needs" in line(*APPLE, "-o", "a.png")


def test_internal_faults_are_named_as_such_and_ctrl_c_is_no_fault(line, capsys, monkeypatch: pytest.MonkeyPatch):
    def raising(error: BaseException):
        def load(*_: object):
            raise error

        monkeypatch.setattr("kiloword.checkpoint.load", load)

    raising(TypeError("two\nlines"))
    assert "a fault in kiloword, not yours (TypeError: two lines)" in line(*APPLE, code=1)
    raising(KeyboardInterrupt())
    assert line(*APPLE, code=130) == "kiloword: stopped\n"
    raising(ModuleNotFoundError("No module named 'lightning_fabric'", name="lightning_fabric"))
    assert "pip install 'kiloword[train]'" in line(*APPLE)
    monkeypatch.setenv("KILOWORD_DEBUG", "1")
    assert main([*APPLE]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_stdout_is_no_fault():
    command = f"{sys.executable} -m kiloword --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == "" and done.returncode in (0, 1)


def test_a_ctrl_c_that_a_library_swallows_is_not_lost(line, monkeypatch: pytest.MonkeyPatch):
    def swallowing(*words: object):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return load(*words)

    load = checkpoint.load
    monkeypatch.setattr("kiloword.checkpoint.load", swallowing)
    assert line(*APPLE, code=130) == "kiloword: stopped\n"
