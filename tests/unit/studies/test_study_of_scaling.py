"""The study of scaling: it predicts before it measures, resumes where it stopped, and compares at equal time."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import studying
from kiloword.studies import scaling as study
from kiloword.studies.scaling_report import helped
from kiloword.training.loop import Run

pytestmark = pytest.mark.usefixtures("small_networks")
BUDGET = studying.SCALING


@pytest.fixture(scope="module")
def whole(small_networks: None, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scaling")
    step = Run._step

    def looking(run: Run) -> dict:
        if run.folder.parent.name.startswith(BUDGET.larger):
            assert (out / "prediction.json").exists(), "nothing was predicted"
        return step(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_step", looking)
        assert study.run(BUDGET, folder, out, studying.no_report) == out / "report.md"
    return out


@pytest.fixture(scope="module")
def facts(whole: Path) -> dict:
    return json.loads((whole / "report.json").read_text())


def test_every_size_sees_every_share_and_compute_is_six_a_parameter_and_token(facts: dict):
    points = {(point["size"], point["share"]): point for point in facts["points"]}
    assert set(points) == {(size, share) for size in BUDGET.sizes for share in BUDGET.shares}
    for (_, share), point in points.items():
        assert point["seen"] == 16 * share and point["compute"] == 6 * point["parameters"] * point["seen"] * 64
        assert point["held_out"] > 0 and point["learned"] > 0
    assert points["64x4", 1.0]["parameters"] < points["128x2", 1.0]["parameters"] < facts["truth"]["parameters"]


def test_the_prediction_stands_beside_the_measured_loss(whole: Path, facts: dict):
    prediction, text = json.loads((whole / "prediction.json").read_text()), (whole / "report.md").read_text()
    assert facts["prediction"] == prediction and prediction["size"] == "128x4" == facts["truth"]["size"]
    assert (
        prediction["parameters"] == facts["truth"]["parameters"] and prediction["compute"] == facts["truth"]["compute"]
    )
    assert f"measured {facts['truth']['held_out']:.3f}" in text
    assert f"predicted {prediction['loss']['parameters']['value']:.3f}" in text
    with Image.open(whole / "plot.png") as plot:
        assert min(plot.size) > 300


def test_ways_are_trained_for_the_same_time_and_judged_by_what_they_learned(facts: dict):
    ways = {(way["way"], way["seed"]): way for way in facts["ways"]}
    assert set(ways) == {(way, seed) for way in study.WAYS for seed in (0, 1)}
    for (way, _), figures in ways.items():
        assert ("held_out" in figures) == ("accuracy" in figures) == (way != "describing alone")
        assert ("text, held_out" in figures) == (way != "drawing alone")


def test_a_stopped_study_goes_on_and_does_nothing_twice(whole: Path, folder: Path, tmp_path: Path, monkeypatch):
    again = tmp_path / "again"
    shutil.copytree(whole, again)
    before = (again / "prediction.json").read_bytes()
    shutil.rmtree(again / "runs" / "128x4-1")
    step, taken = Run._step, []

    def stopping(run: Run) -> dict:
        taken.append((run.folder.parent.name, run.iteration))
        if len(taken) == 3:
            raise KeyboardInterrupt
        return step(run)

    monkeypatch.setattr(Run, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        study.run(BUDGET, folder, again, studying.no_report)
    study.run(BUDGET, folder, again, studying.no_report)
    assert taken == [("128x4-1", iteration) for iteration in (0, 1, 2, 2, 3)]
    assert (again / "prediction.json").read_bytes() == before
    first, second = (json.loads((out / "report.json").read_text())["truth"] for out in (whole, again))
    assert first == second


def test_a_folder_without_checkpoints_goes_on(whole: Path, folder: Path, tmp_path: Path, monkeypatch):
    light = tmp_path / "light"
    shutil.copytree(whole, light, ignore=shutil.ignore_patterns("checkpoint", "*.npy", "model", "*.png", "tokenizers"))
    assert not list(light.rglob("*.safetensors"))
    monkeypatch.setattr(Run, "_step", lambda run: pytest.fail("trained again"))
    study.run(BUDGET, folder, light, studying.no_report)
    for name in ("report.md", "report.json"):
        assert (light / name).read_text() == (whole / name).read_text()


def test_a_model_begun_before_its_prediction_is_refused(whole: Path, folder: Path, tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(whole, again)
    (again / "prediction.json").unlink()
    with pytest.raises(ValueError, match="128x4-1 was begun before anything was predicted: remove it"):
        study.run(BUDGET, folder, again, studying.no_report)


def test_a_change_counts_only_beyond_what_seeds_do():
    def ways(alone: tuple[float, float], both: tuple[float, float]) -> list[dict]:
        found = [{"way": "drawing alone", "held_out": loss} for loss in alone]
        found += [{"way": "both", "held_out": loss, "text, held_out": 1.0} for loss in both]
        return [*found, *({"way": "describing alone", "text, held_out": 1.0} for _ in alone)]

    (surely, _), (hardly, _) = helped(ways((3.0, 3.1), (2.0, 2.1))), helped(ways((3.0, 3.4), (2.9, 3.2)))
    assert "1.0000 lower than drawing alone; more than seeds" in surely
    assert "0.1500 lower than drawing alone; no more than seeds" in hardly


def test_nonsense_is_refused():
    for changes, said in (
        ({"sizes": ("64x2", "64x4")}, "takes 4 sizes or more"),
        ({"larger": "64x4"}, "nothing to predict"),
        ({"both": "large"}, "a size is WIDTHxDEPTH, as in 192x6, got 'large'"),
        ({"shares": (0.5,)}, "the last of them 1"),
        ({"seen": 1}, "seen is a batch"),
        ({"teaching": replace(BUDGET.teaching, rates=(1.0, 2.0))}, "one learning rate"),
    ):
        with pytest.raises(ValueError, match=said):
            replace(BUDGET, **changes)
