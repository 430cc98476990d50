"""Tests of data/emoji/captions.py: labels become what one would say.

Source: labels as they stand in emojibase-data 17.0.0.
"""

import pytest

from kiloword.data.emoji.captions import keywords, natural


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("red apple", "red apple"),
        ("flag: Côte d’Ivoire", "flag of Côte d’Ivoire"),
        ("keycap: #", "keycap #"),
        ("regional indicator A", "letter A"),
        ("waving hand: light skin tone", "waving hand with light skin tone"),
        ("person: light skin tone, red hair", "person with red hair with light skin tone"),
        ("man: dark skin tone, bald", "bald man with dark skin tone"),
        ("woman: beard", "woman with beard"),
        ("man running: facing right, medium skin tone", "man running facing right with medium skin tone"),
        ("handshake: light skin tone, dark skin tone", "handshake with light skin tone and dark skin tone"),
        ("family: man, woman, girl, boy", "family of a man, a woman, a girl and a boy"),
        ("family: adult, adult, child, child", "family of two adults and two children"),
        ("family: adult, child", "family of an adult and a child"),
        ("kiss: man, man", "kiss between two men"),
        (
            "couple with heart: woman, man, light skin tone, dark skin tone",
            "couple with heart, a woman and a man with light skin tone and dark skin tone",
        ),
        (
            "kiss: person, person, light skin tone, dark skin tone",
            "kiss between two people with light skin tone and dark skin tone",
        ),
    ],
)
def test_natural(label, caption):
    assert natural(label) == caption


def test_keywords_are_words_each_once_without_the_caption():
    words = ["red_apple", "Fruit", "fruit", "curly\xa0page", "“here”", "c", "", "healthy snack"]
    assert keywords(words, "red apple") == ["Fruit", "curly page", "here", "healthy snack"]
