"""UniTok's way and MetaMorph's overfit 32 emoji: the recipes' tokenizers and tasks, at a smaller width."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

import tiny
from kiloword import parts
from kiloword.data import shards
from kiloword.data.emoji import wording
from kiloword.data.user_cache import cache_dir
from kiloword.document import to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.recipes import stages
from kiloword.recipes.context import alone
from kiloword.recipes.recipe import Recipe
from kiloword.recipes.registry import load
from kiloword.recipes.training_set import Pictures
from kiloword.recipes.vocabulary import with_vocabulary
from kiloword.training.augmentation import shrink, to_bytes
from kiloword.transformer import AttentionConfig, RMSNormConfig, RotaryConfig, StackConfig, SwiGLUConfig

KNOWN, WIDTH = 32, 128


def smaller(name: str, iterations: int) -> Recipe:
    """The recipe with narrower blocks, fewer of them and few iterations."""
    recipe = load(name)
    attention = AttentionConfig(2, query_norm=RMSNormConfig())
    block = StackConfig(WIDTH, 3, attention, SwiGLUConfig.beside(WIDTH), position=RotaryConfig((24, 8, 16, 16)))
    head, changes = recipe.model.picture.head, {"width": WIDTH}
    if isinstance(head, parts.MulticodeHeadConfig):
        changes["depth"] = replace(block, depth=1, position=None)
    model = replace(
        recipe.model, transformer=block, picture=replace(recipe.model.picture, head=replace(head, **changes)),
        prompt=replace(recipe.model.prompt, width=WIDTH, limit=160, dropout=0.0),
    )  # fmt: skip
    quick = {"warmup": 20, "average": 0.9, "look_every": 0}
    return replace(
        recipe,
        model=model,
        data=replace(recipe.data, versions=1, vocabulary=400),
        tokenizer_training=replace(recipe.tokenizer_training, iterations=160, batch=16, **quick),
        training=replace(recipe.training, iterations=iterations, batch=KNOWN, **quick),
    )


def overfitted(recipe: Recipe, folder: Path, report) -> tuple[ImageModel, torch.Tensor, list[str]]:
    """The overfitted model, the tokens of its pictures, and the prompt of each."""
    data = cache_dir() / "data" / "emoji"
    if not any(data.glob("shard-*.tar")):
        pytest.skip("the emoji have not been built: kiloword data build emoji")
    flat = (sample for sample in shards.read(data) if sample.metadata["style"] == "flat")
    chosen = list(islice(flat, 0, 20 * KNOWN, 20))
    values = torch.stack([to_bytes(sample.picture, 2 * recipe.data.side) for sample in chosen])
    metadata = [sample.metadata for sample in chosen]
    pictures = Pictures(values, metadata, torch.ones(KNOWN), torch.arange(KNOWN))
    torch.manual_seed(0)
    model = parts.build(with_vocabulary(recipe, metadata))
    context = alone(folder, report)
    stages.train_tokenizer(model, recipe, pictures, context)
    stages.train_model(model, recipe, pictures, context)
    layout = model.picture.tokenizer.layout(recipe.data.side, recipe.data.side)
    with torch.no_grad():
        tokens = model.picture.tokenizer.encode(shrink(values, recipe.data.side), layout).target
    return model, tokens, [wording.answer(m) for m in metadata]


@torch.no_grad()
def predicted(model: ImageModel, tokens: torch.Tensor, prompts: list[str], recipe: Recipe) -> list[torch.Tensor]:
    """The likeliest tokens after the true ones, and those that the model draws from the texts alone."""
    layout, one = model.picture.tokenizer.layout(recipe.data.side, recipe.data.side), torch.ones(1, KNOWN)
    head = model.picture.head
    model.picture.head = recorder = tiny.RecordingHead(head)
    model.loss(to_learn(prompts, layout, tokens))
    model.picture.head = head
    seeds = Seeded(range(KNOWN))
    likeliest = head.sample(recorder.take()[None], one, None, Sampling(0), seeds, torch.arange(KNOWN))
    drawing = Drawing(layout, [model.opening(to_draw(prompts, layout))], one, Sampling(0))
    *_, drawn = draw(model, drawing, seeds)
    return [likeliest, drawn.tokens]


@pytest.mark.slow
def test_unitok_learns_90_percent_of_codes(tmp_path, report=lambda *figures: None):
    recipe = smaller("emoji-unitok", iterations=150)
    model, tokens, prompts = overfitted(recipe, tmp_path, report)
    likeliest, drawn = predicted(model, tokens, prompts, recipe)
    commonest = float((tokens == tokens.mode(dim=0).values).float().mean())  # of each position and codebook
    right, freely = (float((found == tokens).float().mean()) for found in (likeliest, drawn))
    report("overfitted", 0, 0, {"right": right, "drawn": freely, "commonest": commonest})
    assert commonest < 0.8 and right >= 0.9


@pytest.mark.slow
def test_metamorph_learns_features_to_a_cosine_of_90_percent(tmp_path, report=lambda *figures: None):
    recipe = smaller("emoji-metamorph", iterations=200)
    model, tokens, prompts = overfitted(recipe, tmp_path, report)
    regressed, drawn = predicted(model, tokens, prompts, recipe)
    middle = float(cosine_similarity(normalize(tokens.mean(0), dim=-1)[None], tokens, dim=-1).mean())  # knows no prompt
    close, freely = (float(cosine_similarity(found, tokens, dim=-1).mean()) for found in (regressed, drawn))
    nearest = torch.einsum("anc,bnc->ab", drawn, tokens).argmax(1)
    matched = float((nearest == torch.arange(KNOWN)).float().mean())
    report("overfitted", 0, 0, {"cosine": close, "drawn": freely, "middle": middle, "matched": matched})
    assert middle < 0.8 and close >= 0.9 and matched >= 0.9
