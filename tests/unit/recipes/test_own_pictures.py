"""From a person's own captioned pictures, of any kind, to a model; caches are found again, or made anew."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import icons
import tiny
import two_processes
from kiloword import checkpoint
from kiloword.recipes import families, registry
from kiloword.recipes import tokenizers as table
from kiloword.recipes.context import alone, launched
from kiloword.recipes.encoded import cached_tokens, fingerprint
from kiloword.recipes.training_set import load_pictures
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.vit import ViTConfig
from kiloword.training import token_versions

STEPS = {"data.side": "16", "data.versions": "2", "data.vocabulary": "300", "model.transformer.depth": "1",
         "training.iterations": "2", "training.batch": "4", "training.look_every": "2",
         "tokenizer_training.iterations": "2", "tokenizer_training.batch": "4"}  # fmt: skip


def no_report(*progress) -> None:
    """Report nothing."""


def captioned_pictures(folder: Path, count: int = 12) -> Path:
    """A folder of pictures captioned by their names."""
    folder.mkdir()
    for number in range(count):
        icons.icon(number).save(folder / f"a_drawing_{'abcdefghijkl'[number]}.png")
    return folder


def small() -> None:
    """Tokenizers' networks of a few numbers, in this process."""
    stack = tiny.vit().fine
    network = ViTConfig(stack, stack, 8, 1, 4)
    for module in (table, families):
        module.vit = lambda: (network, network)  # pyright: ignore


@pytest.fixture
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (table, families):
        monkeypatch.setattr(module, "vit", module.vit)  # put back at the end
    small()


def test_a_model_is_taught_from_the_start_on_a_folder_of_pictures(tmp_path, tiny_networks):
    stages = []
    folder = registry.run(
        "emoji-llamagen", data=captioned_pictures(tmp_path / "mine"), out=tmp_path / "run", changes=STEPS,
        report=lambda stage, *rest: stages.append(stage),
    )  # fmt: skip
    assert list(dict.fromkeys(stages)) == ["tokenizer", "pictures encoded", "model"]
    painter = checkpoint.load(folder)
    assert painter.card.styles == {} and "NOTICE" not in painter.card.licence
    (drawn,) = painter.generate("a drawing b", seed=1)
    assert drawn.size == (16, 16)
    assert not list((tmp_path / "run" / "pictures").glob("*.npy"))  # the store of pixels is gone, the tokens stay
    assert list((tmp_path / "run" / "tokens").glob("*.npy"))


def test_captions_that_are_too_long_are_counted_before_anything_is_taught(tmp_path, tiny_networks):
    data = captioned_pictures(tmp_path / "mine", 3)
    said = {"a": "one", "b": str(7**100), "c": str(7**400)}
    lines = [{"file_name": f"a_drawing_{letter}.png", "text": text} for letter, text in said.items()]
    (data / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match=r"2 captions are longer than the 20 text tokens .* has 339 characters"):
        registry.run(
            "emoji-llamagen", data=data, out=tmp_path / "run",
            changes={**STEPS, "model.prompt.limit": "20", "data.vocabulary": "300"},
        )  # fmt: skip
    assert not (tmp_path / "run" / "tokenizer").exists()


def test_own_pictures_hold_some_back_and_damage_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("kiloword.recipes.training_set.SHARD", 3 * 16 * 16**2)  # three pictures
    data = captioned_pictures(tmp_path / "mine")
    pictures = load_pictures(data, tmp_path / "store", 16, hold_out=0.25)
    assert len(pictures.values) == len(pictures.metadata) == 12 and len(list((tmp_path / "store").glob("*.npy"))) == 4
    assert len(pictures.held_out) == 3 and pictures.weights.sum() == 9
    assert pictures.metadata[1]["caption"] == "a drawing b"
    before = pictures.values[:]
    monkeypatch.setattr("kiloword.data.folder.read", lambda *_: pytest.fail("read a second time"))
    again = load_pictures(data, tmp_path / "store", 16, hold_out=0.25)
    assert torch.equal(again.values[:], before)
    monkeypatch.undo()
    icons.icon(3).save(data / "a_drawing_b.png")  # another picture under its name
    changed = load_pictures(data, tmp_path / "store", 16)
    assert not torch.equal(changed.values[1], before[1]) and torch.equal(changed.values[2:], before[2:])
    monkeypatch.setattr("kiloword.data.dataset.TOLERANCE", 0.5)
    (data / "a_drawing_c.png").write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(load_pictures(data, tmp_path / "store", 16).values) == 11
    assert any("1 skipped: a_drawing_c.png" in str(warning.message) for warning in caught)


