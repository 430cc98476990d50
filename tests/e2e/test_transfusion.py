"""A small Transfusion memorises 32 pictures: given a text it draws its picture, and it reads the texts back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kiloword import parts
from kiloword.data import shards
from kiloword.data.emoji import wording
from kiloword.data.user_cache import cache_dir
from kiloword.document import to_describe, to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.embedding import joined
from kiloword.engine.drive import draw, write
from kiloword.heads.head import Sampling
from kiloword.heads.level import ModulatingLevelConfig
from kiloword.heads.velocity import VelocityConfig
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.recipes.tokenizers import put_together, vit
from kiloword.recipes.transfusion import PATCHES, image_model, stack
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.patched import PatchedConfig
from kiloword.tokens import Vector
from kiloword.training.augmentation import shrink, to_bytes
from kiloword.training.optimiser import MuonConfig, schedule

COUNT, APART, SIDE = 32, 20, 32
EMOJI = cache_dir() / "data" / "emoji"


def some_icons(folder: Path) -> tuple[Tensor, list[str]]:
    """So many flat pictures, far apart in the list, and what each of them is called."""
    found: dict[str, Tensor] = {}
    for sample in shards.read(folder):
        if sample.metadata["style"] == "flat" and not sample.metadata["skin_tones"]:
            found.setdefault(wording.answer(sample.metadata), to_bytes(sample.picture, 2 * SIDE))
        if len(found) == COUNT * APART:
            break
    chosen = list(found)[::APART]
    return shrink(torch.stack([found[text] for text in chosen]), SIDE), chosen


def steps(module: torch.nn.Module, iterations: int, rate: float, loss) -> None:
    """Minimise a loss."""
    optimisers = MuonConfig(rate, weight_decay=0.0).build(module)
    for iteration in range(iterations):
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * schedule(iteration, iterations, 20)
            optimiser.zero_grad()
        loss().backward()
        for optimiser in optimisers:
            optimiser.step()


def trained(pictures: Tensor, texts: list[str], patches: str, iterations: int) -> ImageModel:
    """First the tokenizer, until its latents tell the pictures apart; then the model, in both directions."""
    torch.manual_seed(0)
    unet = patches == "unet"
    words = BPEConfig.train(texts, 320)
    longest = int(words.build().encode(texts, 64)[1].sum(1).max())
    tokenizer = put_together("kl", vit(64))
    head = VelocityConfig(Vector(64 if unet else 16), 64, PATCHES[patches], ModulatingLevelConfig())
    wrapped = PatchedConfig(tokenizer, 2) if unet else tokenizer
    model = parts.build(image_model(wrapped, head, stack(64, 4), words, longest + 1))
    inner = model.picture.tokenizer.tokenizer if unet else model.picture.tokenizer
    layout = inner.layout(SIDE, SIDE)

    def rebuilt() -> Tensor:
        found = inner.encode(pictures, layout, Seeded(range(COUNT)))
        decoded = inner.decoder(found.latent, layout)
        return (decoded - pictures).square().mean() + 1e-3 * found.losses["kl_loss"]

    steps(inner, 300, 2e-3, rebuilt)
    with torch.no_grad():
        deviation = inner.encode(pictures, layout).target.std()
    inner.quantizer.config = replace(inner.quantizer.config, scale=1 / float(deviation))
    model.picture.tokenizer.requires_grad_(False)
    layout = model.picture.tokenizer.layout(SIDE, SIDE)
    target = model.picture.tokenizer.encode(pictures, layout).target

    def both_ways() -> Tensor:
        drawn, read = torch.randint(COUNT, (64,)), torch.randint(COUNT, (32,))
        documents = to_learn([texts[r] for r in drawn], layout, target[drawn], predict_prompts=True)
        documents += to_describe(target[read], layout, [texts[r] for r in read])
        losses = model.loss(documents)
        said = joined([losses["prompt"], losses["text"]])
        return losses["picture"].mean() + 0.5 * said.mean()

    steps(model, iterations, 2e-3, both_ways)
    return model.eval()


@pytest.mark.slow
@pytest.mark.skipif(not EMOJI.exists(), reason="the icons have not been built")
@pytest.mark.parametrize("patches,iterations", [("linear", 900), ("unet", 900)])
def test_it_draws_the_picture_of_its_prompt_and_describes_it(patches, iterations):
    pictures, texts = some_icons(EMOJI)
    model = trained(pictures, texts, patches, iterations)
    tokenizer = model.picture.tokenizer
    layout = tokenizer.layout(SIDE, SIDE)

    @torch.no_grad()
    def nearest(**settings) -> float:
        opening = model.opening(to_draw(texts, layout))
        drawing = Drawing(layout, [opening], torch.ones(1, COUNT), **settings)
        *_, last = draw(model, drawing, Seeded(range(COUNT)))
        drawn = tokenizer.decode(last.tokens, layout, last.known).flatten(1)
        return float((torch.cdist(drawn, pictures.flatten(1)).argmin(1) == torch.arange(COUNT)).float().mean())

    share = {"all at once": nearest(steps=25)}
    if patches == "linear":
        share |= {
            f"{groups} groups, overlap {overlap}": nearest(steps=25, groups=(groups, overlap))
            for groups, overlap in ((4, 1.0), (4, 0.25), (16, 1.0))
        }
    with torch.no_grad():
        shown = to_describe(tokenizer.encode(pictures, layout).shown, layout)
        written = write(model, shown, Sampling(0), Seeded(range(COUNT)))
    read = sum(said == text for said, text in zip(written, texts, strict=True)) / COUNT
    print(patches, share, "read back", read)
    assert min(share.values()) >= 0.9 and read >= 0.9
