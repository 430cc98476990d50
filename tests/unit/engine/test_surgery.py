"""Surgery on grids of every kind of token, with tokenizers whose every token paints its own cell and no other."""

import pytest
import torch
from torch import Tensor

import tiny
from kiloword.engine import surgery
from kiloword.engine.fitting import fit
from kiloword.engine.notation import Notation, Place
from kiloword.pixels import to_image
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.palette import PaletteConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.tokens import Bits, Categorical, Codes, Layout, Vector

LAYOUT = Layout(((1, 1), (2, 3)))


def palette(stride: int = 2):
    return AutoencoderConfig(PixelwiseConfig(stride), PixelwiseConfig(stride), PaletteConfig(5)).build()


def grid(*tail: int) -> Tensor:
    """Tokens that are all different: of grid 0, then of grid 1, row by row."""
    numbers = torch.arange(7).view(1, 7, *(1,) * len(tail)).expand(1, 7, *tail)
    return (numbers + 10 * torch.arange(tail[0])) if tail else numbers


@pytest.mark.parametrize("tail", [(), (3,)])
def test_flipping_turns_every_grid_and_twice_is_not_at_all(tail: tuple[int, ...]):
    tokens = grid(*tail)
    order = {"x": [0, 3, 2, 1, 6, 5, 4], "y": [0, 4, 5, 6, 1, 2, 3]}
    for axis, index in order.items():
        turned = surgery.flip(tokens, LAYOUT, axis)
        assert torch.equal(turned, tokens[:, index])
        assert torch.equal(surgery.flip(turned, LAYOUT, axis), tokens)


@pytest.mark.parametrize("tail", [(), (3,)])
def test_stitching_takes_the_middle_from_the_first(tail: tuple[int, ...]):
    first, second = grid(*tail), grid(*tail) + 100
    beside = surgery.stitch(first, second, LAYOUT, "x")
    assert torch.equal(beside[:, [0, 1, 2, 4, 5]], first[:, [0, 1, 2, 4, 5]])
    assert torch.equal(beside[:, [3, 6]], second[:, [3, 6]])
    above = surgery.stitch(first, second, LAYOUT, "y")
    assert torch.equal(above[:, :4], first[:, :4]) and torch.equal(above[:, 4:], second[:, 4:])
    assert torch.equal(surgery.stitch(first, first, LAYOUT), first)


def test_changing_leaves_the_old_grid_alone():
    tokens = grid(3)
    changed = surgery.change(
        tokens, LAYOUT, [(Place(1, 1, 2), torch.tensor([7, 8, 9])), (Place(0, 0, 0), torch.zeros(3))]
    )
    assert changed[0, 6].tolist() == [7, 8, 9] and changed[0, 0].tolist() == [0, 0, 0]
    assert torch.equal(changed[:, 1:6], tokens[:, 1:6]) and torch.equal(tokens, grid(3))


def test_a_sweep_of_ids_is_spread_over_the_codebook():
    (row,) = surgery.sweep(torch.tensor(4), Notation(Categorical(9)), 3)
    assert [(trial.label, int(trial.token), trial.same) for trial in row] == [
        ("0", 0, False), ("4", 4, True), ("8", 8, False),
    ]  # fmt: skip
    assert len(surgery.sweep(torch.tensor(4), Notation(Categorical(9)), 50)[0]) == 9
    (row,) = surgery.sweep(torch.tensor(7), Notation(Categorical(9)), 3)
    assert [trial.label for trial in row] == ["0", "4", "7"] and row[2].same


def test_a_sweep_of_codes_changes_one_code_of_the_group_at_a_time():
    token = torch.tensor([0, 1, 2, 0])
    rows = surgery.sweep(token, Notation(Codes((3, 2) * 2), 2), 8, group=1)
    assert [[trial.label for trial in row] for row in rows] == [
        ["code 0 = 0", "code 0 = 1", "code 0 = 2"], ["code 1 = 0", "code 1 = 1"],
    ]  # fmt: skip
    assert [trial.token.tolist() for row in rows for trial in row if not trial.same] == [
        [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 2, 1],
    ]  # fmt: skip


def test_a_sweep_of_bits_turns_each_over():
    rows = surgery.sweep(torch.tensor([0, 1]), Notation(Bits(2)), 8)
    assert [(row[0].label, row[0].token.tolist()) for row in rows] == [("bit 0 = 1", [1, 1]), ("bit 1 = 0", [0, 0])]


