"""`kiloword generate` and `describe` as a user runs them, with a tiny untrained model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kiloword.cli import main
from kiloword.cli.screen import half_blocks, side_by_side

PROMPT = "a red apple"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_writes_a_picture_with_its_settings_as_texts(tiny: Path, tmp_path: Path, capsys):
    path = tmp_path / "apple.png"
    code, out, err = run(capsys, "generate", PROMPT, "-o", path, "--seed", 7, "--style", "3d", "--model", tiny)
    assert (code, out, err) == (0, f"{path}\n", "")
    with Image.open(path) as picture:
        assert (picture.mode, picture.size) == ("RGBA", (64, 64))
        texts = picture.text  # pyright: ignore
    assert texts == {"Software": "kiloword", "prompt": PROMPT, "style": "3d", "seed": "7", "model": "tiny"}
    assert [file.name for file in tmp_path.iterdir()] == ["apple.png"]


def test_several_pictures_are_numbered_and_seeded_one_by_one(tiny: Path, tmp_path: Path, capsys):
    _, out, _ = run(
        capsys, "generate", PROMPT, "-o", tmp_path / "a.png", "-n", 2, "--seed", 7, "--model", tiny, "--json"
    )
    values = json.loads(out)
    expected = [{"path": str(tmp_path / f"a-{k}.png"), "seed": 6 + k} for k in (1, 2)]
    assert values["pictures"] == expected and values.items() >= expected[0].items()
    assert values["model"] == "tiny" and values["seconds"] > 0
    run(capsys, "generate", PROMPT, "-o", tmp_path / "b.png", "--seed", 8, "--model", tiny)
    assert pixels(tmp_path / "b.png").tolist() == pixels(tmp_path / "a-2.png").tolist()


def test_the_best_of_several_can_be_drawn_again_by_its_seed(tiny: Path, tmp_path: Path, capsys):
    best = ("generate", PROMPT, "-o", tmp_path / "a.png", "--model", tiny, "--seed", 7, "--best-of", 6, "--json")
    seed = json.loads(run(capsys, *best)[1])["seed"]
    run(capsys, "generate", PROMPT, "-o", tmp_path / "b.png", "--seed", seed, "--model", tiny)
    assert seed != 7 and pixels(tmp_path / "b.png").tolist() == pixels(tmp_path / "a.png").tolist()


def test_a_picture_without_a_name_is_named_after_its_prompt_and_replaces_nothing(
    tiny: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names = [run(capsys, "generate", "A red, red apple!", "--model", tiny)[1].strip() for _ in range(2)]
    assert names == ["a-red-red-apple.png", "a-red-red-apple.2.png"]
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_previews_and_an_animation_are_written_too(tiny: Path, tmp_path: Path, capsys):
    (tmp_path / "previews").mkdir()
    run(
        capsys, "generate", PROMPT, "-o", tmp_path / "a.png", "--model", tiny, "--scale", 2, "--filter", "nearest",
        "--partials", 3, "--partials-dir", tmp_path / "previews", "--animate", tmp_path / "a.webp",
    )  # fmt: skip
    assert sorted(os.listdir(tmp_path / "previews")) == [f"a-step-{step:02d}.png" for step in (5, 10, 15)]
    with Image.open(tmp_path / "a.webp") as animation:
        assert animation.n_frames == 20 and animation.size == (128, 128)  # pyright: ignore
    large = pixels(tmp_path / "a.png")
    assert large.shape == (128, 128, 4) and (large[::2, ::2] == large[1::2, 1::2]).all()


def test_an_edit_changes_only_what_the_mask_uncovers(tiny: Path, tmp_path: Path, capsys):
    Image.new("RGBA", (64, 64), (10, 200, 30, 255)).save(tmp_path / "green.png")
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 64, 32))
    mask.save(tmp_path / "mask.png")
    edit = ("--picture", tmp_path / "green.png", "--mask", tmp_path / "mask.png")
    assert run(capsys, "generate", PROMPT, *edit, "-o", tmp_path / "a.png", "--model", tiny)[0] == 0
    drawn = pixels(tmp_path / "a.png")
    assert (drawn[32:] == (10, 200, 30, 255)).all() and not (drawn[:32] == (10, 200, 30, 255)).all()


def test_describe_says_one_line_a_picture(tiny: Path, tmp_path: Path, capsys):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.new("RGB", (30, 20), "red").save(path)
    code, out, _ = run(capsys, "describe", *paths, "--model", tiny)
    assert code == 0 and [line.split("\t")[0] for line in out.splitlines()] == [str(path) for path in paths]
    described = json.loads(run(capsys, "describe", paths[0], "--model", tiny, "--json")[1])
    assert described["pictures"] == [{"path": str(paths[0]), "description": out.splitlines()[0].split("\t")[1]}]


def test_the_drawing_is_shown_in_half_blocks_on_request(tiny: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, out, err = run(capsys, "generate", PROMPT, "--show", "-o", tmp_path / "a.png", "--model", tiny)
    assert out == f"{tmp_path / 'a.png'}\n" and "drawing" in err and ("▀" in err or "▄" in err)


def test_half_blocks_hold_two_pixels_and_leave_out_transparent_ones():
    image = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    image.putpixel((1, 1), (0, 0, 255, 255))
    assert half_blocks(image).plain == "▀▄\n"
    assert side_by_side([Image.new("RGBA", (64, 64))] * 3, columns=80, rows=21).size == (76, 24)
    assert side_by_side([Image.new("RGBA", (64, 64))], columns=80, rows=10).size == (20, 20)


def test_ctrl_c_while_drawing_leaves_nothing_unfinished(tiny: Path, tmp_path: Path):
    command = [sys.executable, "-m", "kiloword", "generate", PROMPT, "-n", "64", "--model", str(tiny)]
    command += ["-o", str(tmp_path / "a.png"), "--partials", "20", "--animate", str(tmp_path / "a.webp")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("*.png")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "kiloword: stopped\n")
    left = list(tmp_path.iterdir())
    assert left and all("-step-" in path.name and path.suffix == ".png" for path in left)
    for path in left:
        pixels(path)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)
