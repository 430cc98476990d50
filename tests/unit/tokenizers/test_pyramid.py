"""The pyramid: a draft of the picture stands before it, and is shown where the picture is not known yet."""

import pytest
import torch

import tiny
from kiloword.tokenizers.pyramid import Pyramid, PyramidConfig


def pyramid(shrink: tuple[int, ...] = (2,)) -> Pyramid:
    torch.manual_seed(0)
    return PyramidConfig(tiny.autoencoder(), shrink).build()


def test_the_layout_goes_from_coarse_to_fine():
    assert pyramid().layout(8, 4).sizes == ((2, 1), (4, 2))
    assert pyramid((4, 2)).layout(16, 8).sizes == ((2, 1), (4, 2), (8, 4))


@torch.no_grad()
def test_each_grid_is_encoded_as_the_inner_tokenizer_does():
    outer = pyramid()
    layout, pixels = outer.layout(8, 4), tiny.pixels(2)
    target = outer.encode(pixels, layout).target
    fine = outer.tokenizer.encode(pixels, outer.grid(layout, 1)).target
    draft = torch.nn.functional.avg_pool2d(pixels, 2)
    coarse = outer.tokenizer.encode(draft, outer.grid(layout, 0)).target
    assert torch.equal(target, torch.cat([coarse, fine], dim=1))


@torch.no_grad()
def test_the_draft_is_shown_where_the_picture_is_unknown():
    outer = pyramid()
    layout = outer.layout(8, 4)
    tokens = outer.encode(tiny.pixels(1), layout).target
    none, draft, half, whole = (torch.arange(10)[None] < count for count in (0, 2, 6, 10))
    assert (outer.decode(tokens, layout, none) == -1).all()
    only_draft, picture = outer.decode(tokens, layout, draft), outer.decode(tokens, layout, whole)
    between = outer.decode(tokens, layout, half)
    assert not torch.equal(only_draft, picture)
    assert torch.equal(between[:, :, 4:], only_draft[:, :, 4:])
    fine = outer.tokenizer.decode(tokens[:, 2:], outer.grid(layout, 1), half[:, 2:])
    assert torch.allclose(between[:, :, :4], fine[:, :, :4])
    inner = outer.tokenizer.decode(tokens[:, 2:], outer.grid(layout, 1), whole[:, 2:])
    assert torch.allclose(picture, inner)


@torch.no_grad()
def test_pictures_of_a_batch_may_be_known_differently():
    outer = pyramid()
    layout = outer.layout(8, 4)
    tokens = outer.encode(tiny.pixels(2), layout).target
    known = torch.arange(10)[None] < torch.tensor([[2], [10]])
    together = outer.decode(tokens, layout, known)
    for i in range(2):
        alone = outer.decode(tokens[i : i + 1], layout, known[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5)


def test_sizes_without_a_whole_draft_are_refused():
    with pytest.raises(ValueError, match="2 times smaller than 7x4"):
        pyramid().layout(7, 4)
    with pytest.raises(ValueError, match="multiples of 2, got 3x2"):
        pyramid().layout(6, 4)


@pytest.mark.parametrize("shrink", [(), (1,), (2, 4)])
def test_factors_go_from_large_to_small(shrink):
    with pytest.raises(ValueError, match="the largest first"):
        PyramidConfig(tiny.autoencoder(), shrink)
