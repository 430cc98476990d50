"""DALL-E's dVAE: parameter counts, files as they were published, and other sizes against the authors' formulas."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import conv2d, interpolate, max_pool2d, one_hot, relu

import pickles
from kiloword import parts, published
from kiloword.formats.pickled import tensors_of_module
from kiloword.formats.weight_file import read
from kiloword.published.convert import read_variant
from kiloword.published.page import fill, names_of
from kiloword.verification.comparison import compare
from kiloword.verification.dalle_dvae_stages import stages
from kiloword.verification.proof import Record
from kiloword.verification.recordings import read_settings

PAGE = published.page("dalle-dvae")
HERE = Path(__file__).parent / "recordings" / "dalle_dvae"
THERE = Path(__file__).parents[3] / "shared" / "fixtures" / "dalle_dvae"


def arguments(encoder=8, decoder=8, n_init=8, blocks=2, vocab=20, channels=(3, 3), group_count=4) -> dict:
    shared = {"n_blk_per_group": blocks, "vocab_size": vocab, "group_count": group_count}
    return {
        "encoder_kwargs": {"n_hid": encoder, "input_channels": channels[0], **shared},
        "decoder_kwargs": {"n_hid": decoder, "n_init": n_init, "output_channels": channels[1], **shared},
    }


def test_the_published_size_has_their_parameters_under_their_names():
    (variant,) = PAGE.variants.values()
    config = PAGE.parts(variant.arguments)
    with torch.device("meta"):
        system = parts.build(config)

    def count(*modules) -> int:
        return sum(value.numel() for module in modules for value in module.parameters())

    assert count(system.encoder) == 53_786_240 and count(system.decoder, system.quantizer) == 43_829_766
    assert count(system) == variant.parameters
    names = [name for source in names_of(PAGE, config, system).values() for name in source.names]
    assert len(set(names)) == len(names) == 2 * (2 + 2 + 8 * 4 * 2 + 2 * 3) + 2
    for name in ("encoder.blocks.group_4.block_2.res_path.conv_4.w", "decoder.blocks.group_1.block_1.id_path.b"):
        assert name in names
    assert system.layout(256, 256).sizes == ((32, 32),)


@pytest.mark.parametrize("newer", [True, False], ids=["archive", "older"])
def test_pickled_modules_pass_every_stage(tmp_path, newer):
    for part in ("encoder", "decoder"):
        weights = load_file(HERE / f"{part}.safetensors")
        pickles.save_module(tmp_path / f"{part}.pkl", weights, part.title(), newer)
    settings, tensors = read_settings(HERE), load_file(HERE / "io.safetensors")
    (variant,) = PAGE.variants.values()
    config = PAGE.parts(settings["config"])
    system = parts.build(config).eval()
    fill(PAGE, config, system, read_variant([tmp_path / file.name for file in variant.files], variant))
    with torch.inference_mode():
        made = stages(Record(settings, tensors, system))
        rows = [compare(PAGE.name, name, stage(), tensors[name]) for name, stage in made.items()]
    assert len(rows) == 10 and all(row.passed for row in rows)


@pytest.mark.skipif(not THERE.exists(), reason="the recordings lie elsewhere")
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_the_authors_own_kind_of_pickle_holds_the_same_tensors(part):
    found, wanted = tensors_of_module(THERE / f"{part}.pkl"), load_file(THERE / f"{part}.safetensors")
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    named = read(THERE / f"{part}.pkl", part=part)
    assert named.keys() == {f"{part}.{name}" for name in wanted}


def published_weights(config, system) -> dict[str, torch.Tensor]:
    """A system's own weights under the authors' names and in their shapes."""
    found = {}
    for name, source in names_of(PAGE, config, system).items():
        value = system.state_dict()[name].clone()
        found[source.names[0]] = value.t()[:, :, None, None].contiguous() if source.transposed else value
    return found


def reference(x: torch.Tensor, weights: dict[str, torch.Tensor], groups: int, blocks: int, resample) -> torch.Tensor:
    """The authors' encoder or decoder, from their formulas; `resample` follows all groups but the last."""

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        w = weights[f"{name}.w"]
        return conv2d(x, w, weights[f"{name}.b"], padding=(w.shape[-1] - 1) // 2)

    x = conv(x, "blocks.input")
    for group in range(1, groups + 1):
        for block in range(1, blocks + 1):
            name = f"blocks.group_{group}.block_{block}"
            change = x
            for layer in range(1, 5):
                change = conv(relu(change), f"{name}.res_path.conv_{layer}")
            same = conv(x, f"{name}.id_path") if f"{name}.id_path.w" in weights else x
            x = same + change / (groups * blocks) ** 2
        x = resample(x) if group < groups else x
    return conv(relu(x), "blocks.output.conv")


@torch.no_grad()
@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (arguments(), (1, 3, 16, 24)),
        (arguments(encoder=4, decoder=12, n_init=6, blocks=1, vocab=9), (2, 3, 8, 8)),
        (arguments(n_init=16, blocks=3, channels=(1, 4), group_count=2, decoder=16), (1, 1, 6, 2)),
        (arguments(n_init=1, vocab=2), (3, 3, 8, 16)),
    ],
)
def test_other_sizes_follow_the_same_formulas(given, shape):
    torch.manual_seed(0)
    config = PAGE.parts(given)
    system = parts.build(config).eval()
    weights = {name: torch.randn_like(value) / 3 for name, value in published_weights(config, system).items()}
    fill(PAGE, config, system, weights)
    halves = [
        {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(part)}
        for part in ("encoder", "decoder")
    ]
    groups, blocks = given["encoder_kwargs"]["group_count"], given["encoder_kwargs"]["n_blk_per_group"]
    image, layout = torch.rand(shape), system.layout(*shape[2:])
    logits = reference(0.8 * image + 0.1, halves[0], groups, blocks, lambda x: max_pool2d(x, 2))
    ids = system.encode(image * 2 - 1, layout).target
    assert torch.allclose(system.encoder(image * 2 - 1, layout), logits, rtol=1e-4, atol=1e-4 * logits.abs().max())
    clear = logits.topk(2, dim=1).values.diff(dim=1).abs().flatten(1) > 1e-3
    assert clear.any() and torch.equal(ids[clear], logits.argmax(1).flatten(1)[clear])

    grid = one_hot(ids.view(shape[0], *layout.sizes[0]), given["decoder_kwargs"]["vocab_size"]).movedim(-1, 1).float()
    raw = reference(grid, halves[1], groups, blocks, lambda x: interpolate(x, scale_factor=2, mode="nearest"))
    recon = ((raw.chunk(2, dim=1)[0].sigmoid() - 0.1) / 0.8).clamp(0, 1)
    drawn = system.decode(ids, layout, torch.ones_like(ids, dtype=torch.bool))
    assert torch.allclose((drawn + 1) / 2, recon, atol=1e-4)


def test_weights_of_another_size_are_named():
    config = PAGE.parts(arguments())
    system = parts.build(config)
    weights = published_weights(config, system)
    fill(PAGE, config, system, weights)
    with pytest.raises(ValueError, match=r"missing \(encoder.blocks.input.w\)"):
        fill(PAGE, config, system, {name: value for name, value in weights.items() if name != "encoder.blocks.input.w"})
    with pytest.raises(ValueError, match=r"encoder.blocks.input.b has shape \[9\].* needs \[8\]"):
        fill(PAGE, config, system, weights | {"encoder.blocks.input.b": torch.zeros(9)})
    wide = torch.zeros(*weights["decoder.blocks.input.w"].shape[:2], 3, 3)
    with pytest.raises(ValueError, match=r"decoder.blocks.input.w has shape"):
        fill(PAGE, config, system, weights | {"decoder.blocks.input.w": wide})
    with pytest.raises(ValueError, match=r"encoder.blocks.input.b holds NaN"):
        fill(PAGE, config, system, weights | {"encoder.blocks.input.b": torch.full((8,), torch.nan)})
