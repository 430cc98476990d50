"""The study: every tokenizer is trained, stopped runs go on, the better rate counts, and nothing is done twice."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from kiloword.checkpoint import load_tokenizer
from kiloword.studies import tokenizers as study
from kiloword.studies.report import Finished, better
from kiloword.training.loop import Run


def nobody(stage: str, done: int, total: int, figures: dict) -> None:
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


def test_every_tokenizer_ends_in_the_report(whole: Path, folder: Path, small: study.Budget):
    stages, once = [], study.replace(small, rates=(1e-3,), seen=8, save_every=9)

    def report(stage: str, done: int, total: int, figures: dict) -> None:
        stages.append(stage)

    path = study.run(once, folder, whole, study.NAMES, report)
    assert "fsq at 0.001 (3 of 12)" in stages and "vq at 0.001 (11 of 12)" in stages
    facts = json.loads((whole / "report.json").read_text())
    assert {line["name"] for line in facts["tokenizers"]} == set(study.NAMES) and len(facts["runs"]) == 12
    assert facts["budget"]["seen"] == 8
    for line in facts["tokenizers"]:
        assert 0 < line["psnr"] < 99 and -1 <= line["ssim"] <= 1 and min(line["speed"].values()) > 0
        assert line["kernel_distance"]["gradients"]["low"] <= line["kernel_distance"]["gradients"]["high"]
        assert (line["bits"] is None) == ("usage" not in line) == (line["name"] == "kl")
        assert ("minutes" in line) == (line["name"] != "palette")
    bits = [line["bits"] for line in facts["tokenizers"]]
    assert bits[:-1] == sorted(bits[:-1]) and bits[-1] is None
    assert all(f"| {name} |" in path.read_text() for name in study.NAMES)
    with Image.open(whole / "sheet.png") as sheet, Image.open(whole / "plot.png") as plot:
        assert sheet.height == 13 * (16 + 4) and min(plot.size) > 300


def test_networks_are_equal_and_the_control_is_taught_as_long(whole: Path):
    runs = {run.name: run for run in study.finished(whole)}
    sizes = {name: run.figures["parameters"] for name, run in runs.items() if name not in ("palette", "fsq-cnn")}
    inside = {size["encoder"] for size in sizes.values()}
    assert max(inside) - min(inside) < 2 * 1024 * 9  # the last layer says more of a Gumbel's 1,024 codes
    assert {run.seen for run in runs.values() if run.name != "fsq-cnn"} == {8} and runs["fsq-cnn"].seen >= 4


def test_what_is_there_is_not_trained_again(whole: Path, folder: Path, small: study.Budget, monkeypatch):
    monkeypatch.setattr(study, "fit_tokenizer", lambda *_: pytest.fail("trained again"))
    study.run(study.replace(small, rates=(1e-3,), seen=8, save_every=9), folder, whole, ["fsq", "vq"], nobody)
    report = json.loads((whole / "report.json").read_text())
    assert len(report["tokenizers"]) == len(study.NAMES)  # the report is of all that is finished


def test_a_report_needs_no_checkpoints(whole: Path, folder: Path, small: study.Budget, tmp_path: Path):
    light = tmp_path / "light"
    shutil.copytree(whole, light, ignore=shutil.ignore_patterns("checkpoint", "*.npy", "report.*", "sheet.png"))
    study.run(study.replace(small, rates=(1e-3,), seen=8, save_every=9), folder, light, ["fsq"], nobody)
    first, second = (json.loads((out / "report.json").read_text()) for out in (whole, light))
    assert [line["psnr"] for line in first["tokenizers"]] == [line["psnr"] for line in second["tokenizers"]]
    assert (whole / "sheet.png").read_bytes() == (light / "sheet.png").read_bytes()


def test_a_folder_keeps_its_budget(whole: Path, folder: Path, small: study.Budget):
    with pytest.raises(ValueError, match="begun with another seen, rates"):
        study.run(small, folder, whole, ["fsq"], nobody)


def test_checkpoints_are_tokenizers(whole: Path):
    tokenizer, card = load_tokenizer(whole / "runs" / "multicode-0.001" / "checkpoint")
    layout = tokenizer.layout(16, 16)
    made = tokenizer.encode(torch.zeros(1, 4, 16, 16), layout)
    assert made.target.shape == (1, 4, 4) and card.name == "tokenizer-multicode"
    assert not list(whole.rglob("state.safetensors"))


def test_a_stopped_training_goes_on_to_the_same_end(tmp_path: Path, folder: Path, small: study.Budget, monkeypatch):
    study.run(small, folder, tmp_path / "whole", ["vq"], nobody)
    step, taken = Run._step, []

    def stopping(run: Run) -> dict:
        taken.append(run.iteration)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return step(run)

    monkeypatch.setattr(Run, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        study.run(small, folder, tmp_path / "parts", ["vq"], nobody)
    assert study.finished(tmp_path / "parts") == []
    study.run(small, folder, tmp_path / "parts", ["vq"], nobody)
    assert taken[:6] == [0, 1, 2, 2, 3, 0]
    first, second = (
        {run.rate: run.figures["psnr"] for run in study.finished(tmp_path / out)} for out in ("whole", "parts")
    )
    assert first == second and len(first) == 2
    (line,) = json.loads((tmp_path / "parts" / "report.json").read_text())["tokenizers"]
    assert line["psnr"] == max(line["psnr_of_rates"].values()) and len(line["psnr_of_rates"]) == 2


def test_rates_are_those_of_the_optimiser(small: study.Budget):
    assert study.rates_of("vq", small) == [1e-3, 4e-3] and study.rates_of("palette", small) == [1e-3]
    assert study.rates_of("fsq-cnn", small) == pytest.approx([4e-4, 1.6e-3])
    recipe = study.recipe_of("fsq-cnn", 4e-4, small, 16)
    assert recipe.training.optimiser.learning_rate == 4e-4 and recipe.training.iterations == 4


def test_the_better_rate_counts():
    def run(name: str, rate: float, psnr: float) -> Finished:
        return Finished(name, rate, 1, Path(), {"psnr": psnr})

    runs = [run("vq", 1, 20.0), run("vq", 2, 21.0), run("fsq", 1, 19.0), run("fsq", 2, 18.0)]
    assert better(runs) == [runs[1], runs[2]]


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="no tokenizer 'fqs'; did you mean 'fsq'"):
        study.check_names(["vq", "fqs"])
    for wrong in ({"seen": 0}, {"held_out": 1}, {"rates": ()}, {"rates": (0.0,)}):
        with pytest.raises(ValueError, match=r"at least 1|above 0"):
            study.Budget(**wrong)
