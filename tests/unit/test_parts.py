"""The table of parts: every part is written down as JSON and comes back equal; what it does not know it refuses."""

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch

import chat_template
import shared_vocab
import tiny
from kiloword import aliases, parts
from kiloword.heads.head import Sampling
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokens import Bits, Categorical, Codes, Vector
from kiloword.transformer import GeGLUConfig, UnmodulatedConfig

WORDS = tiny.words()
PICTURE = parts.ModalityConfig(PyramidConfig(tiny.autoencoder()), tiny.ORDERS["draft"], tiny.HEADS["factorised"])
PROMPT = parts.TextPrefixConfig(WORDS, tiny.WIDTH)
TEXT = parts.TextConfig(WORDS, parts.CategoricalConfig(Categorical(WORDS.build().space.size), tiny.WIDTH))
MODEL = parts.ImageModelConfig(PICTURE, PROMPT, tiny.stack(), TEXT)
VITAMIN = parts.ViTaminConfig(tiny.stack(8, 1, feed_forward=GeGLUConfig(8)), 2, (2, 4), (1, 2), (2, 1))
FACTORISED = parts.FactorisationConfig(VITAMIN, 8)
FEATURED = parts.AutoencoderConfig(FACTORISED, FACTORISED, parts.MulticodeConfig(2, 8, 2))
EXAMPLES = [
    MODEL, PICTURE, PROMPT, TEXT, WORDS, tiny.stack(), tiny.modulated(), tiny.vit(), tiny.autoencoder(),
    PyramidConfig(tiny.autoencoder(), (4, 2)), tiny.autoencoder().quantizer, UnmodulatedConfig(),
    parts.ClassLabelConfig(3, 8), *tiny.ORDERS.values(), *tiny.HEADS.values(),
    parts.PaletteConfig(8), parts.PixelwiseConfig(), parts.DVAEConfig(8, groups=2), parts.GumbelConfig(16, 4),
    parts.CNNConfig(8, (1, 2), groups=(4,)), parts.KLConfig(4), parts.VQConfig(16, 4),
    parts.ContrastiveConfig(FEATURED, parts.TextTowerConfig(tiny.stack(8, 1), 9, 5), 4), parts.SigLIPConfig(8, 1, 2, 8),
    parts.ResidualConfig(parts.VQConfig(8, 4, normalised=False), (1, 3)), parts.BSQConfig(4),
    parts.RQConfig(parts.VQConfig(8, 4, normalised=False)), parts.BSQScalesConfig(4, (((1, 1), (3, 2)),), flip=0.2),
    parts.DiffusionConfig(Vector(4), 8, 2, 12), parts.DDPMConfig(respacing=(0, 500, 999)), parts.FlowConfig(9),
    parts.NextScaleConfig(), parts.MaskedConfig(8), parts.BareEntranceConfig(),
    parts.PositionEntranceConfig(5, scales=2),
    parts.FeaturesConfig(6, 8, 4, "t5"),
    parts.NothingConfig(8), parts.ClassStartConfig(3, 8), parts.ClassBufferConfig(3, 8, positions=4),
    parts.EncoderDecoderConfig(tiny.stack(), tiny.stack(), 4, (2, 2)),
    parts.MutedConfig(parts.RotaryConfig((0, 0, 4, 4))),
    parts.SharedAdaLNConfig(), parts.AdaLNOutputConfig(), parts.UnitConfig(), parts.TokensOnlyConfig(Categorical(4)),
    parts.PatchedConfig(parts.TokensOnlyConfig(Vector(4)), 2),
    tiny.decoder(effort=parts.Effort(3, 2, 0.5, interval=(0.1, 0.8))), replace(MODEL, decoder=tiny.decoder()),
    tiny.one_by_one((3, 2), codes=parts.ProjectedCodesConfig(2)), tiny.one_by_one((3, 2)),
    parts.DirectionsConfig(tiny.autoencoder()), parts.RegressionConfig(Vector(4), 8),
    parts.RegressionConfig(Vector(4), 8, parts.ValueConfig()),
    shared_vocab.config(), parts.RowPattern(), parts.PositionEntranceConfig(4), chat_template.words(),
    chat_template.config().picture.head, chat_template.config().prompt, chat_template.config().transformer,
    parts.Raster1DConfig(),
    parts.RandomConfig(0.2, 0.6, 0.1, "fed"),
    parts.StretchedConfig(parts.RotaryConfig((8, 0, 0, 0))),
    tiny.FixedContextConfig().context, tiny.INFINITY, tiny.bitwise(5, entrance=parts.ScaleEntranceConfig(3), canvas=5),
    *(part for name in tiny.GRADUAL for part in tiny.WAYS[name][1:3]),
    Bits(3), Categorical(4), Codes((2, 3)), Vector(5),
    parts.JudgeConfig(WORDS, tiny.stack(), Categorical(4), tiny.stack(), 9),
]  # fmt: skip


