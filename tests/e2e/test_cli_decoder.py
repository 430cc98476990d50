"""A model with a diffusion decoder on the command line: `generate`, `clean`, `models` and `train decoder-128`."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import icons
import kiloword
from kiloword import checkpoint, parts
from kiloword.cli import main
from kiloword.decoders.decoder import Effort
from kiloword.decoders.denoiser import DenoiserConfig
from kiloword.decoders.diffusion_decoder import DiffusionDecoderConfig
from kiloword.engine.cleaning import clean
from kiloword.pixels import from_image
from kiloword.transformer import AttentionConfig, RotaryConfig, StackConfig, SwiGLUConfig

PROMPT = "a red apple"
TOKENS = 20  # steps of the tokens: 4 of a draft, 16 of the grid
OWN = Effort(steps=2, groups=4, overlap=0.5)  # 2 (1 + 0.5 * 3) = 5 steps


def stack(width: int, axes: tuple[int, ...]) -> StackConfig:
    return StackConfig(width, 1, AttentionConfig(width // 16), SwiGLUConfig(32), position=RotaryConfig(axes))


@pytest.fixture(scope="session")
def with_decoder(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a decoder that makes 128x128 pixels in 8x8 patches of 16 pixels, untrained."""
    config, card = checkpoint.read_config(tiny)
    model = parts.build(config)
    checkpoint.put_weights(model, tiny / checkpoint.WEIGHTS)
    tokenizer = model.picture.tokenizer
    guide, patches = stack(16, (4, 4, 4, 4)), stack(32, (0, 0, 8, 8))
    denoiser = DenoiserConfig(tokenizer.space, guide, patches, tokenizer.stride, scale=2, patch=16)
    config = dataclasses.replace(config, decoder=DiffusionDecoderConfig(denoiser, OWN))
    torch.manual_seed(0)
    model.decoder = parts.build(config.decoder)
    folder = tmp_path_factory.mktemp("models") / "with_decoder"
    checkpoint.save(folder, model, dataclasses.replace(card, name="with_decoder", sizes=((128, 128),)), config)
    return folder


def drawn(capsys: pytest.CaptureFixture[str], path: Path, model: Path, *more: object) -> np.ndarray:
    words = ("generate", PROMPT, "-o", path, "--model", model, "--seed", 7, *more)
    assert main([str(word) for word in words]) == 0
    capsys.readouterr()
    return pixels(path)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "RGBA"
        return np.array(picture)


def test_every_option_has_effect_and_the_others_keep_the_models_defaults(with_decoder: Path, tmp_path: Path, capsys):
    own = drawn(capsys, tmp_path / "own.png", with_decoder)
    assert own.shape == (128, 128, 4)
    model = kiloword.load(with_decoder)
    assert np.array_equal(own, np.asarray(model.generate(PROMPT, seed=7)[0]))
    options = {
        "steps": ("--decoder-steps", 3), "groups": ("--groups", 16), "overlap": ("--overlap", 1.0),
        "grouping": ("--grouping", "centre"), "solver": ("--solver", "heun"), "guidance": ("--decoder-guidance", 3.0),
    }  # fmt: skip
    for name, words in options.items():
        picture = drawn(capsys, tmp_path / f"{name}.png", with_decoder, *words)
        effort = dataclasses.replace(OWN, **{name: words[1]})
        assert np.array_equal(picture, np.asarray(model.generate(PROMPT, seed=7, effort=effort)[0]))
        assert not np.array_equal(picture, own), name


def test_previews_go_on_while_the_pixels_are_denoised(tiny: Path, with_decoder: Path, tmp_path: Path, capsys):
    def frames(name: str, model: Path, *more: object) -> int:
        drawn(capsys, tmp_path / f"{name}.png", model, "--animate", tmp_path / f"{name}.webp", *more)
        with Image.open(tmp_path / f"{name}.webp") as animation:
            return animation.n_frames  # pyright: ignore

    assert frames("tokens", tiny) == TOKENS
    assert frames("own", with_decoder) == TOKENS + 5
    ordered = ("--groups", 4, "--overlap", 1, "--decoder-steps", 3)
    assert frames("ordered", with_decoder, *ordered, "--partials", 7, "--partials-dir", tmp_path) == TOKENS + 12
    partials = sorted(name for name in os.listdir(tmp_path) if name.startswith("ordered-step-"))
    assert partials == [f"ordered-step-{step:02d}.png" for step in (4, 8, 12, 16, 20, 24, 28)]
    assert all(pixels(tmp_path / name).shape == (128, 128, 4) for name in partials)
    top = np.stack([pixels(tmp_path / name)[:32] for name in partials])
    assert (top[5] == pixels(tmp_path / "ordered.png")[:32]).all()  # finished, while later rows are not
    assert not (top[4] == top[5]).all()
    alone = drawn(capsys, tmp_path / "alone.png", with_decoder, *ordered)
    assert np.array_equal(alone, pixels(tmp_path / "ordered.png"))


