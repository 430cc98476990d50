"""Throughput: work that is more takes longer, a picture at a time."""

from pathlib import Path

from kiloword import parts
from kiloword.recipes.tokenizer_run import task_of
from kiloword.studies import tokenizer_study as study
from kiloword.studies.subset import chosen, subset
from kiloword.studies.throughput import seconds_a_picture
from kiloword.tokenizers.cnn import CNNConfig


def test_wide_convolutions_take_longer(folder: Path, tmp_path: Path, small: study.Budget):
    pictures = subset(folder, chosen(folder, 10, 4), small.side, tmp_path / "pictures.npy", lambda done, total: None)
    recipe = study.recipe_of("fsq-cnn", 1e-3, small, 16)
    wide = CNNConfig(48, (1, 1, 1, 1), groups=(8,), z=8, channels=4)
    changed = study.replace(recipe, tokenizer=study.replace(recipe.tokenizer, encoder=wide, decoder=wide))
    tasks = [task_of(parts.build(each.tokenizer), each, pictures) for each in (recipe, changed)]
    narrow_seconds, wide_seconds = seconds_a_picture([(task, recipe.training) for task in tasks])
    assert 0 < narrow_seconds < wide_seconds
