"""UniTok's generators: sizes are exact, a small LlamaGen gives the result of its authors' loop, written plainly."""

import pytest
import torch
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention, silu

import tiny
from kiloword import parts
from kiloword.document import to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.published import unitok_generators
from kiloword.published.page import fill, names_of
from kiloword.published.unitok_generators import LLAMA_2_7B, PAGE, XXL
from kiloword.tokens import Layout

SMALL = {
    "dim": 24, "n_layer": 2, "n_head": 3, "n_output_layer": 2, "multiple_of": 8, "vocab_size": 15, "num_codebooks": 3,
    "num_classes": 4, "block_size": 9,
}  # fmt: skip
WORDS = {
    **LLAMA_2_7B, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "vocab_size": 11, "codes": 12, "num_codebooks": 3,
}  # fmt: skip
LAYOUT, CODES = Layout(((3, 3),)), 3


def published_file(arguments: dict, null: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of the authors' file."""
    width, books = arguments["dim"], arguments["num_codebooks"]
    size, hidden = arguments["vocab_size"] // books, -(-int(8 * width / 3) // arguments["multiple_of"])
    hidden *= arguments["multiple_of"]
    found = {"cls_embedding.embedding_table.weight": (arguments["num_classes"] + null, width), "norm.weight": (width,)}
    found |= {f"tok_embeddings.codebooks.{book}.weight": (size, width) for book in range(books)}
    found |= {f"output.codebooks.{book}.weight": (size, width) for book in range(books - 1)}
    found |= {"output.norm.weight": (width,), "output.linear_head.weight": (size, width)}
    found["output.linear_head.bias"] = (size,)
    layers = [f"layers.{i}" for i in range(arguments["n_layer"])]
    for layer in [*layers, *(f"output.layers.{i}" for i in range(arguments["n_output_layer"]))]:
        found |= {f"{layer}.attention_norm.weight": (width,), f"{layer}.ffn_norm.weight": (width,)}
        found |= {f"{layer}.attention.wqkv.weight": (3 * width, width), f"{layer}.attention.wo.weight": (width, width)}
        found |= {f"{layer}.feed_forward.w{i}.weight": (hidden, width) for i in (1, 3)}
        found[f"{layer}.feed_forward.w2.weight"] = (width, hidden)
    return found


def test_the_published_size():
    variant = PAGE.variants["XXL-256"]
    config = PAGE.parts(variant.arguments)
    with torch.device("meta"):
        model = parts.build(config)
    reference = published_file(XXL, null=False)
    count = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("picture.tokenizer."))
    assert count == sum(torch.Size(shape).numel() for shape in reference.values()) + 1536 == variant.parameters
    names = [name for source in names_of(PAGE, config, model).values() for name in source.names]
    assert len(names) == len(set(names))
    assert {name for name in names if not name.startswith("unitok.")} == set(reference)
    assert parts.from_json(parts.to_json(config)) == config
    assert model.picture.tokenizer.layout(256, 256).sizes == ((16, 16),) and PAGE.card("XXL-256").guidance == 1


def model_of(null: bool) -> tuple[ImageModel, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) * 0.3 for name, shape in published_file(SMALL, null).items()
    }
    config = PAGE.parts(SMALL)
    model = parts.build(config).eval()
    fill(PAGE, config, model, weights)
    return model, weights