def test_the_effort_is_a_name_of_the_package(with_decoder: Path):
    model = kiloword.load(with_decoder)
    previews = list(model.stream("a cat", partials=None, seed=1, effort=kiloword.Effort(4, groups=16, overlap=1.0)))
    assert [preview.step for preview in previews] == list(range(1, TOKENS + 64 + 1))


def test_a_note_says_when_groups_change_nothing(with_decoder: Path, tmp_path: Path, capsys):
    words = ["generate", PROMPT, "-o", str(tmp_path / "a.png"), "--model", str(with_decoder), "--overlap", "0"]
    assert main([*words, "--groups", "16"]) == 0
    assert "all 16 groups are denoised at once; try --overlap 1" in capsys.readouterr().err


@pytest.fixture
def line(with_decoder: Path, tmp_path: Path, refused, monkeypatch: pytest.MonkeyPatch):
    """Runs a command that must fail in a folder with one picture; its one line is returned. No model draws."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGBA", (30, 20), "red").save("a.png")

    def never(*_: object, **__: object):
        raise AssertionError("this should have been refused before anything was drawn")

    monkeypatch.setattr("kiloword.engine.painter.draw_best", never)

    def failing(*words: object, model: Path = with_decoder) -> str:
        return refused((*words, "--model", model))

    return failing


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--groups", 3), "3 groups do not divide 64 units evenly: choose 1, 2, 4, 8, 16, 32 or 64"),
        (("--groups", 0), "groups are 1 or more, got 0"),
        (("--groups", 4, "--grouping", "frequency"), "4 groups do not divide 5 units evenly: choose 1 or 5"),
        (("--overlap", 1.5), "the overlap is from 0 (all groups at once) to 1 (one by one), got 1.5"),
        (("--overlap", -0.1), "got -0.1"),
        (("--overlap", "nan"), "got nan"),
        (("--decoder-steps", 0), "decoder steps are 1 or more, got 0"),
        (("--decoder-steps", "few"), "'--decoder-steps'"),
        (("--grouping", "columns"), "--grouping is 'columns': choose rows, rows-up, centre, frequency"),
        (("--solver", "dpm"), "--solver is 'dpm': choose euler, heun, ddim"),
        (("--decoder-guidance", "inf"), "the decoder's guidance is a finite number (1 is off), got inf"),
    ],
)
@pytest.mark.parametrize("command", [("generate", PROMPT), ("clean", "a.png")])
def test_what_no_decoder_does(line, command, words, said):
    assert said in line(*command, *words)


def test_what_only_a_diffusion_decoder_does(line, tiny: Path, monkeypatch: pytest.MonkeyPatch):
    def never(*_: object):
        raise AssertionError("this should have been refused before the weights were loaded")

    monkeypatch.setattr("kiloword.checkpoint.load", never)
    lacking = f"{tiny} has no diffusion decoder: train one with kiloword train decoder-128 --from {tiny}"
    said = line("generate", PROMPT, "--groups", 16, model=tiny)
    assert said == f"kiloword: --groups 16: {lacking}, or leave this out\n"
    said = line("generate", PROMPT, "--decoder-steps", 4, "--solver", "heun", model=tiny)
    assert said == f"kiloword: --decoder-steps 4 --solver heun: {lacking}, or leave these out\n"
    assert line("clean", "a.png", model=tiny) == f"kiloword: {lacking}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.png",), "none.png does not exist"),
        (("a.png", "--level", 0), "--level is 0: start above 0"),
        (("a.png", "--level", 1.5), "--level is 1.5"),
        (("a.png", "--level", "nan"), "--level is nan"),
        (("a.png", "--seed", -1), "--seed is -1"),
        (("a.png", "-o", "nowhere/b.png"), "there is no folder nowhere"),
        (("a.png", "-o", "b.jpg"), "name it b.png"),
        (("a.png", "a.png", "-o", "b.png"), "b.png is no folder, and there are 2 pictures"),
        ((), "missing argument"),
    ],
)
def test_what_cannot_be_cleaned(line, words, said):
    assert said in line("clean", *words)


def test_clean_pictures_keep_shape_and_opacity_and_have_names(with_decoder: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    icons.icon(1, 200).crop((0, 0, 200, 100)).save("wide.png")
    Image.new("RGB", (60, 90), (10, 200, 30)).save("tall.jpg")
    words = ["clean", "wide.png", "tall.jpg", "wide.png", "--model", str(with_decoder), "--level", "0.2"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.split() == ["wide-clean.png", "tall-clean.png", "wide-clean.2.png"]
    assert "wide.png: 200x100 pixels became 128x64" in err and "tall.jpg: 60x90 pixels became 85x128" in err
    assert pixels(tmp_path / "wide-clean.png").shape == (64, 128, 4)
    tall = pixels(tmp_path / "tall-clean.png")
    assert tall.shape == (128, 85, 4) and (tall[..., 3] == 255).all()
    assert np.array_equal(pixels(tmp_path / "wide-clean.png"), pixels(tmp_path / "wide-clean.2.png"))
    with Image.open("wide-clean.png") as picture:
        texts = picture.text  # pyright: ignore
    assert texts == {
        "Software": "kiloword", "cleaned": "wide.png", "level": "0.2", "seed": "0", "model": "with_decoder"
    }  # fmt: skip
    assert main(["clean", "wide.png", "-o", "b.png", "--model", str(with_decoder), "--seed", "1", "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)["pictures"]
    assert facts == {"path": "b.png", "picture": "wide.png", "size": "128x64"}
    assert not np.array_equal(pixels(tmp_path / "b.png"), pixels(tmp_path / "wide-clean.png"))


def test_what_a_decoder_gets_when_a_picture_is_cleaned(with_decoder: Path):
    """The decoder gets the picture at its own size, its tokens at the tokenizer's, and the level."""
    model, picture = kiloword.load(with_decoder), icons.icon(4, 128)
    decoder, calls = model.model.decoder, []
    decode_steps = decoder.decode_steps

    def recording(tokens, layout, known, effort, noise, rows, start=None, under=None):
        calls.append((tokens, layout, effort, start))
        yield from decode_steps(tokens, layout, known, effort, noise, rows, start, under)

    decoder.decode_steps = recording
    clean(model, picture, 0.25, Effort(steps=3))
    ((tokens, layout, effort, start),) = calls
    assert effort == Effort(steps=3, level=0.25) and start.shape == (1, 4, 128, 128)
    assert torch.equal(start[0], from_image(picture))
    small = from_image(picture, (64, 64))[None]
    assert torch.equal(tokens, model.model.picture.tokenizer.encode(small, layout).shown)
    with pytest.raises(ValueError, match="level to start from"):
        clean(model, picture, 0.0)


