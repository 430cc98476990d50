"""Liquid's page: the published size is exact, files become a model that draws and describes, its traps are traps."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import chat_template
from kiloword import parts, published
from kiloword.published.convert import arrange, convert
from kiloword.published.liquid import PAGE
from kiloword.published.page import names_of
from kiloword.verification import liquid_stages
from kiloword.verification.comparison import rebuild, verify
from kiloword.verification.recordings import read_settings
from liquid_files import TINY, made, tiny_page, written

ALL = Path(__file__).parents[3] / "shared" / "fixtures" / "liquid_gemma"
recorded = pytest.mark.skipif(not ALL.exists(), reason="the folder of recordings is not here")


@pytest.mark.parametrize("name", PAGE.variants)
def test_the_published_size_has_its_parameters_and_its_authors_names(name):
    """Gemma 7B has 8,537,680,896 parameters (its report, table 2), and 8,192 vectors of 3,072 were appended."""
    variant = PAGE.variants[name]
    model = made(variant.arguments)
    counts = {kind: 0 for kind in (True, False)}
    for key, weight in model.named_parameters():
        counts[key.startswith("picture.tokenizer.")] += weight.numel()
    assert counts == {False: variant.parameters, True: 68_718_467}
    assert variant.parameters == 8_537_680_896 + 8192 * 3072
    sources = names_of(PAGE, PAGE.parts(variant.arguments), model)
    found = {name for source in sources.values() for name in source.names}
    layer = [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up", "down")]
    layer += ["input_layernorm", "post_attention_layernorm"]
    wanted = {"model.embed_tokens.weight", "model.norm.weight"}
    wanted |= {f"model.layers.{i}.{key}.weight" for i in range(28) for key in layer}
    assert {key for key in found if not key.startswith("vqgan.")} == wanted
    vq = published.page("chameleon-vqgan")
    config = vq.parts(vq.variants["8192"].arguments)
    with torch.device("meta"):
        keys = parts.build(config).state_dict()
    sources = {f"vqgan.{name}" for key in keys for name in vq.source_name(key, config).names}
    assert {key for key in found if key.startswith("vqgan.")} == sources
    assert len(model.picture.head.matrix) == 264_192


def test_the_card_says_how_the_authors_draw():
    card = PAGE.card("7b")
    assert (card.guidance, card.temperature, card.top_k, card.top_p) == (7.0, 0.99, 4096, 0.96)
    assert card.prompts == "text" and card.sizes == ((512, 512),)
    assert made(PAGE.variants["7b"].arguments).picture.tokenizer.layout(512, 512).sizes == ((32, 32),)


@pytest.mark.parametrize("whole", [True, False])
@torch.no_grad()
def test_a_folder_becomes_a_whole_model(tmp_path, whole):
    tensors, page = written(tmp_path, TINY, whole), tiny_page()
    config, model = convert(page, "tiny", arrange([tmp_path], page.variants["tiny"]))
    assert parts.from_json(json.loads(json.dumps(parts.to_json(config)))) == config
    assert config.text.tokenizer.json == chat_template.wordbook()
    own = model.picture.head.embedding.weight
    assert torch.equal(own, tensors["model.embed_tokens.weight"].bfloat16().float())
    norm = tensors["model.layers.1.input_layernorm.weight"].bfloat16().float()
    assert torch.equal(model.transformer.blocks[1].attention_norm.weight, 1 + norm)
    layout = model.picture.tokenizer.layout(6, 6)
    tokens, *_ = liquid_stages.drawn(model, ["a pear", None], layout.count, 7.0)
    pixels = model.picture.tokenizer.decode(tokens, layout, torch.ones_like(tokens, dtype=torch.bool))
    assert pixels.shape == (2, 3, 6, 6)


def test_a_folder_and_a_file_beside_it_are_taken_together(tmp_path):
    page = tiny_page()
    for name in ("llm", "vq"):
        (tmp_path / name).mkdir()
    written(tmp_path / "llm", TINY)
    (tmp_path / "llm" / "vqgan.ckpt").rename(tmp_path / "vq" / "vqgan.ckpt")
    wanted = [tmp_path / "llm" / "model.safetensors.index.json", tmp_path / "llm" / "tokenizer.json"]
    paths = arrange([tmp_path / "vq" / "vqgan.ckpt", tmp_path / "llm"], page.variants["tiny"])
    assert paths == [*wanted, tmp_path / "vq" / "vqgan.ckpt"]
    with pytest.raises(ValueError, match=r"holds no vqgan.ckpt: give the file with --from"):
        arrange([tmp_path / "llm"], page.variants["tiny"])


def test_a_language_model_without_room_is_refused_in_one_line(tmp_path):
    written(tmp_path, TINY, whole=True)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:330].clone()
    save_file(weights, tmp_path / "model.safetensors")
    page = tiny_page()
    with pytest.raises(ValueError, match="has 330 rows, 330 words and 12 picture tokens take 342: let its") as error:
        convert(page, "tiny", arrange([tmp_path], page.variants["tiny"]))
    assert "\n" not in str(error.value)


def test_codes_and_picture_tokens_must_be_as_many():
    with pytest.raises(ValueError, match=r"the tokenizer gives Categorical\(size=12\) and the head predicts"):
        made({**TINY, "image_tokens": 13})


@recorded
def test_all_that_was_recorded_passes():
    rows = list(verify(ALL))
    assert all(row.passed for row in rows)
    assert {row.tensor for row in rows} == set(load_file(ALL / "io.safetensors"))


@recorded
@pytest.mark.parametrize(("changes", "more"), [
    ({"rope_theta": 9000.0}, "step_logits"), ({"rms_norm_eps": 1e-3}, "step_logits"),
    ({"unconditional": 10}, "prompt_ids"), ({"eoi": 10}, "train_loss"), ({"eos": 11}, "train_labels"),
])  # fmt: skip
def test_other_settings_are_noticed(tmp_path, changes, more):
    """What the settings say is what is computed: none of it is a constant."""
    settings = read_settings(ALL)
    settings["config"] |= changes
    for name in ("weights.safetensors", "io.safetensors"):
        (tmp_path / name).symlink_to(ALL / name)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert more in {row.tensor for row in verify(tmp_path) if not row.passed}


@recorded
@torch.no_grad()
def test_a_picture_that_takes_no_time_is_noticed():
    """All tokens of a picture at one time and one position, as most systems have it, is not what Liquid learned."""
    tensors = load_file(ALL / "io.safetensors")
    record = rebuild(PAGE, ALL, read_settings(ALL), tensors)
    record.system.picture.order = parts.RasterConfig().build()
    logits, reference = liquid_stages.stages(record)["step_logits"](), tensors["step_logits"]
    assert torch.allclose(logits[:, 0], reference[:, 0], atol=1e-4)  # the first token has all of the prompt behind it
    assert (logits - reference)[:, 1:].norm() / reference.norm() > 1e-3