def test_a_picture_is_read_drawn_and_changed_in_one_cell_only():
    tokenizer, layout = palette(), Layout(((4, 3),))
    tokens = torch.arange(12).remainder(5)[None]
    fitted = fit(tokenizer, to_image(surgery.draw(tokenizer, tokens, layout)[0]))
    assert torch.equal(surgery.read(tokenizer, fitted), tokens)
    place = Place(0, 1, 2)
    changed = surgery.change(tokens, layout, [(place, torch.tensor(4))])
    difference = surgery.difference(surgery.draw(tokenizer, tokens, layout), surgery.draw(tokenizer, changed, layout))[
        0
    ]
    found = surgery.where(difference, layout, [place])
    assert found.box == (2, 4, 4, 6) and found.pixels == 4 and found.of == 48
    assert found.inside == pytest.approx(1) and found.largest == pytest.approx(1.0)
    nothing = surgery.where(torch.zeros(8, 6), layout, [place])
    assert nothing.box is None and nothing.pixels == 0 and nothing.inside == 0


def test_many_pictures_are_those_drawn_one_by_one():
    tokenizer, layout = palette(), Layout(((2, 2),))
    grids = torch.randint(5, (5, 4), generator=torch.Generator().manual_seed(0))
    together = torch.stack(list(surgery.draw_many(tokenizer, grids, layout, batch=2)))
    assert torch.equal(together, surgery.draw(tokenizer, grids, layout)) and together.shape == (5, 4, 4, 4)


def test_where_tells_the_cell_from_what_is_next_to_it_and_far():
    layout, change = Layout(((4, 4),)), torch.zeros(8, 8)
    change[2, 2], change[1, 1], change[7, 7] = 0.5, 0.3, 0.2
    found = surgery.where(change, layout, [Place(0, 1, 1)])
    assert (found.pixels, found.box) == (3, (1, 1, 8, 8))
    assert found.inside == pytest.approx(0.5) and found.near == pytest.approx(0.8) and found.largest == 0.5


def test_cells_are_those_of_the_places_own_grid():
    assert surgery.cell((8, 12), LAYOUT, Place(0, 0, 0)) == (0, 0, 8, 12)
    assert surgery.cell((8, 12), LAYOUT, Place(1, 1, 0)) == (4, 0, 8, 4)
    assert surgery.cell((8, 12), LAYOUT, Place(1, 1, 0), reach=1) == (0, 0, 8, 8)
    assert surgery.cells((8, 12), LAYOUT, [Place(1, 0, 0), Place(1, 1, 2)]).sum() == 32


def test_a_difference_sees_alpha_too():
    clear, white = torch.full((1, 4, 2, 2), -1.0), torch.ones(1, 4, 2, 2)
    half = torch.zeros(1, 4, 2, 2)
    assert (surgery.difference(clear, white) == 1).all() and (surgery.difference(clear, half) == 0.5).all()


def test_bits_of_a_pyramid_are_those_of_its_finest_grid():
    pyramid, inner = tiny.PyramidConfig(tiny.ShadesConfig(4)).build(), tiny.ShadesConfig(4).build()
    assert surgery.bits(pyramid, pyramid.layout(8, 8)) == surgery.bits(inner, inner.layout(8, 8)) == 32


@pytest.mark.parametrize(
    ("space", "tokens"),
    [
        (Categorical(4096), torch.tensor([7, 7, 8, 4000, 9])),
        (Codes((4, 3)), torch.tensor([[0, 1], [0, 1], [3, 2], [1, 1], [2, 0]])),
        (Bits(5), torch.tensor([[0, 1, 1, 0, 1]] * 2 + [[1, 1, 1, 1, 1]] + [[0, 0, 0, 0, 1]] * 2)),
        (Vector(16), torch.cat([torch.ones(2, 16), torch.randn(3, 16, generator=torch.Generator().manual_seed(0))])),
    ],
)
def test_equal_tokens_have_equal_colours_and_others_have_others(space, tokens: Tensor):
    colours = surgery.colours(tokens, Notation(space))
    assert colours.shape == (5, 3) and colours.min() >= 0 and colours.max() <= 1
    assert torch.allclose(colours[0], colours[1], atol=1e-5) and (colours[0] - colours[2]).abs().max() > 0.05


def test_a_single_token_has_a_colour():
    assert surgery.colours(torch.tensor([[1, 0]]), Notation(Bits(2))).shape == (1, 3)


def test_the_seam_is_in_the_middle_of_the_cut():
    change = torch.zeros(4, 10)
    change[:, 5], change[:, 9] = 0.75, 0.25
    assert surgery.seam(change, "x", 6, 1) == pytest.approx(0.75) and surgery.seam(change, "y", 2, 2) == pytest.approx(
        1
    )
