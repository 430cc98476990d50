"""Tests of evaluation/subject.py: a perfect drawer hits, a random one hits by chance, a copier has its own figure."""

import random

import pytest
import torch

from kiloword.evaluation.feature_spaces import SPACES
from kiloword.evaluation.subject import Copies, Gallery, by_kind, by_style, kind_of, random_hit, score


@pytest.fixture(scope="module")
def gallery(image_set):
    return Gallery(image_set)


def everything(image_set):
    return list(range(len(image_set.metadata)))


@pytest.mark.parametrize("space", SPACES)
def test_the_true_pictures_are_all_hits(gallery, image_set, space):
    figures = score(gallery.hits(everything(image_set), image_set.pixels, space))
    assert figures == {"top1": 1.0, "top5": 1.0, "top1_exact": 1.0, "top5_exact": 1.0, "n": len(image_set.metadata)}


def test_another_skin_tone_is_the_subject_but_not_the_exact_picture(gallery, image_set):
    plain = [index for index, record in enumerate(image_set.metadata) if record["code"] == "1f468"]
    toned = [index for index, record in enumerate(image_set.metadata) if record["code"] == "1f468-1f3f1"]
    hits = gallery.hits(plain, image_set.pixels[toned])
    assert bool(hits["top1"].all()) and not bool(hits["top1_exact"].any()) and bool(hits["top5_exact"].all())


def test_nearest_pictures_are_of_the_asked_style_nearest_first(gallery, image_set):
    found = gallery.nearest(image_set.pixels[:3], ["noto", "flat", "noto"], k=4)
    assert [{image_set.metadata[index]["style"] for index in indices} for indices in found] == [
        {"noto"},
        {"flat"},
        {"noto"},
    ]
    assert all(len(set(indices)) == 4 for indices in found)
    distance = (gallery.features["pixels"][found[0]] - gallery.features["pixels"][0]).norm(dim=1)
    assert bool((distance.diff() >= 0).all())


def test_wrong_pictures_miss(gallery, image_set):
    apples = [index for index, record in enumerate(image_set.metadata) if record["base"] == "1f34e"]
    pears = [index for index, record in enumerate(image_set.metadata) if record["base"] == "1f600"]
    assert score(gallery.hits(apples, image_set.pixels[pears]))["top1"] == 0


@pytest.mark.parametrize(("candidates", "right", "k"), [(20, 3, 1), (20, 3, 5), (7, 1, 5), (4, 1, 5), (9, 0, 5)])
def test_chance_is_what_random_rankings_reach(candidates, right, k):
    dice, rounds = random.Random(0), 4000
    hits = sum(min(dice.sample(range(candidates), candidates)[:k]) < right for _ in range(rounds))
    assert abs(random_hit(candidates, right, k) - hits / rounds) < 0.03


def test_chance_counts_the_pictures_of_a_subject_in_the_asked_style(gallery, image_set):
    one = [index for index, record in enumerate(image_set.metadata) if record["key"] == "1f34e-flat"]
    man = [index for index, record in enumerate(image_set.metadata) if record["key"] == "1f468-flat"]
    count = sum(record["style"] == "flat" for record in image_set.metadata)
    assert gallery.chance(one)["top1"] == pytest.approx(1 / count)
    assert gallery.chance(man)["top1"] == pytest.approx(3 / count)
    assert gallery.chance(man)["top1_exact"] == pytest.approx(1 / count)
    assert gallery.chance(one + man)["top5"] == pytest.approx(
        (random_hit(count, 1, 5) + random_hit(count, 3, 5)) / 2
    )  # fmt: skip
    assert gallery.chance([])["top1"] is None


def test_kinds_of_look_alikes(image_set):
    kinds = {record["caption"]: kind_of(record) for record in image_set.metadata}
    assert kinds["one-thirty"] == "clocks" and kinds["pear"] == "faces" and kinds["house"] == "people"
    assert kinds["apple"] == "rest"
    assert kind_of({"caption": "two o’clock", "group": "travel-indices"}) == "clocks"


def test_scores_by_kind_and_style_add_up(gallery, image_set):
    indices = everything(image_set)
    hits = gallery.hits(indices, image_set.pixels.roll(1, 0))
    records = [image_set.metadata[index] for index in indices]
    for parts in (by_kind(records, hits), by_style(records, hits)):
        assert sum(part["n"] for part in parts.values()) == len(records)
        total = sum(part["top1"] * part["n"] for part in parts.values())
        assert total == pytest.approx(score(hits)["top1"] * len(records))


def test_copies_come_from_other_trained_styles(gallery, image_set):
    copies = Copies(gallery, seed=0)
    indices = [
        index
        for index, record in enumerate(image_set.metadata)
        if record["split"] == "train" and not record["skin_tones"]
    ]
    for index in indices:
        for source in copies._sources(index):
            record, other = image_set.metadata[index], image_set.metadata[source]
            assert other["code"] == record["code"] and other["style"] != record["style"] and other["split"] == "train"
    figures = copies.figures(indices)
    assert figures == Copies(gallery, seed=0).figures(indices)
    assert figures["best_style"]["top1"] >= max(figures["closest_style"]["top1"], figures["random_style"]["top1"])
    unseen = [index for index, record in enumerate(image_set.metadata) if record["split"] == "held_out_subject"]
    assert copies.figures(unseen)["closest_style"] == {"n": 0}


def test_the_closest_style_is_measured(gallery, image_set):
    apart = Copies(gallery, 0).apart
    assert apart["3d", "flat"] < apart["3d", "noto"] and apart["3d", "flat"] == pytest.approx(apart["flat", "3d"])
    assert torch.isfinite(torch.tensor(list(apart.values()))).all()
