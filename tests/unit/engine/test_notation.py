"""How tokens and places are written and read; what is no token is named with what would be one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.engine.notation import Notation, Place, read_place, split_change
from kiloword.tokens import Bits, Categorical, Codes, Layout, TokenSpace, Vector

FSQ = Codes((8, 8, 8, 5, 5))


def token(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def test_the_first_code_counts_least_and_the_first_bit_most():
    assert Notation(FSQ).number([3, 7, 1, 0, 4]) == 3 + 7 * 8 + 1 * 64 + 0 * 512 + 4 * 2560
    assert Notation(Bits(4)).number([0, 1, 1, 0]) == 6
    assert Notation(FSQ).codes(1026) == [2, 0, 0, 2, 0]
    assert Notation(Bits(4)).codes(6) == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("space", "groups", "value", "written"),
    [
        (Categorical(4096), 1, torch.tensor(1026), "1026"),
        (FSQ, 1, token(3, 7, 1, 0, 4), "3.7.1.0.4"),
        (Bits(4), 1, token(0, 1, 1, 0), "0110"),
        (Codes((4, 3) * 2), 2, token(1, 2, 3, 0), "9/3"),
    ],
)
def test_tokens_are_written_and_read_back(space: TokenSpace, groups: int, value: torch.Tensor, written: str):
    notation = Notation(space, groups)
    assert notation.write(value) == written
    assert torch.equal(notation.read(written, torch.zeros_like(value)), value)


@given(st.lists(st.integers(2, 9), min_size=1, max_size=6), st.integers(1, 3), st.data())
def test_every_token_of_groups_comes_back(sizes: list[int], groups: int, data: st.DataObject):
    notation = Notation(Codes(tuple(sizes * groups)), groups)
    value = torch.tensor([data.draw(st.integers(0, size - 1)) for size in sizes * groups])
    assert torch.equal(notation.read(notation.write(value), torch.zeros_like(value)), value)
    dotted = "/".join(notation.parts(value, flat=False))
    assert torch.equal(notation.read(dotted, torch.zeros_like(value)), value)


def test_groups_that_are_left_out_stay():
    notation, old = Notation(Codes((4, 3) * 3), 3), token(1, 1, 2, 2, 3, 0)
    assert notation.read("0", old).tolist() == [0, 0, 2, 2, 3, 0]
    assert notation.read("-/3.1", old).tolist() == [1, 1, 3, 1, 3, 0]
    assert old.tolist() == [1, 1, 2, 2, 3, 0]


def test_zeros_and_ones_in_full_are_bits_and_else_a_number():
    assert Notation(Bits(4)).read("1000", token(0, 0, 0, 0)).tolist() == [1, 0, 0, 0]
    assert Notation(Bits(4)).read("10", token(0, 0, 0, 0)).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("space", "groups", "text", "said"),
    [
        (Categorical(4096), 1, "4096", "token 4096 is out of range: write one from 0 to 4,095"),
        (Categorical(4096), 1, "-1", "'-1' is no token: write a number from 0 to 4,095"),
        (Categorical(4096), 1, "1.2", "token 1.2 has 2 codes: write a number"),
        (FSQ, 1, "12800", "token 12800 is out of range: write one from 0 to 12,799"),
        (FSQ, 1, "3.7.1.5.4", "code 5 of token 3.7.1.5.4 is out of range: write one from 0 to 4"),
        (FSQ, 1, "3.7.1", r"token 3.7.1 has 3 codes: write 1.1.1.1.1, or a number from 0 to 12,799"),
        (FSQ, 1, "red", "'red' is no token"),
        (Codes((4, 3) * 2), 2, "1/2/3", "'1/2/3' has 3 groups, a token here has 2"),
        (Bits(4), 1, "16", "token 16 is out of range: write one from 0 to 15"),
        (Codes((9,) * 30), 1, "1.2", "30 codes with dots between"),
    ],
)
def test_what_is_no_token_is_named(space: TokenSpace, groups: int, text: str, said: str):
    old = torch.zeros(space.tail, dtype=torch.long)
    with pytest.raises(ValueError, match=said):
        Notation(space, groups).read(text, old)


def test_real_numbers_have_no_names():
    with pytest.raises(ValueError, match="vectors of 16 real numbers"):
        _ = Notation(Vector(16)).sizes
    assert Notation(Vector(16)).about() == "vectors of 16 real numbers"


@pytest.mark.parametrize(
    ("space", "groups", "said"),
    [
        (Categorical(4096), 1, "ids from 0 to 4,095"),
        (Bits(18), 1, "18 bits"),
        (FSQ, 1, "5 codes of 8, 8, 8, 5 and 5 values"),
        (Codes((8, 8, 8, 5, 5) * 8), 8, "8 groups of 5 codes of 8, 8, 8, 5 and 5 values"),
        (Codes((4096,) * 8), 1, "8 codes of 4,096 values"),
    ],
)
def test_spaces_are_put_into_words(space: TokenSpace, groups: int, said: str):
    assert Notation(space, groups).about() == said


def test_groups_are_found_in_wrapped_tokenizers():
    pyramid = tiny.PyramidConfig(tiny.autoencoder(groups=3)).build()
    assert Notation.of(pyramid) == Notation(Codes(tiny.LEVELS * 3), 3)
    assert Notation.of(tiny.ShadesConfig().build()) == Notation(Categorical(5), 1)


LAYOUT = Layout(((1, 2), (2, 3)))


def test_places_are_counted_from_zero_in_the_finest_grid_or_a_named_one():
    assert read_place("1,2", LAYOUT) == Place(1, 1, 2) and read_place("1,2", LAYOUT).index(LAYOUT) == 7
    assert read_place(" 0:0,1", LAYOUT) == Place(0, 0, 1) and Place(0, 0, 1).index(LAYOUT) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2,0", "2,0 is outside the grid of 2 rows and 3 columns: rows are 0 to 1, columns 0 to 2"),
        ("0,3", "outside the grid"),
        ("2:0,0", "there is no grid 2: this picture has grids 0 to 1"),
        ("1;2", "'1;2' is no place"),
        ("-1,0", "'-1,0' is no place"),
    ],
)
def test_places_outside_are_named_with_those_inside(text: str, said: str):
    with pytest.raises(ValueError, match=said):
        read_place(text, LAYOUT)


def test_a_change_is_a_place_and_a_token():
    assert split_change("16,16=1026") == ("16,16", "1026")
    for text in ("16,16", "16,16=", "="):
        with pytest.raises(ValueError, match="is no change: write ROW,COLUMN=TOKEN"):
            split_change(text)