def test_models_without_a_diffusion_decoder_clean_nothing(tiny: Path):
    with pytest.raises(ValueError, match="cannot clean up a picture"):
        clean(kiloword.load(tiny), icons.icon(4, 64))


def test_models_say_how_pixels_are_made(tiny: Path, with_decoder: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kiloword.checkpoint.SHIPPED", tiny.parent)
    assert main(["models", "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)["models"]
    assert facts["decoder"] is None
    assert main(["models"]) == 0
    assert "tokenizer" in capsys.readouterr().out
    monkeypatch.setattr("kiloword.checkpoint.SHIPPED", with_decoder.parent)
    assert main(["models", "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)["models"]
    assert facts["sizes"] == ["128x128"] and facts["decoder"] == json.loads(
        json.dumps({"scale": 2, **dataclasses.asdict(OWN)})
    )
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("diffusion", "2 steps", "4 groups"))


def test_a_decoder_is_trained_for_a_model_and_draws_with_it(tiny: Path, tmp_path: Path, capsys):
    folder = icons.write_icons(tmp_path / "icons", count=6, held_out=2)
    sets = ["training.iterations=2", "training.batch=4", "guide.depth=1", "stack.depth=1", "patch=16"]
    words = ["train", "decoder-128", "--data", str(folder), "--from", str(tiny), "--out", str(tmp_path / "run")]
    assert main([*words, *(word for change in sets for word in ("--set", change))]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'run' / 'checkpoint'}\n" and "draw with it: kiloword generate" in err
    trained = Path(out.strip())
    picture = drawn(capsys, tmp_path / "a.png", trained, "--groups", 16, "--overlap", 1, "--decoder-steps", 1)
    assert picture.shape == (128, 128, 4)
    old, new = (checkpoint.load(path) for path in (tiny, trained))
    for name, value in old.model.state_dict().items():
        assert torch.equal(value, new.model.state_dict()[name]), name  # the tokens stay what they are
