"""`kiloword tokens` as a user runs it, with tokenizers of every kind of token that were never trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kiloword import checkpoint
from kiloword.cli import main
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bsq import BSQConfig
from kiloword.tokenizers.kl import KLConfig
from kiloword.tokenizers.palette import PaletteConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokenizers.residual import ResidualConfig
from kiloword.tokenizers.vit import ViTConfig
from kiloword.tokenizers.vq import VQConfig
from kiloword.transformer import AttentionConfig, StackConfig, SwiGLUConfig

COMMANDS = ("show", "set", "flip", "stitch", "roundtrip", "sweep")
KINDS = ("ids", "scales", "bits", "vectors")


def network() -> ViTConfig:
    stack = StackConfig(16, 1, AttentionConfig(1), SwiGLUConfig(16))
    return ViTConfig(stack, stack, patch=4, channels=3)


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tokenizers, one for each kind of token; a token of all but the first covers 8x8 pixels."""
    torch.manual_seed(0)
    folder, one = tmp_path_factory.mktemp("kinds"), PixelwiseConfig(2)
    scales = ResidualConfig(VQConfig(16, 4, normalised=False), scales=(1, 2, 4), phis=2)
    configs = {
        "ids": AutoencoderConfig(one, one, PaletteConfig(8)),
        "scales": AutoencoderConfig(network(), network(), scales),
        "bits": AutoencoderConfig(network(), network(), BSQConfig(5)),
        "vectors": AutoencoderConfig(network(), network(), KLConfig(4)),
    }
    for name, config in configs.items():
        checkpoint.save_tokenizer(folder / name, config.build(), config, checkpoint.TokenizerCard(name, "none"))
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two pictures of 64x64 pixels, the first with transparency, and one of 100x50."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(0, 256, (50, 100, 4), dtype=np.uint8)
    for name, picture in {
        "a.png": Image.fromarray(values).resize((64, 64)), "b.png": Image.new("RGB", (64, 64), "orange"),
        "wide.png": Image.fromarray(values).convert("RGB"),
    }.items():  # fmt: skip
        picture.save(tmp_path / name)
    return tmp_path


def words_of(command: str, token: str = "1", position: str = "1,2") -> list[str]:
    return {
        "set": ["set", "a.png", f"{position}={token}"], "stitch": ["stitch", "a.png", "b.png"],
        "sweep": ["sweep", "a.png", position, "-n", "3"],
    }.get(command, [command, "a.png"])  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    assert main(["tokens", *(str(word) for word in words)]) == code
    out, err = capsys.readouterr()
    return out, err


