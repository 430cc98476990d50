"""SigLIP as a tokenizer gives what its library's last layer gives, shrunk to a small grid of directions."""

import sys

import pytest
import torch

from kiloword.tokenizers.siglip import SigLIP, SigLIPConfig
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Layout, Vector

transformers = pytest.importorskip("transformers")

CONFIG = SigLIPConfig(width=8, depth=2, heads=2, hidden=12, image=22, patch=3, side=2)  # 7 x 7 patches, a pixel over


def reference_model() -> torch.nn.Module:
    torch.manual_seed(0)
    settings = transformers.SiglipVisionConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, image_size=22, patch_size=3
    )
    model = transformers.SiglipVisionModel(settings).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def with_weights_of(model: torch.nn.Module) -> SigLIP:
    """Our tokenizer with the weights of a model of transformers."""
    built, inside = CONFIG.build(), getattr(model, "vision_model", model)
    built.embeddings.load_state_dict(inside.embeddings.state_dict())
    built.encoder.load_state_dict(inside.encoder.state_dict())
    return built


def hats(coarse: int, fine: int) -> torch.Tensor:
    """Bilinear weights [coarse, fine]: cell centres of the coarse grid, between those of the fine one."""
    centre = (torch.arange(coarse) + 0.5) * fine / coarse - 0.5
    return (1 - (centre[:, None] - torch.arange(fine)).abs()).clamp(min=0)


@torch.no_grad()
def test_tokens_are_directions_of_the_features_before_the_last_norm():
    model, pixels = reference_model(), torch.rand(2, 3, 22, 22) * 2 - 1
    tokenizer = with_weights_of(model)
    layout = tokenizer.layout(22, 22)
    quantized = tokenizer.encode(pixels, layout)
    features = model(pixel_values=pixels, output_hidden_states=True).hidden_states[-1].view(2, 7, 7, 8)
    small = torch.einsum("ih,jv,bhvw->bijw", hats(2, 7), hats(2, 7), features).flatten(1, 2)
    wanted = small / small.norm(dim=-1, keepdim=True)
    assert torch.allclose(quantized.target, wanted, atol=1e-5) and torch.equal(quantized.target, quantized.shown)
    assert torch.equal(quantized.latent.flatten(2).mT, quantized.target)
    tokenizer.space.check(quantized.target)


def test_it_is_a_frozen_tokenizer():
    tokenizer = CONFIG.build()
    assert isinstance(tokenizer, Tokenizer) and tokenizer.space == Vector(8)
    assert (tokenizer.stride, tokenizer.channels) == (11, 3)
    assert tokenizer.layout(22, 22) == Layout(((2, 2),))
    assert not any(parameter.requires_grad for parameter in tokenizer.parameters())


def test_there_is_no_way_back():
    with pytest.raises(ValueError, match="without a diffusion decoder"):
        CONFIG.build().decode(torch.zeros(1, 4, 8), Layout(((2, 2),)), torch.ones(1, 4, dtype=torch.bool))


def test_what_it_cannot_see_is_refused():
    tokenizer = CONFIG.build()
    layout = tokenizer.layout(22, 22)
    with pytest.raises(ValueError, match="22x22, got 22x44"):
        tokenizer.layout(22, 44)
    with pytest.raises(ValueError, match=r"\[3, 22, 22\], got \[1, 3, 44, 22\]"):
        tokenizer.encode(torch.zeros(1, 3, 44, 22), layout)
    with pytest.raises(ValueError, match=r"\[3, 22, 22\], got \[1, 4, 22, 22\]"):
        tokenizer.encode(torch.zeros(1, 4, 22, 22), layout)
    with pytest.raises(ValueError, match="NaN"):
        tokenizer.encode(torch.full((1, 3, 22, 22), torch.nan), layout)


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match="pip install transformers"):
        CONFIG.build()


def test_sizes_that_do_not_fit_are_refused():
    sizes = {"width": 8, "depth": 2, "heads": 2, "hidden": 12, "image": 22, "patch": 3, "side": 2}
    for wrong, message in (
        ({"heads": 3}, "not a multiple of 3"),
        ({"side": 4}, "4 tokens"),
        ({"depth": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            SigLIPConfig(**{**sizes, **wrong})