class Plain:
    """The authors' transformer, function by function, on weights under their names."""

    def __init__(self, weights: dict[str, torch.Tensor]):
        self.weights = weights

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return rms_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], 1e-5)

    def block(self, x: torch.Tensor, name: str, rotation: torch.Tensor | None) -> torch.Tensor:
        w, normed = self.weights, self.norm(x, f"{name}.attention_norm")
        parts = linear(normed, w[f"{name}.attention.wqkv.weight"]).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (SMALL["n_head"], -1)).transpose(1, 2) for part in parts)
        if rotation is not None:
            pairs = (torch.view_as_complex(part.unflatten(-1, (-1, 2)).contiguous()) for part in (q, k))
            q, k = (torch.view_as_real(pair * rotation).flatten(-2) for pair in pairs)
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + linear(mixed, w[f"{name}.attention.wo.weight"])
        normed = self.norm(x, f"{name}.ffn_norm")
        gate, up = (linear(normed, w[f"{name}.feed_forward.w{i}.weight"]) for i in (1, 3))
        return x + linear(silu(gate) * up, w[f"{name}.feed_forward.w2.weight"])

    def logits(self, classes: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Of all codes of all tokens, each given those before it: [b, n, k, values]."""
        w, (b, n, k) = self.weights, tokens.shape
        summed = sum(embedding(tokens[..., i], w[f"tok_embeddings.codebooks.{i}.weight"]) for i in range(k))
        start = embedding(classes, w["cls_embedding.embedding_table.weight"])[:, None]
        x, rotation = torch.cat([start, summed[:, :-1]], 1), self.rotation()[:n]
        for layer in range(SMALL["n_layer"]):
            x = self.block(x, f"layers.{layer}", rotation)
        vectors = [self.norm(x, "norm")]
        vectors += [embedding(tokens[..., i], w[f"output.codebooks.{i}.weight"]) for i in range(k - 1)]
        y = torch.stack(vectors, dim=2).flatten(0, 1)
        for layer in range(SMALL["n_output_layer"]):
            y = self.block(y, f"output.layers.{layer}", None)
        y = linear(self.norm(y, "output.norm"), w["output.linear_head.weight"], w["output.linear_head.bias"])
        return y.view(b, n, k, -1)

    def rotation(self) -> torch.Tensor:
        """Angles by row, then by column, of each token fed; those of the class are 0, not 1."""
        pairs = SMALL["dim"] // SMALL["n_head"] // 4
        speed = 10000.0 ** (-torch.arange(pairs) / pairs)
        row, column = torch.arange(9) // 3, torch.arange(9) % 3
        angle = torch.cat([row[:, None] * speed, column[:, None] * speed], 1)
        return torch.cat([torch.zeros(1, 2 * pairs, dtype=torch.cfloat), torch.polar(torch.ones_like(angle), angle)])


@pytest.mark.parametrize("null", [True, False])
@torch.no_grad()
def test_logits_are_those_of_the_plain_loop(null):
    model, weights = model_of(null)
    tokens = tiny.tokens_of(model.picture.head.space, LAYOUT, 2)
    reference = Plain(weights).logits(torch.tensor([3, 1]), tokens)
    head = model.picture.head
    model.picture.head = heard = tiny.RecordingHead(head)
    model.loss(to_learn([3, 1], LAYOUT, tokens))
    found = head.logits(heard.take(), tokens)
    assert (found - reference).norm() <= 1e-5 * reference.norm()


@torch.no_grad()
def test_the_engine_draws_the_codes_of_the_plain_loop():
    model, weights = model_of(null=True)
    plain, drawn, guidance = Plain(weights), torch.zeros(2, 9, CODES, dtype=torch.long), 2.5
    for index in range(9):
        for code in range(CODES):
            conditional, null = (plain.logits(torch.tensor(c), drawn)[:, index, code] for c in ([3, 1], [4, 4]))
            drawn[:, index, code] = (null + (conditional - null) * guidance).argmax(-1)
    views = [model.opening(to_draw([3, 1], LAYOUT), null) for null in (False, True)]
    weights = torch.tensor([[guidance], [1 - guidance]]).expand(2, 2)
    request = Drawing(LAYOUT, views, weights, Sampling(0))
    *_, last = draw(model, request, Seeded([0, 1]))
    assert torch.equal(last.tokens, drawn) and len(drawn.unique()) > 2


def test_codebooks_that_do_not_share_the_codes_evenly_are_refused():
    with pytest.raises(ValueError, match="16 codes do not fall into 3 codebooks of one size: give a multiple of 3"):
        PAGE.parts({**SMALL, "vocab_size": 16})


def test_the_language_models_size():
    with torch.device("meta"):
        model = parts.build(unitok_generators.language(LLAMA_2_7B))
    width, layer = 4096, 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096
    llama = 2 * 32000 * width + 32 * layer + width
    head = 3 * layer + width + 7 * 4096 * width + 4096 * width + 4096
    connector = 8 * 4096 * 8 + 2 * 64 + 64 * width + width + width * width + width
    assert llama == 6_738_415_616
    assert sum(p.numel() for p in model.parameters()) == llama + head + connector


@torch.no_grad()
def test_the_language_model_draws_fast_as_slow_behind_texts_of_any_length():
    torch.manual_seed(0)
    model = parts.build(unitok_generators.language(WORDS)).eval()
    documents = to_draw([torch.tensor([1, 7, 8, 9, 3]), torch.tensor([1, 6, 3])], LAYOUT)
    views = [model.opening(documents, null) for null in (False, True)]
    weights = torch.tensor([[5.0], [-4.0]]).expand(2, 2)
    request = Drawing(LAYOUT, views, weights, Sampling(0.9, 3, 0.96))
    slow, fast = (list(way(model, request, Seeded([1, 2])))[-1].tokens for way in (ImageModel.draw, draw))
    assert torch.equal(slow, fast) and slow.shape == (2, 9, 3) and len(slow.unique()) > 2
