"""`kiloword study` and `kiloword train tokenizer-...`: from a folder of icons to a report and to a checkpoint."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import icons
from kiloword.checkpoint import load_tokenizer
from kiloword.cli import main
from kiloword.studies import jobs
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


@pytest.mark.parametrize("command", ["study", "study tokenizers", "study generators", "study scaling"])
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
    from kiloword.studies import decoder_study as study

    requested = []
    opened = SimpleNamespace(card=SimpleNamespace(name="emoji-128"))
    monkeypatch.setattr(study, "open_model", lambda name: (opened, f"weights of {name}"))
    monkeypatch.setattr(study, "run", lambda *given: requested.append(given) or given[3] / "report.md")
    monkeypatch.chdir(tmp_path)
    assert main(["study", "decoders", "mine", "--data", str(folder), "--pictures", "3"]) == 0
    assert capsys.readouterr().out == "runs/study-decoders-emoji-128/report.md\n"
    assert requested[0][:5] == (opened, "weights of mine", folder, Path("runs/study-decoders-emoji-128"), 3)

    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run", stopped)
    assert main(["study", "decoders", "mine", "--data", str(folder), "--out", "here"]) == 130
    assert "what was measured is in here, the same command goes on from there" in capsys.readouterr().err


MODELS = ["material.pictures=8", "material.held_out=4", "material.seen=32", "material.versions=1",
          "material.vocabulary=300", "teaching.batch=2", "teaching.minutes=0.0001", "judging.prompts=4",
          "judging.guidances=1.5", "judging.temperatures=1", "judging.shown=2", "judging.rounds=1"]  # fmt: skip


def requested(study: str, folder: Path, out: Path, *more: str) -> list[str]:
    sets = [word for change in (*MODELS, *more) for word in ("--set", change)]
    return ["study", study, "--budget", "quick", "--data", str(folder), "--out", str(out), *sets]


def test_a_study_of_generators_from_pictures_to_its_report_and_on(folder: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(jobs, "TIMED", 1)
    words = requested("generators", folder, tmp_path / "study", "width=64", "depth=2", "teaching.rates=0.002")
    assert main([*words, "--only", "bits-scales"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'study' / 'report.md'}\n"
    weights = tmp_path / "study" / "runs" / "bits-scales-0.002-0" / "checkpoint" / "weights.safetensors"
    made = weights.stat().st_mtime_ns
    assert main([*words, "--only", "bits-scales,vq-raster"]) == 0
    facts = json.loads((tmp_path / "study" / "report.json").read_text())
    assert [line["name"] for line in facts["systems"]] == ["vq-raster", "bits-scales"]
    assert weights.stat().st_mtime_ns == made
    assert {path.name for path in (tmp_path / "study").iterdir()} >= {"report.md", "plot.png", "sheet.png"}


def test_a_study_of_scaling_from_pictures_to_its_report(folder: Path, tmp_path: Path, capsys):
    small = ["sizes=64x2,64x4,64x6,128x2", "larger=128x4", "both=64x2", "seen=8", "shares=1"]
    assert main(requested("scaling", folder, tmp_path / "study", *small)) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'study' / 'report.md'}\n"
    facts = json.loads((tmp_path / "study" / "report.json").read_text())
    assert facts["prediction"]["size"] == facts["truth"]["size"] == "128x4" and len(facts["points"]) == 4


def test_scaling_without_its_package_names_the_extra(folder: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert main(requested("scaling", folder, tmp_path / "study")) == 2
    assert "this needs the package scipy: pip install 'kiloword[train]'" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("study", "more", "said"),
    [
        ("generators", ["--only", "vq-rastr"], "did you mean 'vq-raster'"),
        ("generators", ["--set", "width=100"], "multiple of 64"),
        ("generators", ["--set", "teaching.minutes=0"], "minutes is above 0"),
        ("generators", ["--set", "material.styles=oil"], "there is no style 'oil'"),
        ("scaling", ["--set", "sizes=64x2"], "takes 4 sizes or more"),
        ("scaling", ["--budget", "tiny"], "--budget tiny is none of quick, cpu, gpu"),
    ],
)
def test_mistakes_in_studies_of_models_are_met_with_one_line(study, more, said, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["study", study, "--data", str(folder), "--out", str(tmp_path / "study"), *more]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())
