"""`kiloword pull` and `generate` with published systems that draw: classes, no prompt at all, sizes, steps, mistakes.

The pages are the published ones at tiny sizes, and one made up; their files hold random weights under this project's
names.
"""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import kiloword
from kiloword import checkpoint, parts, published
from kiloword.cli import main
from kiloword.engine.card import Card
from kiloword.heads.categorical import CategoricalConfig
from kiloword.orders.raster import RasterConfig
from kiloword.prompts.class_label import ClassLabelConfig
from kiloword.published.page import File, Page, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.tokenizers.vq import VQConfig
from kiloword.tokens import Categorical
from kiloword.transformer import AttentionConfig, GELUConfig, LayerNormConfig, StackConfig

VQ = {"ch": 32, "ch_mult": (1, 1), "num_res_blocks": 1}
TINY: dict[str, dict[str, Any]] = {
    "igpt": {"n_px": 6, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_vocab": 24},
    "llamagen": {
        "model_type": "c2i", "dim": 32, "n_layer": 2, "n_head": 4, "multiple_of": 16, "vocab_size": 40,
        "block_size": 16, "num_classes": 1000, "cls_token_num": 1,
        "tokenizer": {**VQ, "z_channels": 16, "codebook_size": 40, "codebook_embed_dim": 8, "l2_norm": True},
    },
    "mar": {
        "img_size": 8, "vae_stride": 2, "patch_size": 1, "encoder_embed_dim": 24, "encoder_depth": 2,
        "encoder_num_heads": 3, "decoder_embed_dim": 24, "decoder_depth": 2, "decoder_num_heads": 3,
        "vae_embed_dim": 4, "class_num": 1000, "buffer_size": 4, "diffloss_d": 2, "diffloss_w": 24,
        "num_sampling_steps": "5", "diffusion_batch_mul": 2,
        "vae": {**VQ, "embed_dim": 4, "resolution": 8, "enc_attn_resolutions": (4,)},
    },
    "var": {
        **VQ, "V": 32, "Cvae": 8, "num_classes": 1000, "depth": 3, "embed_dim": 24, "num_heads": 3, "mlp_ratio": 4.0,
        "patch_nums": (1, 2, 3, 4),
    },
}  # fmt: skip
CLASSED = [name for name in TINY if name != "igpt"]
STEPS = {"igpt": 36, "llamagen": 16, "mar": 16, "var": 4}  # of MAR's 256 no more than there are tokens


def parts_of_squares(arguments: dict[str, Any]) -> parts.ImageModelConfig:
    """Squares of 2x2 pixels in 16 colours, row by row, of one of three classes."""
    width, space = arguments["width"], Categorical(16)
    networks = PixelwiseConfig(2)
    picture = parts.ModalityConfig(
        AutoencoderConfig(networks, networks, VQConfig(16, 3, normalised=False)), RasterConfig(),
        CategoricalConfig(space, width, positions=16),
    )  # fmt: skip
    stack = StackConfig(width, 1, AttentionConfig(2), GELUConfig(32), LayerNormConfig())
    return parts.ImageModelConfig(picture, ClassLabelConfig(3, width), stack)


def card_of_squares(variant: str) -> Card:
    return Card("squares", ((8, 8), (4, 8)), guidance=2.0, prompts="class", top_k=5, first=1, last=4)


def same_name(name: str, config: Any) -> Source:
    return Source((name,))


SQUARES = Page(
    "squares", "Squares", "nowhere", "none",
    {name: Variant({"width": width}, 1, (File("squares.pt"),)) for name, width in (("small", 16), ("wide", 24))},
    parts_of_squares, same_name, card=card_of_squares,
)  # fmt: skip


def shrunk(name: str) -> Page:
    """A published page with one tiny variant, whose file uses this project's names."""
    page = published.page(name)
    assert page.card is not None
    card, side = page.card(next(iter(page.variants))), 6 if name == "igpt" else 8
    return dataclasses.replace(
        page, variants={"tiny": Variant(TINY[name], 1, (File(f"{name}.pt"),))}, source_name=same_name,
        canonical=lambda key: key, card=lambda variant: dataclasses.replace(card, sizes=((side, side),)),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing but tiny pages, a new cache, and an empty folder to be in."""
    known = {"squares": SQUARES, **{name: shrunk(name) for name in TINY}}
    for name, page in known.items():
        monkeypatch.setitem(published.PAGES, name, name)
        monkeypatch.setitem(sys.modules, f"kiloword.published.{name}", SimpleNamespace(PAGE=page))
    monkeypatch.setenv("KILOWORD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def file_of(name: str, folder: Path, spoilt: bool = False) -> Path:
    """The authors' file of a variant, with random weights."""
    torch.manual_seed(0)
    page, variant = published.variant(name)
    weights = parts.build(page.parts(page.variants[variant].arguments)).state_dict()
    numbers = [value for value in weights.values() if value.is_floating_point()]
    for value in numbers:
        value.normal_(std=0.3)
    if spoilt:
        numbers[0].view(-1)[0] = torch.nan
    path = folder / f"{page.name}.safetensors"
    save_file({key: value.contiguous() for key, value in weights.items()}, path)
    return path


@pytest.fixture
def pulled(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Pulls a page's variant from its file; what is said of it is returned."""

    def pull(name: str) -> str:
        assert main(["pull", name, "--from", str(file_of(name, tmp_path))]) == 0
        return capsys.readouterr().err

    return pull


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["generate", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command that must fail and write nothing."""
    before = sorted(Path().resolve().parent.rglob("*"))
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("kiloword: ") and err.count("\n") == 1
    assert sorted(Path().resolve().parent.rglob("*")) == before
    return err


@pytest.mark.parametrize("name", TINY)
def test_what_was_pulled_draws(name: str, pulled, capsys):
    options = ("--class", "207") if name in CLASSED else ()
    assert f"kiloword generate --model {name}" in pulled(name)
    values = run(capsys, "--model", name, *options, "--seed", 5, "-o", "a.png", "--partials", 2, "--animate", "a.webp")
    assert values["model"] == f"{name}/tiny" and values.get("class") == (207 if options else None)
    side = 6 if name == "igpt" else 8
    with Image.open("a.png") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (side, side))
        assert picture.getchannel("A").getextrema() == (255, 255)
        assert picture.text.get("class") == ("207" if options else None)  # pyright: ignore
    with Image.open("a.webp") as animation:
        assert animation.n_frames <= STEPS[name]  # pyright: ignore
    assert len(list(Path().glob("a-step-*.png"))) == 2
    painter = checkpoint.load(name)
    again = painter.generate(207, seed=5) if options else painter.generate(seed=5)
    assert np.array_equal(np.asarray(again[0]), np.asarray(Image.open("a.png")))
    previews = list(painter.stream(207 if options else None, partials=None, seed=5))
    assert len(previews) == STEPS[name] and previews[-1].known.all()


@pytest.mark.parametrize("name", CLASSED)
def test_a_class_has_a_name_and_a_number_and_guidance_follows_it(name: str, pulled):
    pulled(name)
    model = kiloword.load(name)
    assert model.generate("golden retriever", seed=1) == model.generate(207, seed=1) == model.generate("207", seed=1)
    assert model.generate(207, seed=1) != model.generate(3, seed=1)
    assert model.generate(207, seed=1, guidance=1.0) != model.generate(207, seed=1, guidance=9.0)
    assert model.generate(207, seed=1, negative=0) != model.generate(207, seed=1)
    two = model.generate(207, seed=1, n=2)
    assert two == [*model.generate(207, seed=1), *model.generate(207, seed=2)]


@pytest.mark.parametrize("name", TINY)
def test_an_edit_keeps_what_the_mask_covers(name: str, pulled, capsys):
    pulled(name)
    side = 6 if name == "igpt" else 8
    Image.new("RGBA", (side, side), (10, 200, 30, 128)).save("green.png")
    mask = Image.new("RGBA", (side, side), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, side, side // 2))
    mask.save("mask.png")
    options = ("--class", "207") if name in CLASSED else ()
    run(capsys, *options, "--model", name, "--picture", "green.png", "--mask", "mask.png", "-o", "a.png", "--seed", 3)
    drawn = np.asarray(Image.open("a.png"))
    half = side // 2
    assert (drawn[..., 3] == 255).all() and (drawn[half:] == drawn[-1, -1]).all()
    assert np.abs(drawn[-1, -1].astype(int) - (132, 227, 142, 255)).max() <= 1  # over white
    assert not (drawn[:half] == drawn[-1, -1]).all()


def test_steps_are_free_where_the_order_leaves_them_open(pulled, capsys):
    pulled("mar"), pulled("var")
    painter = checkpoint.load("mar")
    assert [preview.steps for preview in painter.stream(207, partials=0, steps=5)] == [5]
    assert "mar/tiny draws this in 16 steps: it cannot do so in 17" in refused(
        capsys, "generate", "--model", "mar", "--class", 1, "--steps", 17
    )
    assert "takes one step a grid" in refused(capsys, "generate", "--model", "var", "--class", 1, "--steps", 3)


def test_the_card_has_the_defaults_and_the_user_may_change_them(pulled):
    pulled("squares")
    model = kiloword.load("squares")
    card = model.card
    assert (card.name, card.licence, card.top_k, card.last) == ("squares/small", "none", 5, 4)
    drawing = model._drawing(model.resolve(kiloword.Request(1)))
    assert drawing.weights[:, :, 0].tolist() == [[1, 0], *[[2, -1]] * 4, *[[1, 0]] * 11]
    assert drawing.sampling == kiloword.Sampling(1.0, top_k=5)
    wide = model.generate(1, size=(4, 8), seed=0)[0]
    assert wide.size == (8, 4)


def test_models_that_were_pulled_are_listed(pulled, capsys):
    pulled("squares"), pulled("igpt")
    assert main(["models", "--json"]) == 0
    listed = {facts["name"]: facts for facts in json.loads(capsys.readouterr().out)["models"]}
    assert {"emoji-64", "squares/small", "igpt/tiny"} <= listed.keys()
    assert listed["squares/small"]["prompts"] == "class" and listed["igpt/tiny"]["prompts"] == "nothing"
    assert main(["models"]) == 0
    assert "squares/small" in capsys.readouterr().out
    assert main(["pull", "--list", "--json"]) == 0
    found = {facts["name"]: facts["prompts"] for facts in json.loads(capsys.readouterr().out)["published"]}
    assert found["var/tiny"] == "class" and found["llamagen-vq/16"] is None


def test_what_cannot_be_asked(pulled, capsys):
    pulled("squares"), pulled("igpt"), pulled("llamagen"), pulled("mar")

    def line(model: str, *words: object) -> str:
        return refused(capsys, "generate", *words, "--model", model)

    assert "class 3 is not a whole number from 0 to 2" in line("squares", "--class", 3)
    assert "by its number, a whole number from 0: not 'dog'" in line("squares", "--class", "dog")
    assert "the numbers 0 to 999, not 1000" in line("llamagen", "--class", 1000)
    assert "near are 207 (golden retriever)" in line("llamagen", "--class", "golden retreiver")
    assert "reads no prompt: ask for one with --class 'a dog'" in line("llamagen", "a dog")
    assert "say which with --class" in line("llamagen")
    assert "draws what it likes: it cannot be asked for 'a dog'" in line("igpt", "a dog")
    assert "draws what it likes: it cannot be asked for '207'" in line("igpt", "--class", 207)
    assert "draws what it likes: it cannot be asked for 'dogs'" in line("igpt", "--negative", "dogs")
    assert "guidance 3 has nothing to follow" in line("igpt", "--guidance", 3)
    assert "it draws 8x8, 8x4" in line("squares", "--class", 1, "--size", "16x16")
    assert "has no styles" in line("squares", "--class", 1, "--style", "3d")
    assert "only draws: it cannot judge 4 candidates" in line("squares", "--class", 1, "--best-of", 4)
    assert "top_k and top_p do not apply" in line("mar", "--class", 1, "--top-k", 5)
    assert "has not been pulled yet: kiloword pull var" in line("var", "--class", 1)
    Image.new("RGB", (8, 8)).save("a.png")
    assert "has no words to say what a picture shows" in refused(capsys, "describe", "a.png", "--model", "squares")


def test_files_that_do_not_fit_leave_nothing_behind(tmp_path: Path, capsys):
    wide = file_of("squares/wide", tmp_path)
    assert "they are those of squares/wide" in refused(capsys, "pull", "squares", "--from", wide)
    spoilt = file_of("squares", tmp_path, spoilt=True)
    assert "holds NaN or infinity" in refused(capsys, "pull", "squares", "--from", spoilt)


@pytest.mark.parametrize("name", ["igpt", "squares"])
def test_the_bench_asks_for_what_the_model_draws(name: str, pulled, capsys):
    pulled(name)
    assert main(["bench", "--model", str(checkpoint.find(name)), "--repeats", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batch_8"]["tokens_a_second"] > 0
