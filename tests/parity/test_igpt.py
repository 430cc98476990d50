"""Image GPT's page: published sizes are exact, OpenAI's checkpoints and the port's files become the same parts."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kiloword import parts
from kiloword.document import to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.engine.painter import Painter
from kiloword.formats.tensor_bundle import read_bundle
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.published.convert import arrange, convert
from kiloword.published.igpt import PAGE
from kiloword.published.page import Variant, bundle_files, fill, names_of

HERE = Path(__file__).parent / "recordings"
TF, HF = HERE / "igpt_tf", HERE / "igpt_hf"
COUNTS = {
    "s": 76_571_648, "m": 455_157_760, "l": 1_362_250_752,
    "s-hf": 76_682_240, "m-hf": 455_489_536, "l-hf": 1_362_914_304,
}  # fmt: skip


def made(arguments: dict) -> nn.Module:
    with torch.device("meta"):
        return parts.build(PAGE.parts(arguments))


def recorded(folder: Path) -> tuple[dict, dict[str, Tensor], dict[str, Tensor]]:
    """The arguments, the tensors and the weights of a recording."""
    arguments = json.loads((folder / "config.json").read_text())["config"]
    return arguments, load_file(folder / "io.safetensors"), load_file(folder / "weights.safetensors")


def logits(model: ImageModel, ids: Tensor, side: int) -> Tensor:
    """Of every pixel, from those before it."""
    found = []
    hook = model.picture.head.output.register_forward_hook(lambda module, given, answer: found.append(answer))
    with torch.inference_mode():
        model.loss(to_learn([None] * len(ids), model.picture.tokenizer.layout(side, side), ids))
    hook.remove()
    return found[0]


def tiny(name: str) -> tuple[Variant, dict[str, Tensor]]:
    """A published variant's twin at the recording's size, with the file names that it really has, and its tensors."""
    arguments, tensors, _ = recorded(HF if name.endswith("-hf") else TF)
    files = PAGE.variants[name].files
    if not name.endswith("-hf"):
        files = (*bundle_files("https://x.org/model.ckpt-1000", "s/model.ckpt-1000", 3), files[-1])
    return Variant(arguments, 0, files), tensors


def openai(folder: Path) -> tuple[ImageModel, dict[str, Tensor]]:
    """The recorded TensorFlow checkpoint with the palette beside it, as a user has them."""
    variant, tensors = tiny("s")
    np.save(folder / "kmeans_centers.npy", tensors["in.clusters"].numpy())
    page = dataclasses.replace(PAGE, variants={"tiny": variant})
    paths = arrange([TF / "model.ckpt-1000.index", folder / "kmeans_centers.npy"], variant)
    return convert(page, "tiny", paths)[1], tensors


def port(folder: Path, weights: dict[str, Tensor]) -> tuple[ImageModel, dict[str, Tensor]]:
    """Weights in the port's two files, together with the masks that old ones hold."""
    variant, tensors = tiny("s-hf")
    masks = {"transformer.h.0.attn.bias": torch.ones(1, 1, 36, 36, dtype=torch.uint8).tril()}
    masks["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(weights | masks, folder / "pytorch_model.bin")
    settings = {"clusters": tensors["in.clusters"].tolist(), "do_resize": True, "size": 6}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    page = dataclasses.replace(PAGE, variants={"tiny": variant})
    return convert(page, "tiny", arrange([folder], variant))[1], tensors


def as_port(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """OpenAI's weights under the port's names: its token embeddings end with the start, and its biases are 0."""
    found = {
        "transformer.wte.weight": torch.cat([weights["model/wte"], weights["model/sos"][None]]),
        "transformer.wpe.weight": weights["model/wpe"],
        "transformer.ln_f.weight": weights["model/ln_f/g"],
        "lm_head.weight": weights["model/wtet"],
    }
    for n in range(layers):
        new, old = f"transformer.h.{n}", f"model/h{n}"
        heads = {x: weights[f"{old}/attn/{x}_proj"].flatten(0, 1) for x in "qkvc"}
        matrices = {
            "attn.c_attn": torch.cat([heads[x].T for x in "qkv"], dim=1),
            "attn.c_proj": heads["c"],
            "mlp.c_fc": weights[f"{old}/mlp/c_fc/w"],
            "mlp.c_proj": weights[f"{old}/mlp/c_proj/w"],
        }
        found |= {f"{new}.{name}.weight": matrix.contiguous() for name, matrix in matrices.items()}
        found |= {f"{new}.{name}.bias": torch.zeros(matrix.shape[1]) for name, matrix in matrices.items()}
        found |= {f"{new}.ln_{half}.weight": weights[f"{old}/ln_{half}/g"] for half in (1, 2)}
    return found


@pytest.mark.parametrize("name", COUNTS)
def test_a_published_size_has_as_many_parameters_as_its_file(name):
    variant = PAGE.variants[name]
    system = made(variant.arguments)
    assert sum(weight.numel() for weight in system.parameters()) == variant.parameters == COUNTS[name]
    assert system.picture.tokenizer.quantizer.colours.shape == (512, 3)


def test_the_counts_are_those_of_the_facts():
    assert PAGE.variants.keys() == COUNTS.keys()
    for name, (width, layers, millions) in {"s": (512, 24, 76), "m": (1024, 36, 455), "l": (1536, 48, 1362)}.items():
        bare = layers * (12 * width + 2) * width + (2 * 512 + 1024 + 2) * width  # blocks; wte, wtet, wpe, sos, ln_f
        assert COUNTS[name] == bare and bare // 1_000_000 == millions
        assert COUNTS[f"{name}-hf"] == bare + layers * 9 * width  # biases: q, k, v, out, 4 up, down


@pytest.mark.parametrize("name", COUNTS)
def test_the_names_are_those_of_the_files(name):
    arguments = PAGE.variants[name].arguments
    sources = names_of(PAGE, PAGE.parts(arguments), made(arguments)).values()
    if name.endswith("-hf"):
        blocks = ["ln_1.weight", "ln_2.weight"]
        blocks += [f"{part}.{kind}" for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
                   for kind in ("weight", "bias")]  # fmt: skip
        wanted = {f"transformer.h.{n}.{rest}" for n in range(arguments["n_layer"]) for rest in blocks}
        wanted |= {f"transformer.{part}.weight" for part in ("wte", "wpe", "ln_f")} | {"lm_head.weight"}
    else:
        blocks = ["ln_1/g", "ln_2/g", "mlp/c_fc/w", "mlp/c_proj/w", *(f"attn/{x}_proj" for x in "qkvc")]
        wanted = {f"model/h{n}/{rest}" for n in range(arguments["n_layer"]) for rest in blocks}
        wanted |= {f"model/{part}" for part in ("wte", "wtet", "wpe", "sos", "ln_f/g")}
    assert {known for source in sources for known in source.names} == wanted | {"clusters"}


def test_every_variant_lists_its_files_and_how_it_draws():
    shards = {name: [file.name for file in PAGE.variants[name].files] for name in COUNTS}
    assert {name: len(files) for name, files in shards.items() if "-" not in name} == {"s": 34, "m": 34, "l": 66}
    assert shards["l"][0] == "l/model.ckpt-1000000.index" and shards["l"][-1] == "kmeans_centers.npy"
    assert shards["l"][64] == "l/model.ckpt-1000000.data-00063-of-00064"
    last = PAGE.variants["l"].files[64].url
    assert last.endswith("image-gpt/checkpoints/igpt-l/1000000/model.ckpt-1000000.data-00063-of-00064")
    assert {file.repository for file in PAGE.variants["m-hf"].files} == {"openai/imagegpt-medium"}
    for name, variant in PAGE.variants.items():
        card, model = PAGE.card(name), made(variant.arguments)
        assert (card.guidance, card.temperature, card.top_k, card.top_p, card.prompts) == (1, 1, 0, 1, "nothing")
        layout = model.picture.tokenizer.layout(*card.sizes[0])
        assert layout.count == model.picture.head.entrance.config.positions == 1024


def test_a_checkpoint_of_tensorflow_is_the_recorded_model(tmp_path):
    model, tensors = openai(tmp_path)
    found, wanted = read_bundle(TF / "model.ckpt-1000.index"), recorded(TF)[2]
    assert found.keys() == wanted.keys() - {"model/clf/wclf"}
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())
    found, reference = logits(model, tensors["in.tokens"].long(), 6), tensors["out.gen_logits"]
    assert float((found - reference).norm() / reference.norm()) < 1e-5


def test_files_of_the_port_are_the_recorded_model(tmp_path):
    model, tensors = port(tmp_path, recorded(HF)[2])
    found, reference = logits(model, tensors["in.tokens"], 6), tensors["out.tf_logits"]
    assert float((found - reference).norm() / reference.norm()) < 1e-5


def test_one_model_in_both_kinds_of_files_is_one_model(tmp_path):
    first, tensors = openai(tmp_path)
    second, _ = port(tmp_path, as_port(recorded(TF)[2], layers=2))
    own, other = first.state_dict(), second.state_dict()
    assert {name for name in other if name not in own} == {name for name in other if name.endswith("bias")}
    assert all(torch.equal(value, other[name]) for name, value in own.items() if "colours" not in name)
    ids = tensors["in.tokens"].long()
    torch.testing.assert_close(logits(first, ids, 6), logits(second, ids, 6))


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(), Sampling(0.7, top_k=5)], ids=str)
def test_pictures_with_given_pixels_come_out_the_same_with_and_without_the_cache(tmp_path, sampling):
    model, tensors = openai(tmp_path)
    ids = tensors["in.tokens"].long()
    given = torch.rand(ids.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    layout = model.picture.tokenizer.layout(6, 6)
    request = Drawing(layout, [model.opening(to_draw([None, None], layout))], torch.ones(1, 2), sampling, ids, given)
    with torch.inference_mode():
        fast, slow = list(draw(model, request, Seeded([4, 5]))), list(model.draw(request, Seeded([4, 5])))
    assert len(fast) == len(slow) == 36
    assert all(torch.equal(one.tokens, other.tokens) for one, other in zip(fast, slow, strict=True))
    assert torch.equal(fast[-1].tokens[given], ids[given]) and bool(fast[-1].known.all())


@pytest.mark.parametrize("side", [2, 5, 48])
def test_any_side_has_its_own_places_and_no_other(side):
    config = PAGE.parts({"n_px": side, "n_vocab": 7, "n_embd": 8, "n_head": 2, "n_layer": 1})
    model = parts.build(config)
    assert model.picture.head.entrance.place.weight.shape == (side * side, 8)
    assert parts.from_json(json.loads(json.dumps(parts.to_json(config)))) == config
    wrong = model.picture.tokenizer.layout(side, side + 1)
    ids = torch.zeros(1, wrong.count, dtype=torch.long)
    with pytest.raises(ValueError, match=f"this head has learned {side * side} positions"):
        model.loss(to_learn([None], wrong, ids))


def test_it_paints_with_its_palette_alone(tmp_path):
    model, tensors = openai(tmp_path)
    painter = Painter(model, dataclasses.replace(PAGE.card("s"), sizes=((6, 6),)))
    first, second = painter.generate(None, n=2, seed=1)
    assert first.size == (6, 6) and first.tobytes() != second.tobytes()
    assert painter.generate(None, seed=2)[0].tobytes() == second.tobytes()
    palette = np.rint(127.5 * (tensors["in.clusters"].numpy() + 1)).astype(np.uint8)
    assert {pixel[:3] for _, pixel in first.getcolors()} <= set(map(tuple, palette.tolist()))


def test_weights_that_cannot_be_put_together_are_named():
    arguments, tensors, weights = recorded(TF)
    config = PAGE.parts(arguments)
    weights = weights | {"clusters": tensors["in.clusters"], "model/h1/attn/k_proj": torch.zeros(4, 7, 32)}
    with pytest.raises(
        ValueError, match=r"h1/attn/v_proj has shape \[4, 8, 32\] \+ \[4, 7, 32\] \+ \[4, 8, 32\], which"
    ):
        fill(PAGE, config, parts.build(config), weights)


def test_files_of_another_size_are_recognised(tmp_path):
    variant, tensors = tiny("s-hf")
    weights = recorded(HF)[2]
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"clusters": tensors["in.clusters"].tolist()}))
    wider = dataclasses.replace(variant, arguments={**variant.arguments, "n_embd": 64})
    page = dataclasses.replace(PAGE, variants={"wide": wider, "tiny": variant})
    with pytest.raises(ValueError, match=r"has shape .*; they are those of igpt/tiny$"):
        convert(page, "wide", arrange([tmp_path], wider))