def inside(config) -> list:
    """A config and all configs in it."""
    if isinstance(config, tuple):
        return [part for value in config for part in inside(value)]
    if not is_dataclass(config):
        return []
    return [config, *(part for field in fields(config) for part in inside(getattr(config, field.name)))]


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda config: type(config).__name__)
def test_a_config_comes_back_equal(config):
    assert parts.from_json(json.loads(json.dumps(parts.to_json(config)))) == config


def test_every_part_of_the_table_has_an_example_here():
    assert {type(part) for config in EXAMPLES for part in inside(config)} == set(parts.PARTS.values())


def test_a_tag_belongs_to_one_part():
    assert len(set(parts.PARTS.values())) == len(parts.PARTS)


def test_a_model_is_built_from_what_was_written_down():
    torch.manual_seed(0)
    wanted = parts.build(MODEL).state_dict()
    torch.manual_seed(0)
    built = parts.build(parts.from_json(json.loads(json.dumps(parts.to_json(MODEL))))).state_dict()
    assert wanted.keys() == built.keys() and all(torch.equal(wanted[name], built[name]) for name in wanted)


def test_unknown_and_missing_parts_and_fields_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown part 'flux': this kiloword knows adaln"):
        parts.from_json({"part": "flux"})
    with pytest.raises(ValueError, match="unknown part None"):
        parts.from_json({"heads": 2})
    with pytest.raises(ValueError, match="part 'swiglu' has no field depth, height"):
        parts.from_json({"part": "swiglu", "hidden": 3, "height": 1, "depth": 2})
    with pytest.raises(ValueError, match=r"part 'stack' needs its field depth, attention, feed_forward$"):
        parts.from_json({"part": "stack", "width": 8})
    with pytest.raises(ValueError, match=r"part 'categorical-space' needs its field size$"):
        parts.from_json({"part": "text", "head": {"part": "categorical", "space": {"part": "categorical-space"}}})
    with pytest.raises(ValueError, match="Sampling is not in the table"):
        parts.to_json(Sampling())


def test_values_that_make_no_sense_are_refused_as_when_built_by_hand():
    with pytest.raises(ValueError, match="at least 2 levels"):
        parts.from_json({"part": "fsq", "levels": [1], "groups": 1})


OLD_TAGS = {
    "adaln-output": "adaln-exit", "chat-template": "spoken", "extended-vocab": "grown", "raster-1d": "spelled",
    "shared-vocab": "joint", "text-context": "text-memory",
}  # fmt: skip
OLD_FIELDS = {"output_modulation": "exit_modulation", "cross_attention": "listening"}


def aged(values: Any) -> Any:
    """A config.json as it was written under the old names."""
    if isinstance(values, list):
        return [aged(value) for value in values]
    if not isinstance(values, dict):
        return values
    old = {OLD_FIELDS.get(name, name): aged(value) for name, value in values.items()}
    return {**old, "part": OLD_TAGS.get(values["part"], values["part"])}


def test_every_old_tag_and_field_of_a_config_is_read():
    told = ""
    for config in EXAMPLES:
        old = json.dumps(aged(parts.to_json(config)))
        told += old
        assert parts.from_json(json.loads(old)) == config
    assert all(f'"part": "{tag}"' in told for tag in OLD_TAGS.values())
    assert '"exit_modulation": ' in told and '"listening": ' in told


def test_no_alias_is_the_name_of_a_part():
    assert not aliases.TAGS.keys() & parts.PARTS.keys() and set(aliases.TAGS.values()) <= parts.PARTS.keys()