def facts(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    return json.loads(run(capsys, *words, "--json")[0])


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_help_shows_an_example(command: str, capsys):
    out, _ = run(capsys, *command.split(), "--help")
    assert f"Example: kiloword tokens {command}" in out


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_experiment_with_every_kind_of_token(kinds: Path, here: Path, capsys, kind: str, command: str):
    words = (*words_of(command), "-o", "sheet.png", "--model", kinds / kind)
    if kind == "vectors" and command in ("set", "sweep"):
        said = f"`tokens {command}` makes no sense with vectors, whose tokens are vectors of 4 real numbers"
        assert said in run(capsys, *words, code=2)[1] and not (here / "sheet.png").exists()
        return
    found = facts(capsys, *words)
    assert found["path"] == "sheet.png" and found["model"] == kind and found["size"] == "64x64"
    side = {"ids": 32}.get(kind, 8)
    assert found["grids"][-1] == {"rows": side, "columns": side} and len(found["grids"]) == (
        3 if kind == "scales" else 1
    )
    with Image.open("sheet.png") as sheet:
        assert sheet.mode == "RGB" and min(sheet.size) > 200
        assert sheet.text == {"Software": "kiloword", "model": kind, "picture": "a.png"}  # pyright: ignore


def test_what_is_shown_can_be_set(tiny: Path, here: Path, capsys):
    out, err = run(capsys, "show", "a.png", "--model", tiny)
    lines = out.splitlines()
    assert err == "" and lines[-1] == "a-show.png" and lines[0] == "grid 0, 2 rows, 2 columns: 2 codes of 4 values"
    tokens = facts(capsys, "show", "a.png", "--model", tiny)["tokens"]
    assert (
        f"1,2={'.'.join(map(str, tokens[1][1][2]))}" in lines
        and f"0:1,0={'.'.join(map(str, tokens[0][1][0]))}" in lines
    )
    written = [line for line in lines if "=" in line]
    assert len(written) == 4 + 16
    found = facts(capsys, "set", "a.png", *written, "--model", tiny)
    assert found["changed"]["pixels"] == 0 and len(found["changes"]) == 20
    assert sorted(path.name for path in here.glob("a-*")) == ["a-set.png", "a-show.2.png", "a-show.png"]


def test_a_grid_of_ids_is_printed_as_a_grid(kinds: Path, here: Path, capsys):
    out, _ = run(capsys, "show", "b.png", "--model", kinds / "ids")
    rows = [line.split() for line in out.splitlines()[1:-1]]
    assert len(rows) == 32 and all(len(row) == 32 and set(row) == set(rows[0]) for row in rows)


def test_one_token_changes_its_own_cell(kinds: Path, here: Path, capsys):
    words = ("set", "b.png", "3,4=0", "--model", kinds / "ids", "-o", "s.png", "--picture", "after.png")
    found = facts(capsys, *words)
    assert found["changes"] == [
        {"scale": 0, "row": 3, "column": 4, "before": found["changes"][0]["before"], "after": 0}
    ]
    changed = found["changed"]
    assert changed["box"] == [6, 8, 8, 10] and changed["pixels"] == 4 and changed["inside"] == pytest.approx(1)
    with Image.open("after.png") as after:
        values = np.array(after)
    assert values.shape == (64, 64, 4) and len(np.unique(values.reshape(-1, 4), axis=0)) == 2
    assert (values[6:8, 8:10] != values[0, 0]).any(-1).all()
    out, _ = run(capsys, *words)
    assert "changed: 4 of 4,096 pixels, in rows 6 to 7 and columns 8 to 9" in out and out.endswith("s.png\nafter.png\n")


def test_transparency_is_kept_where_the_tokenizer_has_it(here: Path, tmp_path_factory, capsys):
    config = PyramidConfig(AutoencoderConfig(PixelwiseConfig(2, 4), PixelwiseConfig(2, 4), PaletteConfig(2, 4)))
    folder = tmp_path_factory.mktemp("clear") / "clear"
    checkpoint.save_tokenizer(folder, config.build(), config, checkpoint.TokenizerCard("clear", "none"))
    half = Image.new("RGBA", (64, 64), "white")
    half.paste((0, 0, 0, 0), (0, 0, 32, 64))
    half.save("half.png")
    found = facts(capsys, "flip", "half.png", "--model", folder, "-o", "s.png", "--picture", "flipped.png")
    assert found["psnr"] == 100 and found["codes_that_agree"] == [[1] * 32] * 32
    with Image.open("flipped.png") as flipped:
        alpha = np.array(flipped)[..., 3]
    assert (alpha[:, 32:] == 0).all() and (alpha[:, :32] == 255).all()


def test_stitching_pixels_and_tokens_is_the_same_where_tokens_are_pixels(kinds: Path, here: Path, capsys):
    Image.new("RGB", (64, 64), "black").save("black.png")
    words = ("stitch", "black.png", "b.png", "--axis", "y", "--model", kinds / "ids", "--picture", "both.png")
    found = facts(capsys, *words)
    assert found["psnr"] == 100 and found["second"] == "b.png" and found["path"] == "black-b-stitch.png"
    with Image.open("both.png") as both:
        values = np.array(both)
    assert (values[:32] == (0, 0, 0, 255)).all() and (values[32:, :, :3] > 0).all()


def test_a_roundtrip_is_measured(kinds: Path, tiny: Path, here: Path, capsys):
    found = facts(capsys, "roundtrip", "b.png", "--model", tiny)
    assert found["bits"] == 16 * 4 and found["bits_per_pixel"] == 16 * 4 / 4096
    assert 0 < found["psnr"] < 40 and -1 < found["ssim"] < 1
    out, _ = run(capsys, "roundtrip", "b.png", "--model", kinds / "vectors")
    assert "no number of bits" in out
    assert facts(capsys, "roundtrip", "b.png", "--model", kinds / "vectors")["bits"] is None
    Image.new("RGB", (8, 8)).save("small.png")
    assert facts(capsys, "roundtrip", "small.png", "--model", kinds / "ids")["ssim"] is None


def test_a_picture_of_another_size_is_fitted_with_a_note(kinds: Path, tiny: Path, here: Path, capsys):
    _, err = run(capsys, "roundtrip", "wide.png", "--model", tiny, "--picture", "back.png", "-o", "s.png")
    assert err == "kiloword: note: wide.png is 100x50 pixels: resized to 96x48 and padded to 96x64\n"
    with Image.open("back.png") as back:
        assert back.size == (96, 48)
    assert facts(capsys, "show", "wide.png", "--model", tiny)["notice"] == "resized to 96x48 and padded to 96x64"
    assert facts(capsys, "show", "wide.png", "--model", kinds / "ids")["notice"] is None
    assert facts(capsys, "show", "wide.png", "--model", tiny, "--size", "64x32")["grids"][1] == {
        "rows": 2,
        "columns": 4,
    }


def test_a_sweep_says_what_each_code_does(tiny: Path, here: Path, capsys):
    out, _ = run(capsys, "sweep", "a.png", "1,2", "--model", tiny)
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == ["code 0", "code 1"] and lines[-1] == "a-sweep.png"
    tried = facts(capsys, "sweep", "a.png", "0:1,1", "--model", tiny)["tried"]
    assert len(tried) == 8 and sum(trial["same"] for trial in tried) == 2
    assert all(trial["change"] == 0 for trial in tried), (
        "a pyramid's draft is not looked at where the full grid is known"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "a.png", "16,16=3"), "16,16 is outside the grid of 4 rows and 4 columns"),
        (("set", "a.png", "1,2=16"), "token 16 is out of range: write one from 0 to 15"),
        (("set", "a.png", "1,2=4.0"), "code 4 of token 4.0 is out of range: write one from 0 to 3"),
        (("set", "a.png", "1,2=0", "1,2=1"), "1,2 is changed 2 times"),
        (("set", "a.png", "1,2"), "'1,2' is no change"),
        (("set", "a.png"), "missing argument"),
        (("set", "none.png", "1,2=1"), "none.png does not exist"),
        (("set", ".", "1,2=1"), ". is a folder: name a picture file"),
        (("flip", "a.png", "--axis", "z"), "--axis is 'z': choose x or y"),
        (("flip", "a.png", "--size", "60x64"), "takes no pictures of 60x64 pixels: the nearest size is 64x64"),
        (("flip", "a.png", "--size", "0x0"), "takes no pictures of 0x0 pixels: the nearest size is 32x32"),
        (("flip", "a.png", "-o", "a.jpg"), "name it a.png"),
        (("flip", "a.png", "-o", "nowhere/a.png"), "there is no folder nowhere"),
        (("flip", "a.png", "-o", "s.png", "--picture", "s.png"), "s.png would be both"),
        (("sweep", "a.png", "4,0"), "4,0 is outside the grid"),
        (("sweep", "a.png", "1,2", "-n", 1), "-n is 1"),
        (("sweep", "a.png", "1,2", "--group", 1), "--group is 1"),
        (("show", "wide.png", "-o", "s.png", "--model", "nothing"), "there is no model 'nothing'"),
        (("stitch", "a.png", "text.png"), "text.png is not a picture that can be read"),
        (("show", "moving.gif"), "moving.gif holds 2 pictures"),
        (("show", "print.jpg"), "print.jpg is in CMYK"),
        (("show", "deep.png"), "deep.png has 16 bits a channel"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_file(tiny: Path, here: Path, capsys, words: tuple, said: str):
    (here / "text.png").write_text("no picture")
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 200)]
    frames[0].save(here / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("CMYK", (4, 4)).save(here / "print.jpg")
    Image.new("I;16", (4, 4)).save(here / "deep.png")
    before = sorted(here.rglob("*"))
    out, err = run(capsys, *words, *(() if "--model" in words else ("--model", tiny)), code=2)
    assert said in err and err.startswith("kiloword: ") and err.count("\n") == 1 and out == ""
    assert sorted(here.rglob("*")) == before
