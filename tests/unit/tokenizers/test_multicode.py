"""Multicode: each chunk of a latent finds its code by angle in a codebook of its own, and learns as the paper says."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from kiloword.tokenizers.multicode import Multicode, MulticodeConfig
from kiloword.tokenizers.quantizer import UNKNOWN, Quantizer
from kiloword.tokens import Codes, Layout

GRID = Layout(((2, 3),))


def quantizer(codebooks: int = 3, size: int = 5, dim: int = 4) -> Multicode:
    torch.manual_seed(0)
    built = MulticodeConfig(codebooks, size, dim).build()
    built.codebook.data *= torch.rand(len(built.codebook), 1) + 0.5  # files hold codes of any length
    return built


def latents(of: Multicode, seed: int = 1) -> torch.Tensor:
    return torch.randn(2, of.channels, 2, 3, generator=torch.Generator().manual_seed(seed))


def test_every_chunk_finds_the_code_of_the_smallest_angle_in_its_codebook():
    multicode = quantizer()
    latent, codes = latents(multicode), multicode.codebook.view(3, 5, 4)
    tokens = multicode.quantize(latent, GRID).target
    assert isinstance(multicode, Quantizer) and multicode.space == Codes((5, 5, 5))
    for picture in range(2):
        for cell in range(6):
            for book in range(3):
                chunk = latent[picture, 4 * book : 4 * book + 4, cell // 3, cell % 3]
                best = cosine_similarity(chunk[None], codes[book], dim=1).argmax()
                assert tokens[picture, cell, book] == best


def test_neither_the_length_of_latents_nor_that_of_codes_counts():
    multicode = quantizer()
    before = multicode.quantize(latents(multicode), GRID)
    multicode.codebook.data *= 7
    after = multicode.quantize(latents(multicode) * 0.01, GRID)
    assert torch.equal(before.target, after.target) and torch.allclose(before.latent, after.latent, atol=1e-6)
    lengths = after.latent.view(2, 3, 4, 2, 3).norm(dim=2)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-6)


def test_losses_are_mean_squares_that_pull_one_side_each():
    multicode = quantizer()
    latent = latents(multicode).requires_grad_()
    quantized = multicode.quantize(latent, GRID)
    chunks = latent.view(2, 3, 4, 2, 3)
    error = chunks / chunks.norm(dim=2, keepdim=True) - quantized.latent.detach().view(2, 3, 4, 2, 3)
    losses = quantized.losses
    assert torch.allclose(losses["commitment_loss"], error.square().mean())
    assert torch.equal(losses["commitment_loss"], losses["codebook_loss"])
    latent_pull, none = torch.autograd.grad(
        losses["commitment_loss"], [latent, multicode.codebook], allow_unused=True, retain_graph=True
    )
    assert latent_pull.any() and none is None
    none, codes_pull = torch.autograd.grad(losses["codebook_loss"], [latent, multicode.codebook], allow_unused=True)
    assert none is None and codes_pull.any()


def test_the_gradient_is_that_of_the_chunks_of_length_one():
    multicode = quantizer()
    latent, weight = latents(multicode).requires_grad_(), latents(multicode, seed=2)
    (multicode.quantize(latent, GRID).latent * weight).sum().backward()
    same = latent.detach().clone().requires_grad_()
    chunks = same.view(2, 3, 4, 2, 3)
    ((chunks / chunks.norm(dim=2, keepdim=True)).view_as(weight) * weight).sum().backward()
    assert torch.allclose(latent.grad, same.grad, atol=1e-6) and multicode.codebook.grad is None


def test_an_unknown_factor_leaves_its_chunk_empty():
    multicode = quantizer()
    tokens = multicode.quantize(latents(multicode), GRID).target
    whole = multicode.lookup(tokens, GRID)
    tokens[:, 2, 1] = UNKNOWN
    partly = multicode.lookup(tokens, GRID)
    gone = torch.zeros_like(whole, dtype=torch.bool)
    gone[:, 4:8, 0, 2] = True
    assert not partly[gone].any() and torch.equal(partly[~gone], whole[~gone])


def test_a_distribution_looks_up_to_the_mean_of_its_codes():
    multicode = quantizer()
    half = torch.zeros(1, 6, 3, 5)
    half[..., 1] = half[..., 4] = 0.5
    ends = [multicode.lookup(torch.full((1, 6, 3), code), GRID) for code in (1, 4)]
    assert torch.allclose(multicode.lookup(half, GRID), (ends[0] + ends[1]) / 2, atol=1e-6)


def test_an_id_outside_its_codebook_is_not_looked_up_in_the_next():
    multicode = quantizer()
    with pytest.raises(IndexError):
        multicode.lookup(torch.tensor([[[5, 0, 0]] * 6]), GRID)


def test_sizes_that_make_no_codebook_are_refused():
    for wrong in ((0, 8, 2), (2, 0, 2), (2, 8, 0)):
        with pytest.raises(ValueError, match=rf"at least 1: \({wrong[0]}, {wrong[1]}, {wrong[2]}\)"):
            MulticodeConfig(*wrong)
