"""A prompt becomes positions of its own, whatever stands beside it; no prompt is the null condition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.prompts.class_buffer import ClassBufferConfig
from kiloword.prompts.class_label import ClassLabelConfig
from kiloword.prompts.text_prefix import TextPrefixConfig

TEXT = TextPrefixConfig(tiny.words(), tiny.WIDTH, limit=40).build()
CLASSES = ClassLabelConfig(3, tiny.WIDTH).build()
BUFFER = ClassBufferConfig(3, tiny.WIDTH, positions=5).build()
NUMBERS = st.sampled_from([0, 1, 2, None])
PROMPTS = [(TEXT, st.sampled_from([*tiny.TEXTS, "", None])), (CLASSES, NUMBERS), (BUFFER, NUMBERS)]


@given(st.data(), st.sampled_from(PROMPTS))
def test_a_prompt_is_read_alone_as_in_company(data, which):
    prompt, values = which
    prompts = data.draw(st.lists(values, min_size=1, max_size=4))
    together = prompt.read(prompts)
    for row, value in enumerate(prompts):
        alone = prompt.read([value])
        count = int(alone.present.sum())
        assert together.present[row].tolist() == [index < count for index in range(together.present.shape[1])]
        assert torch.equal(together.prefix[row, :count], alone.prefix[0, :count])


@given(st.data(), st.sampled_from(PROMPTS))
def test_the_null_condition_is_that_of_no_prompt(data, which):
    prompt, values = which
    prompts = data.draw(st.lists(values, min_size=1, max_size=4))
    null, nothing = prompt.null(prompt.read(prompts)), prompt.read([None] * len(prompts))
    assert torch.equal(null.prefix, nothing.prefix) and torch.equal(null.present, nothing.present)


def test_no_prompt_is_one_row_and_the_empty_text_none():
    assert TEXT.read([None, "", "apple"]).present.sum(1).tolist() == [1, 0, 1]


def test_a_buffer_is_the_class_in_every_row_and_no_class_has_a_vector_of_its_own():
    condition = BUFFER.read([2, None])
    assert condition.prefix.shape == (2, 5, tiny.WIDTH) and condition.present.all()
    assert (condition.prefix[0] == BUFFER.embedding.weight[2]).all()
    assert (condition.prefix[1] == BUFFER.nothing).all()
    assert condition.vector is None and condition.start is None and not condition.causal


def test_dropout_takes_from_texts_in_training_only():
    torch.manual_seed(0)
    prompt = TextPrefixConfig(tiny.words(), tiny.WIDTH, dropout=0.5).build()
    assert (prompt.read(["a red apple"]).prefix == 0).any()
    assert not (prompt.eval().read(["a red apple"]).prefix == 0).any()


def test_wrong_prompts_are_refused():
    with pytest.raises(ValueError, match="the limit is 40"):
        TEXT.read(["z" * 50])
    for wrong in (3, -1, "apple"):
        for prompt in (CLASSES, BUFFER):
            with pytest.raises(ValueError, match=f"class {wrong!r} is not a whole number from 0 to 2"):
                prompt.read([0, wrong])
    with pytest.raises(ValueError, match="at least 1 token, got 0"):
        TextPrefixConfig(tiny.words(), 8, limit=0)
    with pytest.raises(ValueError, match="at least one class, got 0"):
        ClassLabelConfig(0, 8)
    with pytest.raises(ValueError, match="one class and one position, got 3 and 0"):
        ClassBufferConfig(3, 8, positions=0)
