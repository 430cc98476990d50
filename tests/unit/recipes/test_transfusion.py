"""The recipe of Transfusion: words on both sides of a picture are trained, and do not attend to it while noisy."""

import pytest
import torch

import tiny
from kiloword import parts
from kiloword.document import to_describe, to_learn
from kiloword.engine.drive import draw, write
from kiloword.engine.rerank import read_back
from kiloword.heads.head import Sampling
from kiloword.heads.level import ModulatingLevelConfig
from kiloword.heads.velocity import VelocityConfig
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.orders.denoise import DenoiseConfig
from kiloword.recipes import model_run
from kiloword.recipes.registry import load
from kiloword.recipes.transfusion import PATCHES, image_model, stack
from kiloword.recipes.vocabulary import with_vocabulary
from kiloword.tokenizers.patched import PatchedConfig
from kiloword.tokens import Vector

TEXTS = ["a red apple", "a pear"]


def small(patches: str = "linear") -> ImageModel:
    """Pictures of 4 x 2 tokens, or of 2 x 1 that hold four latents each."""
    torch.manual_seed(0)
    linear = patches == "linear"
    tokenizer = tiny.vectors() if linear else PatchedConfig(tiny.vectors(), 2)
    head = VelocityConfig(Vector(4 if linear else 16), 64, PATCHES[patches], ModulatingLevelConfig())
    return tiny.awake(parts.build(image_model(tokenizer, head, stack(64, 2), tiny.words(), 9))).eval()


def test_the_recipe_is_built_and_written_down():
    recipe = load("transfusion-64")
    assert parts.from_json(parts.to_json(recipe.model)) == recipe.model
    metadata = {"caption": "a red apple", "style": "flat", "keywords": ["red"], "translations": {}}
    filled = with_vocabulary(recipe, [metadata])
    with torch.device("meta"):
        model = parts.build(filled)
    assert model.text is not None and model.text.head.space == model.text.tokenizer.space
    card = model_run.card(recipe)
    assert card.temperature == 1 and set(card.styles) == {"flat"}


@pytest.mark.parametrize("patches", PATCHES)
def test_both_directions_are_learned_and_every_weight_hears_of_it(patches):
    model = small(patches)
    assert isinstance(model.picture.order.config, DenoiseConfig)
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 2)
    documents = [*to_learn(TEXTS, layout, tokens, predict_prompts=True), *to_describe(tokens[:1], layout, ["a pear"])]
    losses = model.loss(documents, Seeded([1, 2]))
    assert {name: len(loss.mask) for name, loss in losses.items()} == {"picture": 2, "prompt": 2, "text": 1}
    assert losses["picture"].mask.shape == (2, layout.count)
    sum(loss.masked().sum() for loss in losses.values()).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [n for n in silent if "tokenizer" not in n] == []


@pytest.mark.parametrize("patches", PATCHES)
@torch.no_grad()
def test_noise_is_not_heard_by_the_words_before_it_and_a_caption_hears_a_clean_picture(patches):
    model = small(patches)
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 2)
    other = tokens + 1

    def text_losses(shown: torch.Tensor, seen: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        documents = to_learn(TEXTS, layout, tokens, shown, predict_prompts=True)
        losses = model.loss([*documents, *to_describe(seen[:1], layout, ["a pear"])], Seeded([seed, 2]))
        return losses["prompt"].masked(), losses["text"].masked()

    prompts, caption = text_losses(tokens, tokens, 1)
    for found, before in zip(text_losses(other, tokens, 3), (prompts, caption), strict=True):
        assert torch.allclose(found, before, atol=1e-5)
    again, other_caption = text_losses(tokens, other, 1)
    assert torch.allclose(again, prompts, atol=1e-5) and (other_caption - caption).abs().max() > 1e-4


@pytest.mark.parametrize("patches", PATCHES)
@torch.no_grad()
def test_it_draws_fast_as_slow_writes_and_reads_back(patches):
    model = small(patches)
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 2)
    drawing = tiny.drawing(model, TEXTS, 2.0, steps=3, groups=(2, 0.5))
    for one, two in zip(model.draw(drawing, Seeded([1, 2])), draw(model, drawing, Seeded([1, 2])), strict=True):
        assert torch.allclose(one.tokens, two.tokens, atol=1e-4)
    assert len(write(model, to_describe(tokens, layout), Sampling(), Seeded([1, 2]))) == 2
    likely = read_back(model, tokens, layout, [[text] for text in TEXTS])
    assert torch.allclose(likely, -tiny.text_losses(model, TEXTS, tokens).sum(1), atol=1e-3)
