"""Tests of evaluation/description.py: which words of a description count, and what is right."""

import pytest

from kiloword.evaluation.description import content_words, judge, subject_of

TEMPLATES = {"flat": "a flat icon of {}", "3d": "a 3D icon of {}", "plain": "{} icon", "any": "a {}"}


@pytest.mark.parametrize(
    ("text", "subject", "style"),
    [
        ("a flat icon of red apple", "red apple", "flat"),
        ("A Flat icon of red apple.", "red apple", "flat"),
        (" a 3d icon of  face with tears ", "face with tears", "3d"),
        ("clock icon", "clock", "plain"),
        ("a pear", "pear", "any"),
        ("something else", "something else", None),
        ("a flat icon of", "", "flat"),
        ("", "", None),
    ],
)
def test_the_phrase_of_a_style_is_taken_off(text, subject, style):
    assert subject_of(text, TEMPLATES) == (subject, style)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the Red apple, with a leaf", {"red", "apple", "leaf"}),
        ("eight o’clock", {"eight", "oclock"}),
        ("Mrs. Claus", {"mrs", "claus"}),
        ("flag of U.S. Virgin Islands", {"flag", "us", "virgin", "islands"}),
        ("right-facing fist", {"right", "facing", "fist"}),
        ("flag of São Tomé & Príncipe", {"flag", "sao", "tome", "principe"}),
        ("keycap #", {"keycap", "#"}),
        ("keycap *", {"keycap", "*"}),
        ("letter A", {"letter", "a"}),
        ("Japanese “acceptable” button", {"japanese", "acceptable", "button"}),
        ("", set()),
    ],
)
def test_words_that_count(text, words):
    assert content_words(text) == words


def test_right_allows_one_word_too_many_and_none_too_few():
    records = [{"caption": "red apple", "style": "flat"}] * 6
    texts = [
        "a flat icon of red apple", "a 3D icon of apple, red", "a flat icon of big red apple",
        "a flat icon of big red apple tree", "a flat icon of apple", "a flat icon of green pear",
    ]  # fmt: skip
    figures = judge(texts, records, TEMPLATES)
    assert figures == {"right": 3 / 6, "exact": 2 / 6, "all_words": 4 / 6, "style": 5 / 6, "n": 6}
    assert judge([], [], TEMPLATES)["right"] is None
