"""Writing a text for a picture through the cache is what reading the whole stream anew for each token gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.engine.decode import write
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.stream import lay
from kiloword.tokenizers.bpe import END


def likeliest(model: ImageModel, picture: torch.Tensor) -> str:
    """The likeliest token each time, without a cache, for one picture [1, n]."""
    text, layout = model.text, tiny.layout_of(model)
    ids: list[int] = []
    while len(ids) < text.limit and END not in ids:
        so_far = torch.tensor([[*ids, END]])  # the last one is what is asked for
        pick = torch.arange(so_far.shape[1])[None]
        spans = [model.reading_span(picture, layout), text.span(so_far, torch.ones_like(so_far).bool(), pick)]
        hidden = model.transformer(lay(spans))[:, -1]
        ids.append(int(text.head.output(hidden).argmax()))
    return text.tokenizer.decode(ids)


@given(st.sampled_from(tiny.LEGAL), st.integers(0, 99), st.integers(0, 3))
@torch.no_grad()
def test_the_likeliest_text_is_the_same_without_a_cache(case, seed, early):
    model = tiny.model(*case)
    model.text.head.output.weight[END] *= early  # so that some texts end before the limit
    pictures = tiny.tokens(model, 3, seed)
    written = write(model, pictures, tiny.layout_of(model), Sampling(0), Seeded([0, 1, 2]))
    assert written == [likeliest(model, pictures[row : row + 1]) for row in range(3)]


@given(st.sampled_from(tiny.LEGAL))
@torch.no_grad()
def test_a_text_does_not_depend_on_the_other_pictures(case):
    model = tiny.model(*case)
    pictures = tiny.tokens(model, 3)
    together = write(model, pictures, tiny.layout_of(model), Sampling(), Seeded([5, 6, 7]))
    for row in range(3):
        alone = write(model, pictures[row : row + 1], tiny.layout_of(model), Sampling(), Seeded([5 + row]))
        assert alone == [together[row]]


def test_a_model_without_text_says_so():
    model = tiny.model("single", "rows", "factorised")
    model.text = None
    with pytest.raises(ValueError, match="only draws"):
        write(model, tiny.tokens(model, 1), tiny.layout_of(model), Sampling(), Seeded([0]))
