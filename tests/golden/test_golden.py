"""Checkpoints of old formats still load, and draw exactly what they drew on the day on which they were saved.

`python tests/golden/test_golden.py` saves those of today's format, once: a golden checkpoint is never written anew.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from kiloword import checkpoint, parts
from kiloword.document import to_describe
from kiloword.engine.card import Card
from kiloword.engine.drive import draw, write
from kiloword.engine.painter import Painter
from kiloword.engine.rerank import read_back
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.head import Sampling
from kiloword.noise import Seeded
from kiloword.prompts.class_label import ClassLabelConfig
from kiloword.prompts.text_prefix import TextPrefixConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokens import Categorical
from kiloword.transformer import AttentionConfig, GELUConfig, LayerNormConfig

HERE = Path(__file__).parent
GOLDEN = sorted(path.parent for path in HERE.glob(f"format-*/*/{checkpoint.CONFIG}"))
DRAWN = "drawn.json"


def made_of(painter: Painter, prompts: list) -> dict[str, Any]:
    """What a model draws of two prompts, with guidance, and what it makes of two pictures, as plain values."""
    model, layout = painter.model, tiny.layout_of(painter.model)
    drawing = tiny.drawing(model, prompts, painter.card.guidance, sampling=Sampling(0.9, top_k=4, top_p=0.95))
    with torch.no_grad():
        *_, last = draw(model, drawing, Seeded([1, 2]))
        seen = model.picture.tokenizer.encode(tiny.pixels(2), layout)
        pixels = model.picture.tokenizer.decode(last.tokens, layout, last.known)
        values = {
            "prompts": prompts, "tokens": last.tokens.tolist(), "seen": seen.target.tolist(),
            "pixels": pixels.mean((2, 3)).tolist(),
        }  # fmt: skip
        if model.text is not None:
            values["told"] = write(model, to_describe(seen.shown, layout), Sampling(temperature=0), Seeded([0, 0]))
            values["likely"] = read_back(model, last.tokens, layout, [[prompt] for prompt in prompts]).tolist()
    return values


def test_there_is_one_of_every_format():
    assert {int(folder.parent.name.removeprefix("format-")) for folder in GOLDEN} == set(range(1, parts.FORMAT + 1))
    assert max(sum(file.stat().st_size for file in folder.iterdir()) for folder in GOLDEN) < 65_536


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_an_old_checkpoint_loads_and_draws_the_same(folder: Path):
    wanted = json.loads((folder / DRAWN).read_text())
    made = made_of(checkpoint.load(folder), wanted["prompts"])
    for name in ("tokens", "seen", "told"):
        assert made.get(name) == wanted.get(name), name
    for name in ("pixels", "likely"):
        assert torch.allclose(torch.tensor(made.get(name, [])), torch.tensor(wanted.get(name, [])), atol=1e-4), name


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_golden_checkpoint_is_of_its_format_and_not_empty(folder: Path):
    values, wanted = json.loads((folder / checkpoint.CONFIG).read_text()), json.loads((folder / DRAWN).read_text())
    assert folder.parent.name == f"format-{values['format']}"
    assert wanted["tokens"][0] != wanted["tokens"][1] and wanted["seen"][0] != wanted["seen"][1]


def todays() -> dict[str, tuple[Any, list]]:
    """Configs that use every part of a model between them, and two prompts for each."""
    autoencoder, words = tiny.autoencoder(), tiny.words()
    text = parts.TextConfig(words, CategoricalConfig(Categorical(words.build().space.size), tiny.WIDTH), limit=8)
    draft = parts.ModalityConfig(PyramidConfig(autoencoder), tiny.ORDERS["draft"], tiny.HEADS["factorised"])
    raster = parts.ModalityConfig(autoencoder, tiny.ORDERS["columns"], tiny.HEADS["factorised"])
    plain = tiny.stack(attention=AttentionConfig(2, bias=True), feed_forward=GELUConfig(24), norm=LayerNormConfig())
    prompt = TextPrefixConfig(words, tiny.WIDTH)
    return {
        "words": (parts.ImageModelConfig(draft, prompt, tiny.stack(), text), ["a red apple", "blue house"]),
        "classes": (parts.ImageModelConfig(raster, ClassLabelConfig(3, tiny.WIDTH), plain), [2, None]),
    }


def main() -> None:
    for name, (config, prompts) in todays().items():
        folder = HERE / f"format-{parts.FORMAT}" / name
        if folder.exists():
            sys.exit(f"{folder} is there already, and a golden checkpoint is never written anew")
        torch.manual_seed(0)
        card = Card(name, ((tiny.ROWS, tiny.COLUMNS),), {"flat": "a flat {}"}, guidance=2.0)
        checkpoint.save(folder, tiny.awake(config.build()), card, config)
        painter = checkpoint.load(folder)  # as users get it: its weights were rounded
        assert dataclasses.asdict(painter.card) == dataclasses.asdict(card)
        (folder / DRAWN).write_text(json.dumps(made_of(painter, prompts)) + "\n")


if __name__ == "__main__":
    main()
