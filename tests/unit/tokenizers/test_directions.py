"""Directions: the latents of an autoencoder's encoder, of length 1, in the order of the grid; they are not decoded."""

import pytest
import torch

import tiny
from kiloword.tokenizers.directions import DirectionsConfig
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Vector


@torch.no_grad()
def test_tokens_are_directions_of_the_encoders_latents():
    torch.manual_seed(0)
    tokenizer, pixels = DirectionsConfig(tiny.books()).build(), tiny.pixels(2)
    layout = tokenizer.layout(tiny.ROWS, tiny.COLUMNS)
    found = tokenizer.encode(pixels, layout)
    latent = tokenizer.tokenizer.encoder(pixels, layout)
    assert latent.shape[2:] == layout.sizes[-1] == (4, 2)
    for token, (row, column) in enumerate((row, column) for row in range(4) for column in range(2)):
        wanted = latent[:, :, row, column]
        assert torch.allclose(found.target[:, token], wanted / wanted.norm(dim=-1, keepdim=True), atol=1e-6)
    assert torch.equal(found.shown, found.target)
    tokenizer.space.check(found.target)


def test_it_obeys_the_law_of_tokenizers_that_only_encode():
    tokenizer = DirectionsConfig(tiny.books()).build()
    assert isinstance(tokenizer, Tokenizer) and tokenizer.way_back and tokenizer.space == Vector(6)
    assert (tokenizer.stride, tokenizer.channels) == (2, 4)
    layout = tokenizer.layout(tiny.ROWS, tiny.COLUMNS)
    with pytest.raises(ValueError, match="directions cannot be decoded to pixels without a diffusion decoder"):
        tokenizer.decode(torch.zeros(1, 8, 6), layout, torch.ones(1, 8, dtype=torch.bool))


def test_several_grids_are_refused():
    with pytest.raises(ValueError, match="directions need an autoencoder of one grid, and this one has several"):
        DirectionsConfig(tiny.scales()).build()
