"""Tests of evaluation/emoji_evaluation.py: the whole table on a tiny set, and the same table twice."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from kiloword.engine.painter import Painter
from kiloword.evaluation import evaluate_emoji

ACCURACY = {"top1", "top5", "top1_exact", "top5_exact", "n"}


@pytest.fixture(scope="module")
def evaluated(painter, data, tmp_path_factory):
    folder, progress_calls = tmp_path_factory.mktemp("out"), []
    figures = evaluate_emoji(
        painter, data, prompts=3, seed=1, batch=4, progress=lambda *call: progress_calls.append(call),
        sheet=folder / "sheet.png", record=folder / "pictures.jsonl",
    )  # fmt: skip
    return figures, folder, progress_calls


def test_the_table_has_every_figure_and_is_json(evaluated):
    figures, _, progress_calls = evaluated
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    for split in ("train", "held_out", "held_out_subject"):
        assert set(figures[split]) == ACCURACY | {"gradients"} == set(figures["ceiling"][split])
        assert 0 <= figures["chance"][split]["top1"] <= figures["chance"][split]["top5"] <= 1
        assert set(figures["look_alikes"][split]) == {"faces", "clocks", "people", "rest"}
        assert figures["memorisation"][split]["n"] == figures[split]["n"] == figures["describe"]["details"][split]["n"]
    assert figures["train"]["n"] == figures["held_out"]["n"] == figures["held_out_subject"]["n"] == 3
    assert 0 < figures["chance"]["top1"] < figures["chance"]["top5"] < 1
    assert {"train", "held_out"} <= set(figures["describe"])
    assert {"train", "held_out_pair", "held_out_subject"} <= set(figures["likelihood"])
    assert set(figures["baseline"]["pixels"]["train"]) == {"random_style", "closest_style", "best_style"}
    assert sum(part["n"] for part in figures["baseline"]["styles"]["held_out"].values()) == 3
    assert figures["reconstruction"]["n"] == 9 and len(figures["reconstruction"]) == 5
    assert figures["speed"]["pictures"] == 9 and figures["settings"]["prompts"]["train"] == 3
    assert {what for what, _, _ in progress_calls} >= {
        "pictures drawn (train)",
        "pictures rebuilt",
        "pictures described",
    }


def test_the_same_table_comes_out_again_in_other_batches(evaluated, painter, data):
    figures, _, _ = evaluated
    again = evaluate_emoji(painter, data, prompts=3, seed=1, batch=2)
    for name in ("train", "held_out", "held_out_subject", "describe", "ceiling", "chance", "baseline", "styles"):
        assert again[name] == figures[name], name
    assert again["memorisation"]["train"]["distance"] == pytest.approx(figures["memorisation"]["train"]["distance"])
    assert again["likelihood"]["train"] == pytest.approx(figures["likelihood"]["train"], rel=1e-4)


def test_the_best_of_several_is_judged(evaluated, painter, data):
    best = evaluate_emoji(painter, data, prompts=3, seed=1, candidates=6)
    assert best["settings"]["candidates"] == 6 and evaluated[0]["settings"]["candidates"] == 1
    assert best["memorisation"]["train"]["distance"] != evaluated[0]["memorisation"]["train"]["distance"]
    assert best["describe"] == evaluated[0]["describe"]


def test_sheet_and_record_show_every_prompt(evaluated, painter):
    _, folder, _ = evaluated
    lines = [json.loads(line) for line in (folder / "pictures.jsonl").read_text().splitlines()]
    assert len(lines) == 9 and {line["split"] for line in lines} == {"train", "held_out", "held_out_subject"}
    assert {"key", "prompt", "seed", "nearest", "top1", "nearest_trained", "description"} <= set(lines[0])
    assert Image.open(folder / "sheet.png").size == (2 + 18 * (4 + 2), 2 + 2 * (8 + 2))


def test_a_painter_without_text_describes_nothing(painter, data):
    model = painter.model
    text, model.text = model.text, None
    try:
        figures = evaluate_emoji(painter, data, prompts=1)
        with pytest.raises(ValueError, match="tiny only draws: it cannot judge 2 candidates"):
            evaluate_emoji(painter, data, prompts=1, candidates=2)
    finally:
        model.text = text
    assert figures["describe"] is None and "description" not in figures["likelihood"]


def test_mistakes_are_said(painter, data):
    with pytest.raises(ValueError, match="at least 1, got 0, 50 and 1"):
        evaluate_emoji(painter, data, prompts=0)
    other = Painter(painter.model, replace(painter.card, styles={"oil": "an oil painting of {}"}))
    with pytest.raises(ValueError, match=r"knows none of the styles in .* \(3d, flat, noto\); it knows: oil"):
        evaluate_emoji(other, data)
