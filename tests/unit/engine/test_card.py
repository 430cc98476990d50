"""What a model can be asked for, and what it says to everything else."""

import pytest

from kiloword.engine.card import Card, asked

TEXT, CLASS, NOTHING = (Card("it", ((8, 8),), prompts=prompts) for prompts in ("text", "class", "nothing"))
NAMES = {"apple": 0, "pear": 1}


def named(prompt: str | int) -> int:
    return prompt if isinstance(prompt, int) else NAMES[prompt]


@pytest.mark.parametrize(
    ("card", "prompt", "classes", "read"),
    [
        (TEXT, "207", None, "207"), (TEXT, " a pear ", named, " a pear "), (CLASS, 0, None, 0),
        (CLASS, " 12 ", None, 12), (CLASS, "pear", named, 1), (CLASS, 1, named, 1),
        (NOTHING, None, None, None), (NOTHING, " ", None, None),
    ],
)  # fmt: skip
def test_a_prompt_is_read_as_the_card_says(card, prompt, classes, read):
    assert asked(card, prompt, classes) == read


@pytest.mark.parametrize(
    ("card", "prompt", "classes", "said"),
    [
        (TEXT, None, None, "the prompt is empty"), (TEXT, "\n", None, "the prompt is empty"),
        (TEXT, 207, named, "asked in words: it has no class 207"), (CLASS, None, None, "say which, by its number$"),
        (CLASS, "", named, "by its number or its name"), (CLASS, "pear", None, "a whole number from 0: not 'pear'"),
        (CLASS, -1, None, "a whole number from 0: not -1"), (CLASS, True, None, "not True"),
        (CLASS, "²", None, "not '²'"), (NOTHING, 0, None, "cannot be asked for 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(card, prompt, classes, said):
    with pytest.raises(ValueError, match=said):
        asked(card, prompt, classes)


def test_a_card_knows_three_ways_of_asking():
    with pytest.raises(ValueError, match="text, class, nothing, its card says 'song'"):
        Card("it", ((8, 8),), prompts="song")
