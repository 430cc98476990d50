"""Byte-pair encoding: every text in every language comes back; too long a text is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.tokenizers.bpe import END, BPEConfig

BPE = tiny.words().build()


@given(st.text(max_size=40))
def test_every_text_comes_back_with_single_spaces(text):
    ids, present = BPE.encode([text], 400)
    assert BPE.decode(ids[0, present[0]].tolist()) == " ".join(text.split())
    assert (ids[present] != END).all()
    BPE.space.check(ids)


@pytest.mark.parametrize(
    "text", ["rød pære på bordet", "一个红苹果", "تفاحة حمراء", "लाल सेब", "👩🏽‍🚀 🇩🇰", "<end>", "a\x00b"]
)
def test_languages_and_signs_come_back(text):
    ids, _ = BPE.encode([text, "a red apple"], 400)
    assert BPE.decode(ids[0].tolist()) == text
    assert BPE.decode(ids[1].tolist()) == "a red apple"


def test_frequent_words_are_one_token_and_spaces_do_not_matter():
    ids, present = BPE.encode(["apple", "  apple\n", "red apple"], 10)
    assert present.sum(1).tolist()[:2] == [1, 1] and ids[0, 0] == ids[1, 0]
    assert ids[0, 0] == ids[2, present[2].sum() - 1]


def test_an_empty_text_is_one_absent_token():
    ids, present = BPE.encode(["", " "], 10)
    assert ids.tolist() == [[END], [END]] and not present.any()
    assert BPE.decode([]) == "" and BPE.decode([END, 70]) == ""


def test_of_no_texts_there_are_no_ids():
    ids, present = BPE.encode([], 4)
    assert ids.shape == present.shape == (0, 1) and ids.dtype == torch.long


def test_a_text_over_the_limit_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="has 6 tokens, the limit is 5: shorten 'zzzzz'"):
        BPE.encode(["zzzzz"], 5)


def test_a_tokenizer_is_made_anew_from_its_merges():
    again = BPEConfig(tiny.words().merges).build()
    for text in tiny.TEXTS:
        assert torch.equal(again.encode([text], 99)[0], BPE.encode([text], 99)[0])
    assert BPEConfig().build().space.size == 257  # END and the bytes
