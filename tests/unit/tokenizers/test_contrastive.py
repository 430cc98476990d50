"""Contrastive: a tokenizer like the one inside it, and vectors of pictures and texts that can be compared."""

import math

import pytest
import torch

import tiny
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.contrastive import Contrastive, ContrastiveConfig, TextTower, TextTowerConfig, contrastive_loss
from kiloword.tokenizers.factorisation import FactorisationConfig
from kiloword.tokenizers.multicode import MulticodeConfig
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.transformer import AttentionConfig, GELUConfig, LayerNormConfig, StackConfig

STACK = StackConfig(8, 2, AttentionConfig(2, bias=True), GELUConfig(16, "none"), LayerNormConfig())
TEXT = TextTowerConfig(STACK, vocabulary=10, context=6)
IDS = torch.tensor([[8, 3, 9, 0, 0], [8, 2, 2, 5, 9]])


def tower() -> TextTower:
    torch.manual_seed(0)
    return TEXT.build(5)


def contrastive() -> Contrastive:
    torch.manual_seed(0)
    network = FactorisationConfig(tiny.vit(), 12)
    return ContrastiveConfig(AutoencoderConfig(network, network, MulticodeConfig(2, 8, 3)), TEXT, 5).build()


@torch.no_grad()
def test_what_follows_the_end_of_a_text_has_no_effect_and_what_comes_before_has():
    text = tower()
    before = text(IDS)
    behind, inside = IDS.clone(), IDS.clone()
    behind[0, 3:] = 4
    inside[0, 1] = 4
    assert torch.allclose(text(behind), before, atol=1e-6)
    assert not torch.allclose(text(inside)[0], before[0], atol=1e-3)
    assert torch.allclose(text(IDS[:1, :3]), before[:1], atol=1e-6)


@torch.no_grad()
def test_the_order_of_words_counts():
    text = tower()
    assert not torch.allclose(text(IDS[1:]), text(IDS[1:, [0, 3, 1, 2, 4]]), atol=1e-3)


@torch.no_grad()
def test_it_is_the_tokenizer_inside_it():
    outer = contrastive()
    inner, pixels = outer.tokenizer, tiny.pixels(2)
    assert isinstance(outer, Tokenizer)
    assert (outer.space, outer.stride, outer.channels) == (inner.space, inner.stride, inner.channels)
    layout = outer.layout(8, 4)
    tokens = outer.encode(pixels, layout).target
    known = torch.ones(2, 8, dtype=torch.bool)
    assert layout == inner.layout(8, 4) and torch.equal(tokens, inner.encode(pixels, layout).target)
    assert torch.equal(outer.decode(tokens, layout, known), inner.decode(tokens, layout, known))


@torch.no_grad()
def test_similarities_are_cosines_of_what_tokens_and_texts_mean():
    model = contrastive()
    layout = model.layout(8, 4)
    latent = model.encode(tiny.pixels(2), layout).latent
    mean = model.tokenizer.decoder.features(latent, layout).mean((2, 3))
    pictures, texts = model.leave(model.norm(mean)), model.text(IDS)
    cosines = torch.nn.functional.cosine_similarity(pictures[:, None], texts[None], dim=-1)
    assert torch.allclose(model.similarity(latent, layout, IDS), cosines / 0.07, atol=1e-4)
    for vectors in (model.picture_vectors(latent, layout), model.text_vectors(IDS)):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(2))


def test_the_loss_looks_for_the_text_and_for_the_picture():
    assert torch.allclose(contrastive_loss(torch.zeros(4, 4)), torch.tensor(math.log(4)))
    assert contrastive_loss(torch.eye(4) * 50) < 1e-6 < contrastive_loss(torch.eye(4).flip(0) * 50)
    lopsided = torch.tensor([[9.0, 9.0], [0.0, 0.0]])  # every text prefers the first picture
    wanted = (math.log(2) + (math.log1p(math.exp(-9)) + math.log1p(math.exp(9))) / 2) / 2
    assert torch.allclose(contrastive_loss(lopsided), torch.tensor(wanted))


def test_both_sides_learn():
    model = contrastive()
    layout = model.layout(8, 4)
    contrastive_loss(model.similarity(model.encode(tiny.pixels(2), layout).latent, layout, IDS)).backward()
    learns = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    sides = ("text.", "norm.", "leave.", "log_scale", "tokenizer.encoder.", "tokenizer.decoder.project.")
    assert all(any(name.startswith(side) for name in learns) for side in sides)
    assert not any(name.startswith("tokenizer.decoder.network.") for name in learns)


def test_what_cannot_be_read_is_refused():
    for ids, message in ((IDS + 1, r"\[0, 10\), got 1 to 10"), (IDS - 9, "got -9 to 0"), (IDS[:, :0], "6 ids, got 0")):
        with pytest.raises(ValueError, match=message):
            tower()(ids)
    with pytest.raises(ValueError, match="1 to 6 ids, got 7"):
        tower()(torch.zeros(1, 7, dtype=torch.long))
    with pytest.raises(ValueError, match="got 0 and 6"):
        TextTowerConfig(STACK, 0, 6)
    with pytest.raises(ValueError, match="ViTDecoder has no features"):
        ContrastiveConfig(tiny.autoencoder(), TEXT).build()
