"""A foreign text encoder gives what its own library gives; without that library the missing extra is named."""

import sys

import pytest
import torch

from kiloword.prompts.caption import plain
from kiloword.prompts.text_encoder import TextEncoder

WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "apple", "pear"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny T5 with a tokenizer that knows whole words."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("t5")
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(WORDS), d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2, is_gated_act=True,
        dense_act_fn="gelu_new",
    )  # fmt: skip
    transformers.T5EncoderModel(config).save_pretrained(folder)
    return folder


def test_texts_become_the_hidden_states_of_their_own_tokens(folder):
    from transformers import T5EncoderModel

    encoder = TextEncoder(str(folder), 5)
    short, long = encoder.read(["A pear", "a red apple, a red pear"], torch.device("cpu"))
    assert short.shape == (3, 8) and long.shape == (5, 8)
    network = T5EncoderModel.from_pretrained(folder, dtype=torch.bfloat16).eval()
    alone = network(input_ids=torch.tensor([[3, 6, 1]])).last_hidden_state[0]
    assert torch.allclose(short.float(), alone.float(), atol=0.03)


def test_it_is_opened_once_and_only_for_a_text(folder, monkeypatch):
    encoder = TextEncoder(str(folder), 5)
    assert encoder._opened is None
    encoder.read(["a"], torch.device("cpu"))
    opened = encoder._opened
    encoder.read(["pear"], torch.device("cpu"))
    assert encoder._opened is opened


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"^reading texts with t5 takes: pip install 'kiloword\[text-encoders\]'$"):
        TextEncoder("t5", 5).read(["a"], torch.device("cpu"))


def test_what_is_no_encoder_is_refused(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match="is no text encoder that transformers can open"):
        TextEncoder(str(tmp_path), 5).read(["a"], torch.device("cpu"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A Red  Apple", "a red apple"), ("a pear,an apple", "a pear, an apple"), ("“a pear”", "a pear"),
        ("see https://a.example/x.png now", "see now"), ("<b>a</b> pear &amp; @me", "a pear"),
        ("red—green", "red-green"), ("a pear...", "a pear"), ("a (red) *pear*", "a red pear"), ("", ""),
        ("50% off", "50% off"), ("3.5 apples", "3.5 apples"),
    ],
)  # fmt: skip
def test_captions_are_made_plain(text, wanted):
    assert plain(plain(text)) == wanted
