"""`kiloword pull` and `verify --model`: published files become checkpoints that work, or nothing is left behind."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import pickles
from kiloword import checkpoint, published
from kiloword.cli import main
from kiloword.published.page import File, Variant
from kiloword.verification.recordings import read_settings

RECORDING = Path(__file__).parents[1] / "parity" / "recordings" / "dalle_dvae"


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The dVAE in the recorded size as its first variant, a cache of its own, and an empty folder to be in."""
    page = published.page("dalle-dvae")
    (real,) = page.variants.values()
    recorded = Variant(read_settings(RECORDING)["config"], 87_054, real.files)
    on_hub = dataclasses.replace(recorded, files=tuple(File(f.name, "who/what", part=f.part) for f in real.files))
    decoder = {**recorded.arguments["decoder_kwargs"], "n_init": 12}
    wide = dataclasses.replace(recorded, arguments={**recorded.arguments, "decoder_kwargs": decoder})
    variants = {"small": recorded, "hub": on_hub, "wide": wide, **page.variants}
    preparation = dataclasses.replace(page.preparation, size=32)
    changed = dataclasses.replace(page, variants=variants, preparation=preparation)
    monkeypatch.setattr("kiloword.published.dalle_dvae.PAGE", changed)
    monkeypatch.setenv("KILOWORD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder of the authors' two files."""
    folder = tmp_path / "source"
    folder.mkdir()
    for part in ("encoder", "decoder"):
        pickles.save_module(folder / f"{part}.pkl", load_file(RECORDING / f"{part}.safetensors"), part.title())
    return folder


def test_files_that_are_there_become_a_checkpoint(files: Path, capsys):
    given = ("--from", str(files / "decoder.pkl"), "--from", str(files / "encoder.pkl"))
    assert main(["pull", "dalle-dvae", *given, "--out", "mine"]) == 0
    out, err = capsys.readouterr()
    assert out == "mine\n" and "kiloword verify --model mine" in err
    assert sorted(path.name for path in Path("mine").iterdir()) == ["config.json", "weights.safetensors"]
    tokenizer, card = checkpoint.load_tokenizer("mine")
    assert (card.name, card.page) == ("dalle-dvae/small", "dalle-dvae") and "MIT" in card.licence
    tensors = load_file(RECORDING / "io.safetensors")
    pixels = tensors["in.image_u8"] / 127.5 - 1
    with torch.inference_mode():
        ids = tokenizer.encode(pixels, tokenizer.layout(*pixels.shape[2:])).target
    assert torch.equal(ids, tensors["out.ids"].flatten(1))


def test_what_was_pulled_is_found_by_its_name(files: Path, capsys):
    assert main(["pull", "dalle-dvae/small", "--from", str(files)]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder == Path(os.environ["KILOWORD_CACHE"]) / "published" / "dalle-dvae" / "small"
    assert checkpoint.find("dalle-dvae") == checkpoint.find("dalle-dvae/small") == folder
    assert main(["pull", "dalle-dvae", "--from", str(files)]) == 0  # again is no mistake
    with pytest.raises(ValueError, match=r"has not been pulled yet: kiloword pull dalle-dvae/8192"):
        checkpoint.find("dalle-dvae/8192")


def test_files_come_from_the_hub(files: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    requested = []

    def download(repository: str, name: str, local_files_only: bool) -> str:
        requested.append((repository, name))
        return str(files / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("kiloword.published.fetch._hub_is_known", lambda: False)
    assert main(["pull", "dalle-dvae/hub", "--out", "mine"]) == 0
    assert requested == [("who/what", "encoder.pkl"), ("who/what", "decoder.pkl")]
    assert checkpoint.load_tokenizer("mine")[1].name == "dalle-dvae/hub"


def test_files_come_from_an_address_once(files: Path, monkeypatch: pytest.MonkeyPatch):
    requested = []

    def rest(url: str, part: Path, report) -> tuple[int, int | None]:
        requested.append(url)
        part.write_bytes((files / Path(url).name).read_bytes())
        report(part.stat().st_size, None)
        return part.stat().st_size, None

    monkeypatch.setattr("kiloword.published.fetch._fetch_rest", rest)
    assert main(["pull", "dalle-dvae"]) == 0 and main(["pull", "dalle-dvae", "--out", "mine"]) == 0
    assert requested == [f"https://cdn.openai.com/dall-e/{part}.pkl" for part in ("encoder", "decoder")]


def test_ctrl_c_keeps_what_has_come(capsys, monkeypatch: pytest.MonkeyPatch):
    def stopped(url: str, part: Path, report):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("kiloword.published.fetch._fetch_rest", stopped)
    assert main(["pull", "dalle-dvae"]) == 130
    assert "what has come is kept" in capsys.readouterr().err
    assert [path.name for path in Path(os.environ["KILOWORD_CACHE"]).rglob("*.part")] == ["encoder.pkl.part"]


def refused(capsys, *words: str) -> str:
    """The one line of a pull that must fail and write nothing."""
    home = Path().resolve().parent
    before = sorted(home.rglob("*"))
    assert main(["pull", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("kiloword: ") and err.count("\n") == 1
    assert sorted(home.rglob("*")) == before
    return err


def test_mistakes_are_one_line_and_nothing_is_written(files: Path, capsys, tmp_path: Path):
    there = ("--from", str(files))
    assert "say what to pull" in refused(capsys)
    assert "did you mean 'dalle-dvae'?" in refused(capsys, "dale-dvae")
    assert "no variant '16': there are small, hub, wide, 8192" in refused(capsys, "dalle-dvae/16")
    assert "comes in 2 files (encoder.pkl, decoder.pkl), 1 given" in refused(
        capsys, "dalle-dvae", "--from", str(files / "encoder.pkl")
    )
    assert "holds no encoder.pkl" in refused(capsys, "dalle-dvae", "--from", str(tmp_path / "here"))
    wrong = refused(capsys, "dalle-dvae/wide", *there)
    assert "has shape [64, 8]" in wrong and "needs [64, 12]; they are those of dalle-dvae/small" in wrong
    (tmp_path / "here" / "photo.txt").write_text("mine")
    assert "name a new one with --out" in refused(capsys, "dalle-dvae", *there, "--out", ".")
    assert "name a new one with --out" in refused(capsys, "dalle-dvae", *there, "--out", "photo.txt")


class Attack:
    """Pickles as a command."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_damaged_and_evil_files_leave_nothing_behind(files: Path, capsys, tmp_path: Path):
    whole = (files / "encoder.pkl").read_bytes()
    (files / "encoder.pkl").write_bytes(whole[:-1000])
    assert "encoder.pkl is damaged" in refused(capsys, "dalle-dvae", "--from", str(files))
    weights = load_file(RECORDING / "encoder.safetensors")
    pickles.save_module(files / "encoder.pkl", {**weights, "extra.w": torch.zeros(1)}, "Encoder")
    assert "1 unknown (encoder.extra.w)" in refused(capsys, "dalle-dvae", "--from", str(files))
    torch.save(Attack(tmp_path / "ran"), files / "encoder.pkl")
    assert "asks for posix.system: refused" in refused(capsys, "dalle-dvae", "--from", str(files))
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_leaves_nothing_behind(files: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kiloword.checkpoint.save_file", full)
    assert "No space left on device" in refused(capsys, "dalle-dvae", "--from", str(files), "--out", "mine")


def test_all_published_systems_are_listed(files: Path, capsys):
    main(["pull", "dalle-dvae", "--from", str(files)])
    capsys.readouterr()
    assert main(["pull", "--list", "--json"]) == 0
    listed = {facts["name"]: facts for facts in json.loads(capsys.readouterr().out)["published"]}
    assert len(listed) >= 12 and all(facts["licence"] and facts["files"] for facts in listed.values())
    assert listed["dalle-dvae/8192"]["bytes"] == 4 * 97_616_006 and listed["dalle-dvae/8192"]["path"] is None
    assert listed["dalle-dvae/small"]["path"]
    assert main(["pull", "--list"]) == 0
    out = capsys.readouterr().out
    assert "llamagen-vq/16" in out and "71.9 M" in out


def test_pictures_are_rebuilt_beside_the_originals(files: Path, capsys):
    main(["pull", "dalle-dvae", "--from", str(files), "--out", "mine"])
    Image.new("RGB", (50, 80), (200, 90, 40)).save("a.png")
    Image.radial_gradient("L").save("b.png")
    capsys.readouterr()
    assert main(["verify", "--model", "mine", "a.png", "b.png", "--out", "both.png"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[:2] for line in out.splitlines()] == [["a.png", "32x32"], ["b.png", "32x32"]]
    assert all(line.endswith(" dB") and 0 < float(line.split()[2]) < 60 for line in out.splitlines())
    assert "side by side: both.png" in err
    with Image.open("both.png") as both:
        assert both.width > 2 * 300 and both.height > 2 * 300
    assert main(["verify", "--model", "mine", "a.png", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"] == "dalle-dvae/small" and facts["psnr"] == pytest.approx(float(out.split()[2]), abs=0.01)
    assert Path("mine-verified.png").exists()


def test_mistakes_with_pictures_and_recordings(capsys):
    def line(*words: str) -> str:
        assert main(["verify", *words]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and not list(Path().iterdir())
        return err

    assert "none.png does not exist" in line("--model", "emoji-64", "none.png")
    assert "--out a.png goes with --model" in line(str(RECORDING), "--out", "a.png")
    assert "config.json cannot be read" in line(".")


def test_a_recording_that_fails_sets_the_exit_code(tmp_path: Path, capsys):
    assert main(["verify", str(RECORDING)]) == 0
    out = capsys.readouterr().out
    assert out.count(" ok\n") == 10 and "FAIL" not in out
    for path in RECORDING.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "io.safetensors")
    tensors["out.recon"][0, 0, 0, 0] += 1
    save_file(tensors, tmp_path / "io.safetensors")
    assert main(["verify", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.count("FAIL") == 1 and out.count(" ok\n") == 9
