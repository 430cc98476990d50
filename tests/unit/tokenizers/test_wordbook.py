"""The tokenizer.json of a language model: texts to ids and back, and what is refused."""

import pytest
import torch

import chat_template
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.wordbook import WordbookConfig
from kiloword.tokens.words import Words

TEXTS = ["a red apple", "", "Äpfel, 苹果!\n twice  spaced ", "<eos> and <open>"]


def test_both_text_tokenizers_obey_the_law():
    assert isinstance(chat_template.words().build(), Words) and isinstance(BPEConfig().build(), Words)


def test_texts_come_back_and_are_alone_what_they_are_in_company():
    words = chat_template.words().build()
    ids, present = words.encode(TEXTS, 60)
    for i, text in enumerate(TEXTS):
        assert words.decode(ids[i].tolist()) == text.strip()
        alone, there = words.encode([text], 60)
        assert torch.equal(alone[there], ids[i][present[i]])
    assert (ids[~present] == chat_template.END).all() and present[1].sum() == 0


def test_nothing_is_put_before_a_text_and_marks_are_text():
    """The file would pad to 99 and take <eos> for the end; neither happens."""
    words = chat_template.words().build()
    ids, present = words.encode(["<eos><open>"], 60)
    assert ids.shape[1] == int(present.sum()) > 4 and not set(ids[0].tolist()) & set(range(len(chat_template.SPECIAL)))


def test_a_text_ends_with_its_end():
    words = chat_template.words().build()
    ids = words.encode(["a pear"], 60)[0][0].tolist()
    assert words.decode([*ids, chat_template.END, *ids]) == "a pear"


def test_without_its_file_it_knows_ids_and_refuses_texts():
    words = WordbookConfig(10, 1).build()
    assert words.space.size == 10
    with pytest.raises(ValueError, match=r"came without its tokenizer.json: give ids, or pull it with --from"):
        words.encode(["a"], 9)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="has 11 tokens, the limit is 5: shorten 'zzz"):
        chat_template.words().build().encode(["z" * 11], 5)
    with pytest.raises(ValueError, match=r"the tokenizer.json cannot be read \(.*\): give"):
        WordbookConfig(10, 1, "{}").build()
    with pytest.raises(ValueError, match=r"tokenizer.json has a word \d+, the model has 30"):
        WordbookConfig(30, 1, chat_template.wordbook()).build()
    with pytest.raises(ValueError, match="one of 10 ids, got 10"):
        WordbookConfig(10, 10)
