"""The study of generators: equal for all, what is chosen is not what judges, and a killed study comes to the same."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import icons
import studying
from kiloword.studies import cost
from kiloword.studies import generator_study as study
from kiloword.studies.budget import DataBudget, EvaluationBudget, TrainingBudget
from kiloword.studies.generators_report import Outcome, better
from kiloword.studies.generators_words import findings, likelihoods, limits
from kiloword.studies.jobs import iterations_in, painter_of
from kiloword.studies.protocol import protocol_for
from kiloword.training.loop import Run

pytestmark = pytest.mark.usefixtures("small_networks")
BUDGET = studying.GENERATORS
SOME = ("vq-raster", "bits-scales", "kl-denoise")  # all six take minutes
PASSES = {
    "vq-raster": (1 + 64, 0), "multicode-raster": (1 + 64, 4 * 64), "residual-scales": (1 + 6, 0),
    "bits-scales": (1 + 6, 0), "kl-masked": (16, 16 * 25), "kl-denoise": (1 + 25, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(small_networks: None, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generators")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "memory", lambda *_: 12.0)
        assert study.run(BUDGET, folder, out, SOME, studying.no_report) == out / "report.md"
    return out


@pytest.fixture(scope="module")
def facts(whole: Path) -> dict:
    return json.loads((whole / "report.json").read_text())


def test_every_system_is_tried_alike_and_the_best_goes_on(facts: dict):
    tried = {(run["name"], run["rate"]) for run in facts["runs"] if run["seed"] == 0}
    assert tried == {(name, rate) for name in SOME for rate in BUDGET.teaching.rates}
    again = [(run["name"], run["rate"], run["seed"]) for run in facts["runs"] if run["seed"]]
    first = min(facts["runs"], key=lambda run: run["chosen"]["kernel_distance"] if run["seed"] == 0 else 1e99)
    assert again == [(first["name"], first["rate"], 1)]
    for run in facts["runs"]:
        assert [(one["guidance"], one["temperature"]) for one in run["tried"]] == [(1.5, 1.0), (2.0, 1.0)]
        assert run["chosen"]["kernel_distance"] == min(one["kernel_distance"] for one in run["tried"])
        assert run["seen"] == 4 * iterations_in(0.001, facts["budget"]["seconds_a_picture_learned"][run["name"]], 4)


def test_figures_are_of_all_that_was_asked_for(facts: dict):
    assert [line["name"] for line in facts["systems"]] == list(SOME)
    for line in facts["systems"]:
        assert set(line["accuracy"]) == set(line["memorisation"]) == {"train", "held_out"}
        near = line["kernel_distance"]["gradients"]
        assert near["low"] <= near["value"] <= near["high"]
        assert set(line["cost"]["seconds"]) == {"1", "16"} and line["cost"]["memory_mb"] == 12
        assert line["training"]["rate"] > 0 and min(line["cost"]["seconds"].values()) > 0
        assert (line["bits"] is None) == line["name"].startswith("kl-")
    blocks = {line["name"]: line["parameters"]["transformer"] for line in facts["systems"]}
    assert blocks["vq-raster"] == blocks["bits-scales"] == blocks["kl-denoise"]


def test_passes_are_those_of_the_orders(facts: dict):
    passes = {line["name"]: tuple(line["cost"]["passes"].values()) for line in facts["systems"]}
    assert passes == {name: PASSES[name] for name in SOME}


@pytest.mark.slow
def test_all_six_come_to_a_report(folder: Path, tmp_path: Path):
    once = replace(BUDGET, teaching=replace(BUDGET.teaching, rates=(2e-3,)))
    study.run(once, folder, tmp_path, study.NAMES, studying.no_report)
    lines = json.loads((tmp_path / "report.json").read_text())["systems"]
    assert {line["name"]: tuple(line["cost"]["passes"].values()) for line in lines} == PASSES
    blocks = {line["name"]: line["parameters"]["transformer"] for line in lines}
    assert blocks["vq-raster"] == blocks["residual-scales"] == blocks["bits-scales"] == blocks["kl-denoise"]


def test_the_report_has_a_row_a_system_and_says_what_is_too_small(whole: Path, facts: dict):
    text = (whole / "report.md").read_text()
    for name in SOME:
        assert text.count(f"| {name} |") >= 4
        throughput = f"{1 / facts['budget']['seconds_a_picture_learned'][name]:.1f}"
        assert any(line.startswith(f"| {name} |") and f"| {throughput} |" in line for line in text.splitlines())
    assert "What is too small to mean anything" in text and "seen in no other style" in text
    assert all(f"{number}. {prompt}" in text for number, prompt in enumerate(facts["sheet"], start=1))
    with Image.open(whole / "sheet.png") as sheet, Image.open(whole / "plot.png") as plot:
        assert sheet.height == (1 + len(SOME)) * (64 + 4) and min(plot.size) > 500


def test_nothing_is_chosen_by_what_judges_and_seeds_are_the_pictures(whole: Path, folder: Path):
    pictures = study.open_study(
        whole, BUDGET.material, study.settings_of(BUDGET), folder, studying.no_report, seed=0, save_every=2
    ).pictures
    protocol = protocol_for(pictures, BUDGET.judging, 0)
    assert protocol.choosing and protocol.judged and not set(protocol.choosing) & set(protocol.judged)
    assert len(set(protocol.seeds(protocol.judged))) == len(protocol.judged)
    wider = protocol_for(pictures, replace(BUDGET.judging, prompts=8), 0)
    assert set(protocol.judged) <= set(wider.judged)
    assert [protocol.seeds([index]) for index in protocol.shown] == [wider.seeds([index]) for index in protocol.shown]


def test_what_is_there_is_not_done_again_and_a_folder_keeps_its_budget(whole: Path, folder: Path, monkeypatch):
    monkeypatch.setattr(cost, "memory", lambda *_: None)
    monkeypatch.setattr(Run, "_step", lambda run: pytest.fail("trained again"))
    monkeypatch.setattr(study, "evaluated", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(cost, "seconds", lambda *_: pytest.fail("timed again"))
    study.run(BUDGET, folder, whole, ["vq-raster"], studying.no_report)
    with pytest.raises(ValueError, match="begun with another teaching"):
        study.run(replace(BUDGET, teaching=replace(BUDGET.teaching, minutes=2.0)), folder, whole, ["vq-raster"],
                  studying.no_report)  # fmt: skip


@pytest.mark.parametrize("killed_at", [3])
def test_a_killed_study_goes_on_to_the_same_end(whole: Path, folder: Path, tmp_path: Path, killed_at: int, monkeypatch):
    throughput = json.loads((whole / "pace.json").read_text())
    throughput["vq-raster"] = 0.001 * 60 / (4 * 6)  # six steps
    for out in ("once", "killed"):
        (tmp_path / out).mkdir()
        (tmp_path / out / "pace.json").write_text(json.dumps(throughput))
    program = [sys.executable, studying.__file__, str(folder), str(tmp_path / "killed"), str(killed_at)]
    assert subprocess.run(program, capture_output=True).returncode == -signal.SIGKILL
    assert study.finished(tmp_path / "killed") == []
    monkeypatch.setattr(cost, "memory", lambda *_: None)
    step, taken = Run._step, []

    def counting(run: Run) -> dict:
        taken.append((run.folder.parent.name, run.iteration))
        return step(run)

    monkeypatch.setattr(Run, "_step", counting)
    study.run(BUDGET, folder, tmp_path / "killed", ["vq-raster"], studying.no_report)
    assert taken[0] == ("vq-raster-0.001-0", 2)  # saved every two steps
    study.run(BUDGET, folder, tmp_path / "once", ["vq-raster"], studying.no_report)
    found = []
    for out in ("once", "killed"):
        found.append({run.folder.name: {**run.figures, "training": 0} for run in study.finished(tmp_path / out)})
    assert found[0] == found[1] and len(found[0]) == 3


def test_a_stopped_examination_does_not_train_again(whole: Path, folder: Path, tmp_path: Path, monkeypatch):
    shutil.copytree(whole, tmp_path / "again")
    path = tmp_path / "again" / "runs" / "kl-denoise-0.001-0" / "figures.json"
    before = json.loads(path.read_text())
    path.unlink()
    monkeypatch.setattr(cost, "memory", lambda *_: None)
    monkeypatch.setattr(Run, "_step", lambda run: pytest.fail("trained again"))
    study.run(BUDGET, folder, tmp_path / "again", ["kl-denoise"], studying.no_report)
    assert json.loads(path.read_text()) == before


def test_a_folder_without_checkpoints_goes_on(whole: Path, folder: Path, tmp_path: Path, monkeypatch):
    shutil.copytree(whole, tmp_path / "light", ignore=shutil.ignore_patterns("checkpoint", "*.npy", "model", "*.png"))
    assert not list((tmp_path / "light").rglob("*.safetensors"))
    monkeypatch.setattr(Run, "_step", lambda run: pytest.fail("trained again"))
    monkeypatch.setattr(cost, "seconds", lambda *_: pytest.fail("timed again"))
    study.run(BUDGET, folder, tmp_path / "light", SOME, studying.no_report)
    for name in ("report.md", "report.json"):
        assert (tmp_path / "light" / name).read_text() == (whole / name).read_text()
    with Image.open(tmp_path / "light" / "sheet.png") as light, Image.open(whole / "sheet.png") as all_of_it:
        assert light.tobytes() == all_of_it.tobytes()


def test_memory_is_that_of_drawing_in_a_fresh_process(whole: Path):
    found = cost.memory(whole / "runs" / "vq-raster-0.001-0" / "checkpoint", {"guidance": 2.0}, "a flat icon of icon 9")
    assert found is None or 1 < found < 2000


def test_the_better_rate_counts_and_other_seeds_do_not_choose():
    def run(name: str, rate: float, seed: int, by: float) -> Outcome:
        return Outcome(name, rate, seed, Path(), {"chosen": {"kernel_distance": by}})

    runs = [run("a", 1, 0, 0.3), run("a", 2, 0, 0.2), run("a", 2, 1, 0.1), run("b", 1, 0, 0.4)]
    assert better(runs) == [runs[1], runs[3]]
    assert better(runs[::-1]) == [runs[1], runs[3]]  # the best system first


def line(name: str, value: float, half: float, hits: float) -> dict:
    distance = {"value": value, "low": value - half, "high": value + half}
    return {
        "name": name, "tokenizer": "vq", "kernel_distance": {"gradients": distance},
        "accuracy": {"train": {"top1": hits, "n": 100}}, "cost": {"seconds": {"1": value, "16": 1 - value}},
    }  # fmt: skip


def test_intervals_that_meet_are_told_as_such():
    said = "\n".join(findings([line("a", 0.2, 0.05, 0.5), line("b", 0.29, 0.05, 0.5), line("c", 0.5, 0.05, 0.1)]))
    assert "Nearest to true pictures: a." in said and "as their intervals meet: b." in said
    assert "do not meet its own: c." in said
    assert "Most often right, learned: a, b (50% of 100, give or take 10%)" in said
    assert "Fastest at batch 1: a" in said and "Fastest at batch 16: c" in said
    assert "Most often right, learned: none, ever (100 prompts)." in "\n".join(findings([line("a", 0.2, 0.05, 0.0)]))


def test_rates_at_the_edge_are_told_as_such(facts: dict):
    lines = [
        {"name": name, "seeds": {"0": {"gradients": 0.2}}, "rates": dict(zip(("0.001", "0.002"), by, strict=True))}
        for name, by in (("a", (0.3, 0.2)), ("b", (0.2, 0.3)), ("c", (0.4, 0.1)))
    ]
    rates = {**facts["budget"], "teaching": {"rates": [0.001, 0.002]}}
    assert "largest rate that was tried: a, c. A larger" in "\n".join(limits(lines, rates))
    alone = [{**line, "rates": {"0.002": 0.2}} for line in lines]
    assert "largest rate" not in "\n".join(limits(alone, rates))


def test_likelihoods_stand_beside_those_of_the_same_tokenizer():
    runs = [
        {"name": name, "rate": 1.0, "seed": 0, "bits": bits, "tokenizer_weights": "abcdef0123"}
        for name, bits in (("a", {"train": 9.0}), ("b", None), ("c", {"train": 3.0}))
    ]
    lines = [{"name": name, "tokenizer": sort} for name, sort in (("a", "vq"), ("b", "kl"), ("c", "bsq"))]
    rows = [row for row in likelihoods(runs, lines) if row.startswith("| bsq") or row.startswith("| vq")]
    assert rows == ["| bsq, abcdef | c | 1 | 0 | 3 |", "| vq, abcdef | a | 1 | 0 | 9 |"]
    assert not any("| kl" in row for row in likelihoods(runs, lines))


def test_nonsense_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no system 'vq-rater'; did you mean 'vq-raster'"):
        study.check_names(["vq-rater"])
    with pytest.raises(ValueError, match="names no system"):
        study.check_names([])
    for wrong, said in (
        (lambda: TrainingBudget(minutes=0), "minutes is above 0, got 0"),
        (lambda: TrainingBudget(rates=()), "rates are above 0"),
        (lambda: TrainingBudget(rates=(1.0, 1.0)), "different ones"),
        (lambda: EvaluationBudget(prompts=3), "prompts start at 4"),
        (lambda: EvaluationBudget(temperatures=(0.0,)), "temperature above 0"),
        (lambda: DataBudget(styles=("oil",)), "no style 'oil'"),
        (lambda: study.Budget(width=100), "multiple of 64"),
        (lambda: study.Budget(depth=3), "depth of 2"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()
    with pytest.raises(ValueError, match="0 pictures to learn and 0 held out in the style 3d"):
        study.run(
            replace(BUDGET, material=replace(BUDGET.material, styles=("3d",))),
            icons.write_icons(tmp_path / "icons", 12, 4), tmp_path / "out", ["vq-raster"], studying.no_report,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_the_transformer_is_put_back_after_counting(whole: Path):
    painter = painter_of(whole / "runs" / "kl-denoise-0.001-0" / "checkpoint")
    before = painter.model.transformer
    cost.passes(painter, "a flat icon of icon 9")
    assert painter.model.transformer is before
    assert not any(module._forward_hooks for module in painter.model.modules() if isinstance(module, torch.nn.Module))
