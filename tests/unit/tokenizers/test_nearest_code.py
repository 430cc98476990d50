"""Nearest codes: those of a plain search, in bounded memory."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.tokenizers import nearest_code as module
from kiloword.tokenizers.nearest_code import nearest


@given(st.integers(1, 70), st.integers(1, 200), st.integers(1, 9), st.floats(0.01, 10), st.integers(0, 99))
def test_it_finds_what_a_plain_search_finds(count, codes, channels, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, channels, generator=generator)
    book = torch.randn(codes, channels, generator=generator) * spread
    found = nearest(latents, book)
    distance = (latents.double()[:, None] - book.double()).square().sum(2)
    chosen = distance.gather(1, found[:, None])[:, 0]
    assert torch.allclose(chosen, distance.min(1).values, rtol=1e-5, atol=1e-5)
    clear = distance.topk(min(2, codes), largest=False).values.diff(dim=1).flatten() > 1e-4
    assert torch.equal(found[clear], distance.argmin(1)[clear]) if codes > 1 else (found == 0).all()


@pytest.mark.parametrize("limit", [1, 300, 2**20])
def test_the_memory_does_not_change_what_is_found(monkeypatch, limit):
    latents, book = torch.randn(50, 4), torch.randn(130, 4)
    wanted = nearest(latents, book)
    monkeypatch.setitem(module.SCORES, "cpu", limit)
    assert torch.equal(nearest(latents, book), wanted)


def test_no_more_scores_are_held_at_a_time_than_allowed(monkeypatch):
    held = []
    largest = module._largest
    monkeypatch.setattr(module, "_largest", lambda scores: held.append(scores.numel()) or largest(scores))
    nearest(torch.randn(200, 2), torch.randn(16384, 2))
    assert max(held) <= 2**20 and len(held) == 4


def test_autocast_does_not_blur_the_search():
    latents, book = torch.randn(40, 8), torch.randn(500, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nearest(latents, book)
    assert torch.equal(found, nearest(latents, book))
