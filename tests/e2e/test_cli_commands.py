"""The other commands: help, models, data, train, evaluate, bench."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from kiloword.cli import main

COMMANDS = (
    "generate", "describe", "clean", "train", "data", "data build", "data build emoji", "data folder", "evaluate",
    "evaluate emoji", "bench", "models", "pull", "verify", "orders", "orders draw", "orders list",
)  # fmt: skip


def test_help_does_not_import_torch():
    code = "import sys; from kiloword.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and all(command in done.stdout for command in COMMANDS if " " not in command)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_help_shows_an_example(command: str, capsys):
    assert main([*command.split(), "--help"]) == 0
    assert "Example: kiloword" in capsys.readouterr().out


def test_models_are_listed(tiny: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kiloword.checkpoint.SHIPPED", tiny.parent)
    assert main(["models", "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)["models"]
    assert facts["name"] == "tiny" and facts["sizes"] == ["64x64"] and facts["styles"] == ["flat", "3d"]
    assert facts["licence"] == "Apache-2.0" and facts["parameters"] > 1000
    assert main(["models"]) == 0
    assert "tiny" in capsys.readouterr().out


def test_a_folder_of_pictures_is_counted(tmp_path: Path, capsys):
    Image.new("RGB", (40, 30)).save(tmp_path / "red_apple.png")
    Image.new("RGBA", (20, 64)).save(tmp_path / "green-pear.png")
    assert main(["data", "folder", str(tmp_path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["pictures"], facts["captions"], facts["transparent"]) == (2, 2, 1)
    assert (facts["smallest_side"], facts["largest_side"]) == (20, 64)
    assert facts["examples"] == ["green pear", "red apple"]


def test_a_checked_folder_prints_the_command_that_trains_on_it(tmp_path: Path, capsys, recipes: list[dict]):
    folder = tmp_path / "my pictures"
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "red_apple.png")
    assert main(["data", "folder", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "1 pictures, 1 different captions, 0 with transparency" in out
    words = shlex.split(err.splitlines()[-1].partition("kiloword train ")[2])
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 0
    assert recipes[0]["data"] == folder and recipes[0]["start"] == "emoji-64"


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """A stand-in for the recipes, which would train for hours: the calls it got."""
    calls: list[dict] = []

    def run(name: str | None, *, report, **values) -> Path:
        calls.append({"name": name, **values})
        report("iterations", 1, 2, {"loss": 3.0})
        if "stop" in values["changes"]:
            raise KeyboardInterrupt
        return values["out"] / "checkpoint"

    monkeypatch.setattr("kiloword.recipes.registry.run", run)
    monkeypatch.setattr("kiloword.recipes.recipe_names.names", lambda: ["emoji-64"])
    return calls


def test_training_from_a_recipe_and_from_a_model(recipes: list[dict], tmp_path: Path, capsys):
    assert main(["train", "emoji-64", "--set", "training.batch=64", "--set", "seed=1"]) == 0
    assert capsys.readouterr().out == "runs/emoji-64/checkpoint\n"
    assert main(["train", "--data", str(tmp_path), "--from", "emoji-64", "--out", "mine"]) == 0
    assert main(["train", "emoji-64", "--tokenizer", "trained"]) == 0
    usual = {"data": None, "start": None, "tokenizer": None, "changes": {}, "devices": 1, "strategy": "auto"}
    changes, out = {"training.batch": "64", "seed": "1"}, Path("runs/emoji-64")
    assert recipes == [
        {**usual, "name": "emoji-64", "out": out, "changes": changes},
        {**usual, "name": None, "data": tmp_path, "out": Path("mine"), "start": "emoji-64"},
        {**usual, "name": "emoji-64", "out": out, "tokenizer": "trained"},
    ]
    assert main(["train", "--data", str(tmp_path), "--from", "emoji-64", "--tokenizer", "trained"]) == 2
    assert "--tokenizer trained is for a recipe: emoji-64 has its own" in capsys.readouterr().err


def test_a_stopped_training_says_how_to_resume_and_an_unknown_recipe_lists_all(
    recipes: list[dict], capsys, monkeypatch
):
    words = ["train", "emoji-64", "--set", "stop=1"]
    assert main(words) == 130
    assert "saved in runs/emoji-64, the same command goes on from there" in capsys.readouterr().err
    assert main(["train", "emoji64"]) == 2
    assert "did you mean 'emoji-64'? (recipes: emoji-64)" in capsys.readouterr().err


def test_evaluation_prints_its_figures(tiny: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    figures = {"train": {"top1": 0.5}, "reconstruction": {"psnr": 21.0}}

    def evaluate_emoji(painter, data, *, prompts, seed, candidates, progress, sheet, record):
        progress("pictures drawn", 1, 2)
        assert (painter.card.name, data, prompts, seed, candidates) == ("tiny", tmp_path, 5, 0, 3)
        assert sheet is None and record is None
        return figures

    monkeypatch.setattr("kiloword.evaluation.evaluate_emoji", evaluate_emoji, raising=False)
    words = ["evaluate", "emoji", "--model", str(tiny), "--data", str(tmp_path), "--prompts", "5", "--best-of", "3"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == figures
    assert main(words) == 0
    assert "reconstruction" in capsys.readouterr().out


def test_bench_measures_this_machine(tiny: Path, capsys):
    assert main(["bench", "--model", str(tiny), "--repeats", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["cold_start_seconds"] > 0
    assert all(figures[batch]["tokens_a_second"] > 0 for batch in ("batch_1", "batch_8"))
