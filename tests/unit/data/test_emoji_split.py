"""Tests of data/emoji/split.py: shares, determinism, and a style left to learn from.

Source: the split's own definition.
"""

from collections import Counter

from kiloword.data.emoji.sources import STYLES
from kiloword.data.emoji.split import HELD_OUT_PAIR, HELD_OUT_SUBJECT, TRAIN, splits

BASES = [f"{number:05x}" for number in range(20000)]


def test_shares():
    found = Counter(split for base in BASES for split in splits(base, list(STYLES)).values())
    total = sum(found.values())
    assert abs(found[HELD_OUT_SUBJECT] / total - 0.02) < 0.003
    assert abs(found[HELD_OUT_PAIR] / total - 0.98 * 0.05) < 0.003


def test_a_held_out_subject_is_held_out_in_all_styles():
    for base in BASES:
        found = set(splits(base, list(STYLES)).values())
        assert HELD_OUT_SUBJECT not in found or found == {HELD_OUT_SUBJECT}


def test_a_held_out_pair_leaves_a_style_in_training():
    for styles in (["flat"], ["3d", "flat"]):
        for base in BASES:
            found = Counter(splits(base, styles).values())
            assert found[TRAIN] >= 1 or found[HELD_OUT_SUBJECT] == len(styles)


def test_the_draw_is_the_same_for_ever():
    grapes, keycap_three = "1f347", "0033-20e3"
    assert splits(grapes, ["flat", "noto"]) == {"flat": HELD_OUT_SUBJECT, "noto": HELD_OUT_SUBJECT}
    assert splits(keycap_three, ["3d", "flat"]) == {"3d": TRAIN, "flat": HELD_OUT_PAIR}
