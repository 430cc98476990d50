"""`kiloword study` and `kiloword train tokenizer-...`: from a folder of icons to a report and to a checkpoint."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import icons
from kiloword.checkpoint import load_tokenizer
from kiloword.cli import main
from kiloword.training.loop import Run

TINY = ["pictures=8", "held_out=3", "seen=4", "batch=2", "side=16", "shown=2", "rates=0.002"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return icons.write_icons(tmp_path_factory.mktemp("icons"), count=12, held_out=4)


def words(folder: Path, out: Path, *more: str) -> list[str]:
    sets = [word for change in TINY for word in ("--set", change)]
    return ["study", "tokenizers", "--budget", "quick", "--data", str(folder), "--out", str(out), *sets, *more]


def test_a_study_ends_with_a_report_and_can_be_widened(folder: Path, tmp_path: Path, capsys):
    out = tmp_path / "study"
    assert main(words(folder, out, "--only", "fsq")) == 0
    assert capsys.readouterr().out == f"{out / 'report.md'}\n"
    state = (out / "runs" / "fsq-0.002" / "checkpoint" / "weights.safetensors").stat().st_mtime_ns
    assert main(words(folder, out, "--only", "fsq, vq")) == 0
    facts = json.loads((out / "report.json").read_text())
    assert {line["name"] for line in facts["tokenizers"]} == {"fsq", "vq"}
    assert {path.name for path in out.iterdir()} >= {"report.md", "report.json", "plot.png", "sheet.png"}
    assert (out / "runs" / "fsq-0.002" / "checkpoint" / "weights.safetensors").stat().st_mtime_ns == state
    assert main(words(folder, out, "--only", "fsq", "--set", "seen=6")) == 2
    assert "begun with another seen: remove it, or choose another --out" in capsys.readouterr().err


def test_a_stopped_study_says_how_to_go_on(folder: Path, tmp_path: Path, capsys, monkeypatch):
    step = Run._step

    def stopping(run: Run) -> dict:
        if run.iteration == 1:
            raise KeyboardInterrupt
        return step(run)

    monkeypatch.setattr(Run, "_step", stopping)
    assert main(words(folder, tmp_path / "study", "--only", "fsq")) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    monkeypatch.setattr(Run, "_step", step)
    assert main(words(folder, tmp_path / "study", "--only", "fsq")) == 0


def test_a_recipe_of_a_tokenizer_ends_with_its_checkpoint(folder: Path, tmp_path: Path, capsys):
    sets = ["training.iterations=2", "training.batch=2", "data.side=16"]
    sets = [word for change in sets for word in ("--set", change)]
    assert main(["train", "tokenizer-fsq", "--data", str(folder), "--out", str(tmp_path / "run"), *sets]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'run' / 'checkpoint'}\n" and "tokens roundtrip" in err
    assert load_tokenizer(tmp_path / "run" / "checkpoint")[1].name == "tokenizer-fsq"


@pytest.mark.parametrize("command", ["study", "study tokenizers"])
def test_every_help_shows_an_example(command: str, capsys):
    assert main([*command.split(), "--help"]) == 0
    assert "Example: kiloword study" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--budget", "huge"], "--budget huge is none of quick, cpu, gpu"),
        (["--only", "vqq"], "did you mean 'vq'"),
        (["--only", ""], "names no tokenizer"),
        (["--set", "seen"], "FIELD=VALUE"),
        (["--set", "seen=many"], "seen is a int, got 'many'"),
        (["--set", "size=3"], "Budget has no field 'size'"),
        (["--set", "held_out=1"], "2 held-out pictures"),
        (["--data", "nowhere"], "nowhere is not a folder"),
        (["--data", "."], "no metadata.jsonl"),
    ],
)
def test_mistakes_are_met_with_one_line_and_no_folder(more, said, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "tokenizers", "--out", "study", *more]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_study_of_decoders_takes_a_model_that_has_one(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "decoders", "emoji-64", "--pictures", "1"]) == 2
    assert "--pictures is 1: a kernel distance takes 2 or more" in capsys.readouterr().err
    assert main(["study", "decoders", "emoji-64", "--data", "nowhere"]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    assert main(["study", "decoders", "nothing", "--data", "."]) == 2
    assert "there is no model 'nothing'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_study_of_decoders_prints_its_report_and_says_how_to_go_on(folder: Path, tmp_path: Path, capsys, monkeypatch):
    from kiloword.studies import decoders as study

    asked = []
    opened = SimpleNamespace(card=SimpleNamespace(name="emoji-128"))
    monkeypatch.setattr(study, "open_model", lambda name: (opened, f"weights of {name}"))
    monkeypatch.setattr(study, "run", lambda *given: asked.append(given) or given[3] / "report.md")
    monkeypatch.chdir(tmp_path)
    assert main(["study", "decoders", "mine", "--data", str(folder), "--pictures", "3"]) == 0
    assert capsys.readouterr().out == "runs/study-decoders-emoji-128/report.md\n"
    assert asked[0][:5] == (opened, "weights of mine", folder, Path("runs/study-decoders-emoji-128"), 3)

    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run", stopped)
    assert main(["study", "decoders", "mine", "--data", str(folder), "--out", "here"]) == 130
    assert "what was measured is in here, the same command goes on from there" in capsys.readouterr().err
