"""Conversion: files are matched to variants, weights that are something else are named, even as what they are."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bundles import bundle, shard_of
from kiloword import parts, published
from kiloword.published.convert import arrange, convert, read_file, read_variant
from kiloword.published.page import File, Variant, bundle_files, names_of
from kiloword.tokenizers.tokenizer import TokenizerConfig

PAGE = published.page("dalle-dvae")
FILES = (File("encoder.pt", part="encoder"), File("decoder.pt", part="decoder"))


def arguments(width: int) -> dict:
    shared = {"n_hid": width, "n_blk_per_group": 1, "vocab_size": 6, "group_count": 2}
    return {"encoder_kwargs": shared, "decoder_kwargs": {**shared, "n_init": 4}}


SMALL = dataclasses.replace(
    PAGE, variants={f"{width}": Variant(arguments(width), 0, FILES) for width in (4, 8)}
)  # fmt: skip


def save(folder: Path, width: int) -> tuple[torch.nn.Module, list[Path]]:
    """A system and its files, as its authors would have published it."""
    config = SMALL.parts(arguments(width))
    system = parts.build(config)
    halves: dict[str, dict[str, torch.Tensor]] = {"encoder": {}, "decoder": {}}
    for name, source in names_of(SMALL, config, system).items():
        part, _, rest = source.names[0].partition(".")
        value = system.state_dict()[name]
        halves[part][rest] = value.t()[:, :, None, None].clone() if source.transposed else value
    for part, weights in halves.items():
        torch.save(weights, folder / f"{part}.pt")
    return system, [folder / "encoder.pt", folder / "decoder.pt"]


def test_a_system_is_made_of_its_files(tmp_path):
    wanted, paths = save(tmp_path, 8)
    config, found = convert(SMALL, "8", paths)
    assert config == SMALL.parts(arguments(8)) and not found.training
    assert all(torch.equal(value, wanted.state_dict()[name]) for name, value in found.state_dict().items())


def test_another_variant_is_recognised(tmp_path):
    _, paths = save(tmp_path, 4)
    with pytest.raises(ValueError, match=r"has shape .* needs .*; they are those of dalle-dvae/4$"):
        convert(SMALL, "8", paths)


def test_missing_and_unknown_weights_are_named(tmp_path):
    _, paths = save(tmp_path, 8)
    weights = torch.load(paths[0])
    weights["head.w"] = weights.pop("blocks.input.w")
    torch.save(weights, paths[0])
    with pytest.raises(
        ValueError, match=r"encoder.pt.*1 missing \(encoder.blocks.input.w\), 1 unknown \(encoder.head.w\)$"
    ):
        convert(SMALL, "8", paths)


def test_files_are_found_by_name_then_by_stem_then_by_what_is_left(tmp_path):
    variant = SMALL.variants["8"]
    for name in ("encoder.pt", "decoder.pt", "decoder.safetensors", "other.bin"):
        (tmp_path / name).touch()

    def names(*given: str) -> list[str]:
        return [path.name for path in arrange([tmp_path / name for name in given], variant)]

    assert names(".") == ["encoder.pt", "decoder.pt"]
    assert names("decoder.pt", "encoder.pt") == ["encoder.pt", "decoder.pt"]
    assert names("decoder.safetensors", "other.bin") == ["other.bin", "decoder.safetensors"]
    (tmp_path / "decoder.pt").unlink()
    assert names(".") == ["encoder.pt", "decoder.safetensors"]


def test_too_few_too_many_and_absent_files_are_refused(tmp_path):
    variant = SMALL.variants["8"]
    (tmp_path / "encoder.pt").touch()
    with pytest.raises(ValueError, match=r"holds no decoder.pt"):
        arrange([tmp_path], variant)
    with pytest.raises(ValueError, match=r"comes in 2 files \(encoder.pt, decoder.pt\), 1 given"):
        arrange([tmp_path / "encoder.pt"], variant)
    with pytest.raises(ValueError, match=r"comes in 2 files .*, 3 given"):
        arrange([tmp_path / "encoder.pt"] * 3, variant)
    with pytest.raises(ValueError, match=r"none.pt is not a file: give encoder.pt, decoder.pt"):
        arrange([tmp_path / "encoder.pt", tmp_path / "none.pt"], variant)


def test_the_index_of_a_tensorflow_checkpoint_brings_its_shards(tmp_path):
    variant = Variant({}, 0, bundle_files("https://x.org/model.ckpt-9", "s/model.ckpt-9", 3))
    (tmp_path / "s").mkdir()
    for step in (7, 9):  # another step, and the page's own
        index = bundle({"w": torch.ones(2)}, 3).write(tmp_path / "s" / f"model.ckpt-{step}")
        names = [path.name for path in arrange([index], variant)]
        assert names == [file.name[2:].replace("-9", f"-{step}") for file in variant.files]
    assert arrange([tmp_path], variant) == arrange([tmp_path / "s"], variant) == arrange([index], variant)
    assert arrange(sorted((tmp_path / "s").glob("*-9.*")), variant) == arrange([index], variant)
    with pytest.raises(ValueError, match=r"comes in 4 files \(s/model.ckpt-9.index, .*, \.\.\.\), 1 given"):
        arrange([tmp_path / "none" / "model.ckpt-9.index"], variant)


def same(found: dict, wanted: dict) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_variants_of_several_files(tmp_path):
    torch.save({"w": torch.zeros(1)}, tmp_path / "one.pt")
    save_file({"w": torch.ones(1)}, tmp_path / "two.safetensors")
    variant = Variant({}, 2, (File("one.pt", part="encoder"), File("two.pt", part="decoder")))
    wanted = {"encoder.w": torch.zeros(1), "decoder.w": torch.ones(1)}
    assert same(read_variant([tmp_path / "one.pt", tmp_path / "two.safetensors"], variant), wanted)
    with pytest.raises(ValueError, match=r"in 2 files \(one.pt, two.pt\); 1 are given"):
        read_variant([tmp_path / "one.pt"], variant)


def test_a_tensorflow_checkpoint_comes_by_its_index(tmp_path):
    weights = {"a.w": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}
    index = bundle(weights, 2).write(tmp_path / "model.ckpt-7")
    paths = [index, *(shard_of(tmp_path / "model.ckpt-7", shard, 2) for shard in range(2))]
    variant = Variant({}, 8, bundle_files("https://x.org/model.ckpt-7", "s/model.ckpt-7", 2))
    assert [file.url for file in variant.files] == [f"https://x.org/{path.name}" for path in paths]
    assert same(read_variant(paths, variant), weights)
    assert read_file(paths[1], variant.files[1]) == {}
    with pytest.raises(ValueError, match=r"holds numbers without names: give model.ckpt-7.index beside it"):
        read_variant([paths[1], paths[0], paths[2]], variant)
    paths[2].unlink()
    with pytest.raises(
        ValueError, match=r"needs model.ckpt-7.data-00001-of-00002, which is not beside it: put it there"
    ):
        read_variant(paths, variant)


@pytest.mark.parametrize("name", published.names())
def test_every_published_system_can_be_written_down(name):
    page = published.page(name)
    for variant in page.variants.values():
        config = page.parts(variant.arguments)
        assert isinstance(config, parts.ImageModelConfig if page.card else TokenizerConfig)
        assert parts.from_json(json.loads(json.dumps(parts.to_json(config)))) == config
