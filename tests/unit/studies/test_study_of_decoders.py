"""The study of decoders with a model of a few numbers: what is measured, what not twice, what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import tiny
from kiloword import checkpoint
from kiloword.decoders.decoder import Effort
from kiloword.decoders.denoiser import DenoiserConfig
from kiloword.decoders.diffusion_decoder import DiffusionDecoderConfig
from kiloword.engine.card import Card
from kiloword.orders.raster import RasterConfig
from kiloword.parts import ImageModelConfig, ModalityConfig
from kiloword.studies import decoder_study as study
from kiloword.studies import decoders_report as report
from kiloword.studies.report_pictures import MARGIN
from kiloword.tokens import Codes
from kiloword.transformer import SharedAdaLNConfig

SIDE = 16  # of the decoded pictures; the tokenizer encodes half of it


def config() -> ImageModelConfig:
    """Tokens of 2x2 pixels, decoded in 8x8 patches of 2 pixels."""
    denoiser = DenoiserConfig(
        Codes(tiny.LEVELS), tiny.stack(), tiny.stack(depth=1, modulation=SharedAdaLNConfig()), stride=2, patch=2
    )
    picture = ModalityConfig(tiny.autoencoder(), RasterConfig(), tiny.HEADS["factorised"])
    return ImageModelConfig(picture, tiny.LABEL, tiny.stack(), decoder=DiffusionDecoderConfig(denoiser))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    built = tiny.awake(config().build())
    folder = tmp_path_factory.mktemp("models") / "tiny"
    checkpoint.save(folder, built, Card("tiny", ((SIDE, SIDE),), licence="Apache-2.0"), config())
    return folder


def silent(what: str, done: int, total: int | None, figures: dict) -> None:
    pass


def carry_out(model: Path, folder: Path, out: Path, count: int = 4) -> Path:
    return study.run(*study.open_model(str(model)), folder, out, count, silent)


@pytest.fixture(scope="module")
def finished(model: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    assert carry_out(model, folder, out) == out / "report.md"
    return out


def test_every_setting_has_its_figures_and_calls_are_what_the_formula_says(finished: Path):
    facts = json.loads((finished / "report.json").read_text())
    lines = {(line["table"], line["name"]): line for line in facts["settings"]}
    calls = {
        ("At once", "glance"): 1, ("Steps", "1 step"): 1, ("Steps", "16 steps"): 16, ("Solvers", "8 steps, heun"): 15,
        ("Solvers", "8 steps, ddim"): 8, ("Guidance", "guidance 2"): 8,
        ("Groups from the top", "16 groups, overlap 1"): 64,
        ("Groups from the top", "16 groups, overlap 0.25"): 4 + 15, ("Groups from the top", "16 groups, overlap 0"): 4,
    }  # fmt: skip
    assert {name: lines[name]["calls"] for name in calls} == calls
    for line in lines.values():
        assert -1 <= line["ssim"] <= 1 and line["sharpness"] >= 0 and line["seconds"] > 0
        assert set(line["kernel_distance"]) == {"gradients", "details"}
    assert facts["pictures"] == 4 and facts["others"] == 8 and facts["token_side"] == 8 and facts["tokens"] == 16


def test_what_this_decoder_cannot_do_is_left_out_and_named(finished: Path):
    facts, text = json.loads((finished / "report.json").read_text()), (finished / "report.md").read_text()
    assert set(facts["left_out"]) == {f"Frequency groups: 4 groups, overlap {o}" for o in ("0.25", "1")}
    assert "Left out: Frequency groups: 4 groups, overlap 1 (4 groups do not divide 2 units" in text


def test_the_report_has_tables_pictures_and_a_line_a_strip(finished: Path):
    text = (finished / "report.md").read_text()
    for word in ("## Steps", "| 16 groups, overlap 0.25 |", "## Few steps against many", "within 25%", "(strip.png)"):
        assert word in text
    assert all(f"- *{name}*: {said}" in text for name, said in report.RESEMBLES.items())
    with Image.open(finished / "sheet.png") as sheet, Image.open(finished / "strip.png") as strip:
        assert sheet.height == 6 * (SIDE + 4) and strip.height == 4 * (SIDE + 4)
        assert strip.width == MARGIN + 8 * (SIDE + 2) + 2
    assert (finished / "plot.png").stat().st_size > 10_000


def test_what_is_there_is_not_measured_again_and_the_same_comes_anew(model, folder, finished, tmp_path, monkeypatch):
    again = tmp_path / "again"
    shutil.copytree(finished, again)
    (again / "settings" / "steps-2.json").unlink()
    before = {path.name: path.read_bytes() for path in (finished / "settings").iterdir()}
    measured, measure = [], study.measure
    monkeypatch.setattr(study, "measure", lambda *arguments: measured.append(1) or measure(*arguments))
    carry_out(model, folder, again)
    assert len(measured) == 1
    after = {path.name: path.read_bytes() for path in (again / "settings").iterdir()}
    assert after.keys() == before.keys()
    anew, old = (json.loads(files["steps-2.json"]) for files in (after, before))
    assert {**anew, "seconds": 0} == {**old, "seconds": 0}


def test_settings_that_draw_the_same_share_their_figures():
    keys = [setting.key for setting in study.settings()]
    same = {setting.key for setting in study.settings() if setting.effort and setting.effort.overlap == 0}
    assert "steps-4" in same and keys.count("steps-4") == 1 + 1 + 5  # steps, guidance 1, five cells of the groups
    assert keys.count("steps-8") == 2 and "steps-4-groups-16-overlap-1.0" in keys
    assert "steps-4-groups-4-overlap-0.25-grouping-frequency" in keys
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyzL0123456789.-") for key in keys)


def test_few_steps_are_compared_with_many():
    def row(name: str, value: float) -> report.Row:
        return report.Row("Steps", name, {"kernel_distance": {"details": {"value": value}}})

    rows = [row("1 step", 0.3), row("4 steps", 0.22), row("16 steps", 0.2)]
    ratios = {"1 step": {"details": pytest.approx(1.5)}, "4 steps": {"details": pytest.approx(1.1)}}
    assert report.against_many(rows) == ratios
    said = report.few(rows)
    assert said[-2:] == ["- 1 step, details: 1.50, not within 25%.", "- 4 steps, details: 1.10, within 25%."]
    assert report.against_many([*rows[:2], row("16 steps", -0.01)])["1 step"] == {"details": None}
    assert "cannot be said" in report.few([*rows[:2], row("16 steps", 0.0)])[-1]
    assert report.against_many(rows[:2]) == {} and "Not all" in report.few(rows[:1])[0]


def test_another_model_or_other_pictures_are_another_study(model: Path, folder: Path, finished: Path, tmp_path: Path):
    painter, weights = study.open_model(str(model))
    with pytest.raises(ValueError, match="was begun with another weights: remove it, or choose another --out"):
        study.run(painter, weights[::-1], folder, finished, 4, silent)
    with pytest.raises(ValueError, match="begun with another pictures"):
        study.run(painter, weights, folder, finished, 3, silent)


def test_models_that_cannot_be_studied_are_refused(model: Path, tmp_path: Path):
    square = Card("plain", ((8, 8),), licence="Apache-2.0")
    plain = replace(config(), decoder=None)
    checkpoint.save(tmp_path / "plain", plain.build(), square, plain)
    with pytest.raises(ValueError, match=r"plain has no diffusion decoder.*kiloword train decoder-128 --from .*plain"):
        study.open_model(str(tmp_path / "plain"))
    wide = Card("tiny", ((SIDE, 2 * SIDE),), licence="Apache-2.0")
    checkpoint.save(tmp_path / "wide", config().build(), wide, config())
    with pytest.raises(ValueError, match=r"square pictures, .*wide draws 32x16"):
        study.open_model(str(tmp_path / "wide"))


def test_decoding_does_not_depend_on_the_batch(model: Path, folder: Path, finished: Path):
    painter, _ = study.open_model(str(model))
    rows = study.chosen(folder, 8, 4)
    bench = study.prepared(painter, study.subset(folder, rows, SIDE // 2, finished / "pictures.npy", lambda *_: None))
    setting = study.Setting("", "", Effort(2, 4, 0.25))
    whole, some = study.decoded(bench, setting, torch.arange(4))[0], study.decoded(bench, setting, torch.tensor([2]))[0]
    assert torch.allclose(whole[2:3], some, atol=1e-5)
