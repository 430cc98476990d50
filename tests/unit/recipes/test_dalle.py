"""The small DALL-E is put together as the paper says, is saved and loaded whole, and overfits 32 pictures."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

import icons
import shared_vocab
import tiny
from kiloword import checkpoint, parts
from kiloword.data import shards
from kiloword.data.emoji import wording
from kiloword.data.user_cache import cache_dir
from kiloword.document import to_learn
from kiloword.engine.card import Card
from kiloword.engine.drive import draw
from kiloword.heads.head import Sampling
from kiloword.noise import Seeded
from kiloword.recipes import model_run, registry, stages
from kiloword.recipes.context import alone
from kiloword.recipes.dalle import dalle_64, shared_vocab_head, stack
from kiloword.recipes.recipe_names import names
from kiloword.recipes.registry import load
from kiloword.recipes.training_set import Pictures
from kiloword.recipes.vocabulary import with_vocabulary
from kiloword.training.augmentation import shrink, to_bytes
from kiloword.transformer import ColumnPattern, ConvolutionPattern, WrappedRowPattern
from kiloword.transformer.pattern import dalle

KNOWN = 32


def test_layers_are_the_papers():
    """Columns in layers 2, 6, 10, ... of 64, a convolution of 11x11 in the last, rows elsewhere."""
    layers = dalle(64)
    assert [layer for layer, pattern in enumerate(layers, 1) if pattern == ColumnPattern()] == list(range(2, 64, 4))
    assert layers[-1] == ConvolutionPattern(5) and layers.count(WrappedRowPattern()) == 64 - 16 - 1


def test_sizes_of_the_paper_make_twelve_billion():
    with torch.device("meta"):
        parts_of_it = [stack(62, 64, radius=5).build(), shared_vocab_head(16384, 256, 8192, 64 * 62, 32).build()]
    assert round(sum(p.numel() for part in parts_of_it for p in part.parameters()) / 1e9, 1) == 12.3
    vocabulary = parts_of_it[1].embedding.weight
    assert vocabulary.shape == parts_of_it[1].output.weight.shape == (16384 + 256 + 8192, 3968)


def test_the_recipe_is_small_and_weighs_text_to_pictures_as_one_to_seven():
    recipe = load("dalle-64")
    assert recipe == dalle_64() and recipe.name in names()
    assert 1e6 < sum(p.numel() for p in parts.build(recipe.model).parameters()) < 3e6
    assert recipe.task.text_weight == pytest.approx(1 / 7)
    assert model_run.card(recipe).guidance == 1


@torch.no_grad()
def test_a_checkpoint_keeps_one_vocabulary_and_draws_the_same(tmp_path):
    config, model = shared_vocab.config(), shared_vocab.model()
    assert parts.from_json(parts.to_json(config)) == config
    card = Card("tiny", ((tiny.ROWS, tiny.COLUMNS),))
    checkpoint.save(tmp_path / "dalle", model, card, config, dtype=torch.float32)
    again = checkpoint.load(tmp_path / "dalle").model
    assert again.text.head.shared is again.picture.head and again.prompt.embedders[0].shared is again.picture.head
    *_, drawn = draw(model, tiny.drawing(model, ["a pear"]), Seeded([1]))
    *_, same = draw(again, tiny.drawing(again, ["a pear"]), Seeded([1]))
    assert torch.equal(drawn.tokens, same.tokens)


def test_a_joint_head_must_be_named_by_both():
    config = shared_vocab.config()
    other = replace(config.picture, head=replace(config.picture.head, limit=shared_vocab.LIMIT + 1))
    with pytest.raises(ValueError, match="must be the same for text and pictures"):
        replace(config, picture=other).build()
    with pytest.raises(ValueError, match="this model has none"):
        replace(config, text=None).build()
    with pytest.raises(ValueError, match="texts of 9 tokens and their end do not fit into 9 positions"):
        replace(config.text, limit=shared_vocab.LIMIT)


def test_pictures_in_and_a_model_with_its_judge_out(tmp_path):
    """The judge is trained on the model's words and tokens, is kept beside it, and chooses among candidates."""
    data = icons.write_icons(tmp_path / "icons", count=9, held_out=3)
    steps = {f"{stage}.{name}": value for stage in ("tokenizer_training", "training", "judge_training")
             for name, value in {"iterations": "2", "batch": "4", "look_every": "0"}.items()}  # fmt: skip
    small = {"data.versions": "1", "data.vocabulary": "300", "model.transformer.depth": "2",
             "model.transformer.patterns": "", "judge.text.depth": "1", "judge.picture.depth": "1"}  # fmt: skip
    stages = []
    folder = registry.run(
        "dalle-64", data=data, out=tmp_path / "run", changes={**steps, **small},
        report=lambda stage, *rest: stages.append(stage),
    )  # fmt: skip
    assert list(dict.fromkeys(stages)) == ["tokenizer", "pictures encoded", "model", "judge"]
    painter = checkpoint.load(folder)
    assert painter.judge.config.words == checkpoint.read_config(folder)[0].prompt.text
    (kept,) = painter.generate("an icon", candidates=3, seed=1)
    assert kept.size == (64, 64)
    (folder / checkpoint.JUDGE).write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"judge\.safetensors is not a whole safetensors file"):
        checkpoint.load(folder)


@pytest.mark.slow
def test_it_learns_pictures_by_heart(tmp_path, report=lambda *figures: None):
    """dVAE and transformer of the recipe, on 32 emoji of one style: 90 % of picture tokens are likeliest."""
    folder = cache_dir() / "data" / "emoji"
    if not any(folder.glob("shard-*.tar")):
        pytest.skip("the emoji have not been built: kiloword data build emoji")
    recipe = dalle_64()
    flat = (sample for sample in shards.read(folder) if sample.metadata["style"] == "flat")
    chosen = list(islice(flat, 0, 20 * KNOWN, 20))
    values = torch.stack([to_bytes(sample.picture, 2 * recipe.data.side) for sample in chosen])
    metadata = [sample.metadata for sample in chosen]
    pictures = Pictures(values, metadata, torch.ones(KNOWN), torch.arange(KNOWN))
    recipe = replace(
        recipe,
        data=replace(recipe.data, versions=1, vocabulary=400),
        tokenizer_training=replace(
            recipe.tokenizer_training, iterations=160, batch=16, warmup=20, average=0.9, look_every=0
        ),
        training=replace(recipe.training, iterations=100, batch=KNOWN, warmup=20, average=0.9, look_every=0),
    )
    torch.manual_seed(0)
    model = parts.build(with_vocabulary(recipe, metadata))
    context = alone(tmp_path, report)
    stages.train_tokenizer(model, recipe, pictures, context)
    stages.train_model(model, recipe, pictures, context)
    prompts = [wording.answer(m) for m in metadata]
    layout = model.picture.tokenizer.layout(recipe.data.side, recipe.data.side)
    with torch.no_grad():
        tokens = model.picture.tokenizer.encode(shrink(values, recipe.data.side), layout).target
        model.picture.head = head = tiny.RecordingHead(model.picture.head)
        model.loss(to_learn(prompts, layout, tokens))
        likeliest = head.head.sample(
            head.take()[None], torch.ones(1, KNOWN), None, Sampling(0), Seeded(range(KNOWN)), torch.arange(KNOWN)
        )
    right = float((likeliest == tokens).float().mean())
    codes = len(tokens.unique())
    report("overfitted", 0, 0, {"right": right, "codes": codes})
    assert codes > 20 and right >= 0.9
