"""MetaMorph's generator: its size is exact, its features are those of `transformers`' Llama in the authors' loop."""

import pytest
import torch
from torch.nn.functional import gelu, linear, normalize

from kiloword import parts
from kiloword.document import to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.published.metamorph_generator import LLAMA_31_8B, PAGE
from kiloword.published.page import fill, names_of
from kiloword.tokens import Layout

transformers = pytest.importorskip("transformers")

SMALL = {
    **LLAMA_31_8B, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 23, "mm_hidden_size": 6, "bos": 1, "eos": 2, "image_start": 21,
    "image_end": 22,
}  # fmt: skip
LAYOUT = Layout(((2, 3),))


def published_file(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A Llama's weights and the two networks beside it, under the authors' names."""
    width, c = SMALL["hidden_size"], SMALL["mm_hidden_size"]
    shapes = {"model.mm_projector.0": (width, c), "model.mm_projector.2": (width, width)}
    shapes |= {"vision_head.0": (width, width), "vision_head.2": (c, width), "model.vision_proj": (width, width)}
    tensors = dict(model.state_dict())
    for name, shape in shapes.items():
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = torch.randn(shape) * 0.4, torch.randn(shape[0]) * 0.1
    return tensors


def both() -> tuple[torch.nn.Module, ImageModel, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    wanted = {name: SMALL[name] for name in SMALL if not name.startswith(("mm_", "image_", "vision", "normalize"))}
    settings = transformers.LlamaConfig(**{**wanted, "bos_token_id": 1, "eos_token_id": 2})
    llama = transformers.LlamaForCausalLM(settings).eval()
    tensors, config = published_file(llama), PAGE.parts(SMALL)
    model = parts.build(config).eval()
    fill(PAGE, config, model, tensors)
    return llama, model, tensors


def network(x: torch.Tensor, tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    inside = gelu(linear(x, tensors[f"{name}.0.weight"], tensors[f"{name}.0.bias"]))
    return linear(inside, tensors[f"{name}.2.weight"], tensors[f"{name}.2.bias"])


@torch.no_grad()
def test_features_are_those_of_the_authors_loop():
    llama, model, tensors = both()
    prompts, references = [torch.tensor([1, 7, 8, 5, 21]), torch.tensor([1, 9, 21])], []
    for prompt in prompts:
        embeds, features = llama.model.embed_tokens(prompt)[None], []
        for _ in range(LAYOUT.count):
            hidden = llama.model(inputs_embeds=embeds).last_hidden_state[:, -1]
            features.append(normalize(network(hidden, tensors, "vision_head"), dim=-1))
            embeds = torch.cat([embeds, network(features[-1], tensors, "model.mm_projector")[:, None]], 1)
        references.append(torch.cat(features))
    request = Drawing(LAYOUT, [model.opening(to_draw(prompts, LAYOUT))], torch.ones(1, 2), Sampling())
    slow, fast = (list(way(model, request, Seeded([1, 2])))[-1].tokens for way in (ImageModel.draw, draw))
    wanted = torch.stack(references)
    for found in (slow, fast):
        assert (found - wanted).norm() <= 1e-4 * wanted.norm()
    loss = model.loss(to_learn(prompts, LAYOUT, wanted))["picture"]
    assert loss.mask.all()
    loss = loss.values
    assert torch.allclose(loss, torch.zeros_like(loss), atol=1e-5)  # 1 - cosine, with its own prediction as target


def test_the_published_size():
    variant = PAGE.variants["8b"]
    config = PAGE.parts(variant.arguments)
    with torch.device("meta"):
        model = parts.build(config)
    width, hidden, words = 4096, 14336, 128256 + 2
    layer = 2 * width * width + 2 * width * 1024 + 3 * width * hidden + 2 * width
    ends = 1152 * width + width + 2 * (width * width + width) + width * 1152 + 1152
    count = 32 * layer + width + 2 * words * width + ends
    assert 32 * layer + width + 2 * 128256 * width == 8_030_261_248  # Llama 3.1 8B
    assert sum(p.numel() for p in model.parameters()) == count == variant.parameters
    names = [name for source in names_of(PAGE, config, model).values() for name in source.names]
    assert len(names) == len(set(names)) == 32 * 9 + 1 + 2 + 8
    assert parts.from_json(parts.to_json(config)) == config and not model.picture.head.guidable
    assert PAGE.card("8b").guidance == 1 and model.picture.tokenizer.layout(384, 384).count == 64


def test_other_doors_are_refused():
    for change in ({"mm_projector_type": "linear"}, {"vision_head_type": "linear"}):
        with pytest.raises(ValueError, match="mlp2x_gelu in and mlp out"):
            PAGE.parts({**SMALL, **change})
