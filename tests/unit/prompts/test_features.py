"""Features of a text are positions without y and x, the last one starts the picture; the null condition has as many."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.prompts.features import Features, FeaturesConfig

ROWS, CHANNELS, WIDTH = 6, 5, 8
LENGTHS = st.lists(st.integers(1, ROWS), min_size=1, max_size=4)


def made() -> Features:
    torch.manual_seed(0)
    return FeaturesConfig(CHANNELS, WIDTH, ROWS).build()


def features(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(length, CHANNELS, generator=torch.Generator().manual_seed(seed))


def rows(condition, index: int) -> torch.Tensor:
    """All positions of one text, the one that starts the picture last."""
    return torch.cat([condition.prefix[index, condition.present[index]], condition.start[index : index + 1]])


@given(LENGTHS)
@torch.no_grad()
def test_a_text_is_read_alone_as_in_company(lengths):
    prompt = made()
    texts = [features(length, seed) for seed, length in enumerate(lengths)]
    together = prompt.read(texts)
    assert together.causal and not together.placed and together.vector is None
    for index, text in enumerate(texts):
        present = together.present[index].tolist()
        assert present == sorted(present, reverse=True) and sum(present) == len(text) - 1
        assert torch.allclose(rows(together, index), rows(prompt.read([text]), 0), atol=1e-6)
        assert torch.allclose(rows(together, index), prompt.out(torch.nn.GELU("tanh")(prompt.enter(text))), atol=1e-6)


@given(LENGTHS)
@torch.no_grad()
def test_the_null_condition_has_as_many_rows_of_its_own(lengths):
    prompt = made()
    condition = prompt.read([features(length) for length in lengths])
    null, whole = prompt.null(condition), prompt.read([None])
    assert torch.equal(null.present, condition.present)
    for index, length in enumerate(lengths):
        assert torch.allclose(rows(null, index), rows(whole, 0)[-length:], atol=1e-6)


@torch.no_grad()
def test_masked_rows_do_not_count():
    prompt, text = made(), features(4)
    padded = torch.cat([torch.full((2, CHANNELS), 7.0), text])
    for mask in (torch.tensor([0.0, 0, 1, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 1, 1]).bool()):
        assert torch.equal(rows(prompt.read([(padded, mask)]), 0), rows(prompt.read([text]), 0))


@torch.no_grad()
def test_a_text_is_read_by_its_encoder_once():
    prompt, heard = made(), []

    class Known:
        def read(self, texts, device):
            heard.extend(texts)
            return [features(len(text)) for text in texts]

    prompt.encoder = Known()
    condition = prompt.read(["one", features(2), "three", "one", None])
    assert heard == ["one", "three"] and (condition.present.sum(1) + 1).tolist() == [3, 2, 5, 3, ROWS]


def test_the_encoder_is_no_part_of_the_model():
    names = ["enter.weight", "nothing", "out.weight"]
    assert sorted(FeaturesConfig(CHANNELS, WIDTH, ROWS, "google/flan-t5-xl").build().state_dict()) == names


def test_wrong_prompts_are_refused():
    prompt = made()
    for wrong in (torch.zeros(7, CHANNELS), torch.zeros(0, CHANNELS), torch.zeros(2, 4), torch.zeros(CHANNELS)):
        with pytest.raises(ValueError, match=r"1 to 6 positions of 5 channels, got \["):
            prompt.read([wrong])
    for mask in (torch.zeros(3), torch.ones(2)):
        with pytest.raises(ValueError, match="of each of 3 positions"):
            prompt.read([(torch.zeros(3, CHANNELS), mask)])
    with pytest.raises(ValueError, match="a text or features of an encoder, got 7"):
        prompt.read([7])
    with pytest.raises(ValueError, match="are features, not texts"):
        prompt.read(["a pear"])
    with pytest.raises(ValueError, match="at least one channel and position, got 0 and 120"):
        FeaturesConfig(0, WIDTH)
