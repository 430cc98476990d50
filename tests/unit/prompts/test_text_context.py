"""A text as context: its own positions, whatever stands beside it; a pooled vector; a null condition as long as it
is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.modality import Modality
from kiloword.model import ImageModel
from kiloword.prompts.text_context import TextContext, TextContextConfig

ROWS, CHANNELS, WIDTH, HEADS = 6, 5, 8, 2
LENGTHS = st.lists(st.integers(1, ROWS), min_size=1, max_size=4)


def made() -> TextContext:
    torch.manual_seed(0)
    return tiny.awake(TextContextConfig(CHANNELS, WIDTH, HEADS, ROWS).build())


def features(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(length, CHANNELS, generator=torch.Generator().manual_seed(seed))


def rows(condition, index: int) -> torch.Tensor:
    return condition.context.vectors[index, condition.context.present[index]]


@given(LENGTHS)
@torch.no_grad()
def test_a_text_is_read_alone_as_in_company(lengths):
    prompt = made()
    texts = [features(length, seed) for seed, length in enumerate(lengths)]
    together = prompt.read(texts)
    assert together.prefix.shape == (len(texts), 0, WIDTH) and together.start is together.vector
    for index, text in enumerate(texts):
        alone = prompt.read([text])
        assert len(rows(together, index)) == len(text)
        assert torch.allclose(rows(together, index), rows(alone, 0), atol=1e-6)
        assert torch.allclose(together.vector[index], alone.vector[0], atol=1e-6)


@torch.no_grad()
def test_pooling_is_attention_of_one_learned_query_to_normed_rows():
    prompt, text = made(), features(4)
    normed = text / (text.square().mean(-1, keepdim=True) + 1e-6).sqrt() * prompt.norm.weight
    pool, half = prompt.pool, WIDTH // HEADS
    keys, values = (normed @ pool.key_values.weight.T).chunk(2, dim=-1)
    values = values + pool.key_values.value_bias
    mixed = [
        (keys[:, at] @ pool.query[at] * half**-0.5).softmax(0) @ values[:, at]
        for at in (slice(0, half), slice(half, WIDTH))
    ]
    assert torch.allclose(prompt.read([text]).vector[0], pool.out(torch.cat(mixed)), atol=1e-5)
    wanted = prompt.out(torch.nn.GELU("tanh")(prompt.enter(normed)))
    assert torch.allclose(rows(prompt.read([text]), 0), wanted, atol=1e-5)


@given(LENGTHS)
@torch.no_grad()
def test_the_null_condition_has_as_many_rows_of_its_own_the_first_ones(lengths):
    prompt = made()
    condition = prompt.read([features(length) for length in lengths])
    null, whole = prompt.null(condition), prompt.read([None])
    assert torch.equal(null.context.present, condition.context.present) and len(rows(whole, 0)) == ROWS
    for index, length in enumerate(lengths):
        assert torch.allclose(rows(null, index), rows(whole, 0)[:length], atol=1e-6)


@torch.no_grad()
def test_masked_rows_do_not_count():
    prompt, text = made(), features(4)
    padded, mask = torch.cat([torch.full((4, CHANNELS), 7.0), text]), torch.arange(8) >= 4  # more than fit, unmasked
    assert torch.equal(rows(prompt.read([(padded, mask)]), 0), rows(prompt.read([text]), 0))


class Known:
    """A text encoder that gives a position for each letter."""

    def read(self, texts, device):
        return [features(min(len(text), ROWS + 1)) for text in texts]


def test_a_prompt_longer_than_the_context_is_refused_and_nothing_is_cut_off():
    prompt = made()
    prompt.encoder = Known()
    assert len(rows(prompt.read(["sixsix"]), 0)) == ROWS
    reason = r"^the prompt has 7 positions or more, the context holds 6: say it in fewer words$"
    for long in (features(ROWS + 1), "seventy letters and more"):
        with pytest.raises(ValueError, match=reason):
            prompt.read([long])


def test_the_encoder_reads_one_more_than_fits_and_leaves_the_wording_alone():
    encoder = TextContextConfig(CHANNELS, WIDTH, HEADS, ROWS, "t5").build().encoder
    assert (encoder.name, encoder.limit, encoder.wording("A “Cat” of www.cats.com")) == (
        "t5", ROWS + 1, "A “Cat” of www.cats.com",
    )  # fmt: skip


def test_wrong_prompts_are_refused():
    prompt = made()
    for wrong in (torch.zeros(0, CHANNELS), torch.zeros(2, 4), torch.zeros(CHANNELS)):
        with pytest.raises(ValueError, match=r"1 to 6 positions of 5 channels, got \["):
            prompt.read([wrong])
    for mask in (torch.zeros(3), torch.ones(2)):
        with pytest.raises(ValueError, match="of each of 3 positions"):
            prompt.read([(torch.zeros(3, CHANNELS), mask)])
    with pytest.raises(ValueError, match="a text or features of an encoder, got 7"):
        prompt.read([7])
    with pytest.raises(ValueError, match="are features, not texts"):
        prompt.read(["a pear"])
    with pytest.raises(ValueError, match="width 8 is not a multiple of 3 heads"):
        TextContextConfig(CHANNELS, WIDTH, 3)
    with pytest.raises(ValueError, match="at least one channel and position, got 0 and 512"):
        TextContextConfig(0, WIDTH, HEADS)


@pytest.mark.parametrize("without,missing", [("prompt", "the prompt has none"), ("transformer", "attends to none")])
def test_a_memory_takes_two(without, missing):
    tokenizer, order, head, prompt, transformer = (part.build() for part in tiny.WAYS["bits by scale"])
    deaf = tiny.VAR.build()
    told = {"prompt": (tiny.START.build(), transformer), "transformer": (prompt, deaf)}[without]
    with pytest.raises(ValueError, match=missing):
        ImageModel(Modality(tokenizer, order, head), *told)