def test_tokens_are_made_once_go_on_shard_by_shard_and_never_belong_to_another_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setattr("kiloword.recipes.encoded.SHARD", 4)
    made: list[int] = []

    def counted(*given, first, **named):
        if first == 8 and not (tmp_path / "second try").exists():
            raise KeyboardInterrupt
        made.append(first)
        return token_versions.versions(*given, first=first, **named)

    monkeypatch.setattr("kiloword.recipes.encoded.versions", counted)
    torch.manual_seed(0)
    tokenizer, here = tiny.autoencoder().build(), alone(tmp_path / "run", no_report)
    values = load_pictures(captioned_pictures(tmp_path / "mine"), tmp_path / "store", 8).values
    with pytest.raises(KeyboardInterrupt):
        cached_tokens(tokenizer, values, 8, 2, here)
    (tmp_path / "second try").touch()
    tokens, shown = cached_tokens(tokenizer, values, 8, 2, here)
    assert made == [0, 4, 8] and shown is None and tokens.shape[:2] == (2, 12)
    wanted, _ = token_versions.versions(tokenizer, values[:4], 8, 2)
    for version in range(2):
        assert torch.equal(tokens[version, torch.arange(4)], wanted[:, version])
    cached_tokens(tokenizer, values, 8, 2, here)
    assert made == [0, 4, 8]
    with torch.no_grad():
        next(tokenizer.parameters()).add_(1)  # another tokenizer
    cached_tokens(tokenizer, values, 8, 2, here)
    assert made == [0, 4, 8] * 2
    cached_tokens(tokenizer, 255 - values[:], 8, 2, here)  # other pictures
    cached_tokens(tokenizer, values, 8, 3, here)
    assert made == [0, 4, 8] * 4


def test_a_fingerprint_tells_settings_from_each_other_too():
    def built(flip: float):
        torch.manual_seed(0)
        return replace(tiny.QUANTIZERS["bsq-scales"], flip=flip)

    first, second, third = (AutoencoderConfig(tiny.vit(), tiny.vit(), built(flip)).build() for flip in (0.1, 0.1, 0.2))
    second.load_state_dict(first.state_dict())
    third.load_state_dict(first.state_dict())
    assert fingerprint(first) == fingerprint(second) != fingerprint(third)


def test_a_fine_tuning_that_was_stopped_comes_to_the_same_weights(tmp_path, tiny_networks):
    data = captioned_pictures(tmp_path / "mine")
    start = str(registry.run("emoji-llamagen", data=data, out=tmp_path / "base", changes=STEPS))
    changes = {"training.iterations": "6", "training.batch": "4", "training.log_every": "1", "versions": "2"}

    def stop(stage: str, iteration: int, iterations: int, figures: dict) -> None:
        if stage == "fine-tuning" and iteration == 3:
            raise KeyboardInterrupt

    once = registry.run(None, data=data, out=tmp_path / "once", start=start, changes=changes)
    with pytest.raises(KeyboardInterrupt):
        registry.run(None, data=data, out=tmp_path / "twice", start=start, changes=changes, report=stop)
    twice = registry.run(None, data=data, out=tmp_path / "twice", start=start, changes=changes)
    assert (once / checkpoint.WEIGHTS).read_bytes() == (twice / checkpoint.WEIGHTS).read_bytes()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_carry_out_a_recipe(tmp_path, strategy):
    """`kiloword train` under torchrun's variables: both train, one writes, and the checkpoint draws."""
    data = captioned_pictures(tmp_path / "mine")
    sets = [word for name, value in STEPS.items() for word in ("--set", f"{name}={value}")]
    words = ["train", "emoji-llamagen", "--data", data, "--out", tmp_path / "run", "--devices", 2, *sets]
    command = [sys.executable, __file__, *map(str, words), "--strategy", strategy]
    with two_processes.started(command, stdout=subprocess.PIPE, text=True) as processes:
        first, second = (process.communicate(timeout=300)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert first == f"{tmp_path / 'run' / 'checkpoint'}\n" and second == ""
    logged = (tmp_path / "run" / "model" / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in logged] == [2, 2]  # a loss and a look, by one of them
    assert bool(list((tmp_path / "run" / "model").glob("state-*"))) == (strategy == "fsdp")
    (drawn,) = checkpoint.load(tmp_path / "run" / "checkpoint").generate("a drawing b", seed=1)
    assert drawn.size == (16, 16)


def test_strategies_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no strategy 'zero': choose auto, ddp, fsdp"):
        launched(tmp_path, no_report, "zero", 2)
    with pytest.raises(ValueError, match="at least one device is needed, got 0"):
        launched(tmp_path, no_report, "ddp", 0)


if __name__ == "__main__":
    from kiloword.cli import main

    small()
    sys.exit(main(sys.argv[1:]))
