"""`kiloword pull` and `generate` with Infinity at a tiny size: words, negative words, shapes, and prompts that are too
long. Its files are made up: random weights under this project's names; so is the text encoder.
"""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from kiloword import checkpoint, parts, published
from kiloword.cli import main
from kiloword.published import infinity
from kiloword.published.page import File, Source, Variant

WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "apple", "pear"]
TINY = {"text_channels": 128, "text_maxlen": 5, "embed_dim": 48, "depth": 2, "num_heads": 2, "d_vae_codebook_dim": 4,
        "apply_spatial_patchify": 1, "base_ch": 24, "num_res_blocks": 1, "patch_size": 2,
        "encoder_ch_mult": (1, 1), "decoder_ch_mult": (1, 1)}  # fmt: skip
SIZES = ((24, 24), (40, 32))  # 6x6 and 10x8 tokens of 4x4 pixels


@pytest.fixture
def pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Infinity with one tiny variant, pulled from its file into a new cache."""
    variant = Variant({**TINY, "text_encoder": str(encoder(tmp_path / "t5"))}, 1, (File("infinity.pt"),))
    card = dataclasses.replace(infinity.card("8B"), sizes=SIZES)
    page = dataclasses.replace(
        infinity.PAGE, variants={"tiny": variant}, source_name=lambda name, config: Source((name,)),
        canonical=lambda name: name, unfused=lambda tensors: tensors, card=lambda name: card,
    )  # fmt: skip
    monkeypatch.setitem(published.PAGES, "infinity", "infinity")
    monkeypatch.setitem(sys.modules, "kiloword.published.infinity", SimpleNamespace(PAGE=page))
    monkeypatch.setenv("KILOWORD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    torch.manual_seed(0)
    weights = parts.build(page.parts(variant.arguments)).state_dict()
    made = {name: torch.randn_like(value) * 0.3 for name, value in weights.items()}
    save_file(made, tmp_path / "infinity.safetensors")
    assert main(["pull", "infinity", "--from", str(tmp_path / "infinity.safetensors")]) == 0
    assert 'draw with it: kiloword generate --model infinity "a red apple"' in capsys.readouterr().err


def encoder(folder: Path) -> Path:
    """A tiny T5 with a tokenizer that knows whole words."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=len(WORDS), d_model=128, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    transformers.T5EncoderModel(config).save_pretrained(folder)
    return folder


def drawn(capsys: pytest.CaptureFixture[str], *words: str) -> np.ndarray:
    assert main(["generate", *words, "--model", "infinity", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["model"] == "infinity/tiny"
    return np.asarray(Image.open(values["path"]))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command that must fail and write nothing; the text encoder's library shows a bar before."""
    before = sorted(Path().resolve().rglob("*"))
    assert main(["generate", *words, "--model", "infinity"]) == 2
    out, err = capsys.readouterr()
    *bars, line = err.splitlines()
    assert out == "" and line.startswith("kiloword: ") and all("Loading weights" in bar for bar in bars if bar)
    assert sorted(Path().resolve().rglob("*")) == before
    return line


def test_words_are_drawn_in_several_shapes_and_with_negative_prompts(pulled, capsys):
    one = drawn(capsys, "a red apple", "--seed", "5", "-o", "a.png", "--partials", "2", "--animate", "a.webp")
    assert one.shape == (24, 24, 4) and (one[..., 3] == 255).all()
    assert len(list(Path().glob("a-step-*.png"))) == 2
    others = {
        "pear": ("a red pear",), "plain": ("a red apple", "--guidance", "1"),
        "negative": ("a red apple", "--negative", "a pear"),
    }  # fmt: skip
    for name, words in others.items():
        assert not np.array_equal(drawn(capsys, *words, "--seed", "5", "-o", f"{name}.png"), one), name
    assert drawn(capsys, "a red apple", "--size", "32x40", "-o", "tall.png").shape == (40, 32, 4)
    painter = checkpoint.load("infinity")
    assert np.array_equal(np.asarray(painter.generate("a red apple", seed=5)[0]), one)
    steps = [preview.steps for preview in painter.stream("a pear", partials=None)]
    assert steps == [4] * 4  # one a grid


def test_an_edit_keeps_what_the_mask_covers(pulled, capsys):
    Image.new("RGBA", (24, 24), (10, 200, 30, 255)).save("green.png")
    mask = Image.new("RGBA", (24, 24), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 24, 12))
    mask.save("mask.png")
    found = drawn(capsys, "a pear", "--picture", "green.png", "--mask", "mask.png", "-o", "b.png", "--seed", "3")
    assert np.abs(found[12:].astype(int) - (10, 200, 30, 255)).max() <= 1
    assert not np.abs(found[:12].astype(int) - (10, 200, 30, 255)).max() <= 1


def test_what_cannot_be_asked_is_said_with_a_remedy(pulled, capsys):
    line = refused(capsys, "a red apple and a red pear")
    assert "the prompt has 6 positions or more, the context holds 5: say it in fewer words" in line
    line = refused(capsys, "a pear", "--size", "40x20")
    assert "cannot draw 40x20 pixels; it draws 24x24, 32x40; the nearest is 24x24" in line
    assert "takes one step a grid" in refused(capsys, "a pear", "--steps", "3")
    assert "has no classes" in refused(capsys, "--class", "3")
