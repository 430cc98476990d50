"""Perceptual error: what a network of `transformers` sees; a tiny one of random weights stands in for the user's."""

from pathlib import Path

import pytest
import torch

from kiloword.tokenizers.network import Decoder
from kiloword.tokens import Layout
from kiloword.training.losses.error import Difference
from kiloword.training.losses.perceptual import Perceptual, PerceptualConfig, feature_distance, load_network

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional network and a transformer, saved as users have them."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    resnet = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic")
    transformers.ResNetModel(resnet).save_pretrained(folder / "resnet")
    vit = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=16, patch_size=4
    )
    transformers.ViTModel(vit).save_pretrained(folder / "vit")
    return folder


class Itself(Decoder):
    """A decoder that draws the latent itself."""

    def forward(self, latent: torch.Tensor, layout: Layout) -> torch.Tensor:
        return latent


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_equal_pictures_are_seen_alike_and_others_pull_the_pixels(models: Path, name: str):
    features = load_network(str(models / name))
    torch.manual_seed(0)
    first, second = (torch.rand(2, 3, 16, 16) * 2 - 1 for _ in range(2))
    assert feature_distance(features, first, first.clone()).abs().max() == 0
    first.requires_grad_()
    apart = feature_distance(features, first, second)
    assert apart.shape == (2,) and (apart > 0).all()
    apart.sum().backward()
    assert first.grad is not None and first.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in features.parameters())


def test_the_error_grows_by_its_weight(models: Path):
    torch.manual_seed(0)
    latent, true = (torch.rand(2, 4, 16, 16) * 2 - 1 for _ in range(2))
    layout, plain = Layout(((16, 16),)), Difference()
    _, base = plain(Itself(), latent, layout, true)
    _, once = PerceptualConfig(str(models / "resnet"), 1.0).build(plain)(Itself(), latent, layout, true)
    _, twice = PerceptualConfig(str(models / "resnet"), 2.0).build(plain)(Itself(), latent, layout, true)
    assert torch.allclose(twice - base, 2 * (once - base)) and (once > base).all()


def test_what_lies_under_clear_pixels_is_seen_where_it_shines():
    def colours(pixels: torch.Tensor) -> list[torch.Tensor]:
        return [torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)]

    clear, white = torch.full((1, 4, 4, 4), -1.0), torch.ones(1, 4, 4, 4)
    layout, none = Layout(((4, 4),)), Difference(0.0)
    _, apart = Perceptual(none, colours)(Itself(), clear, layout, white)
    _, base = none(Itself(), clear, layout, white)
    assert torch.allclose(apart - base, feature_distance(colours, -torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)) / 2)


def test_no_model_is_no_perceptual_error_and_a_foreign_folder_is_refused(tmp_path: Path):
    plain = Difference()
    assert PerceptualConfig().build(plain) is plain
    with pytest.raises(ValueError, match="is no picture network"):
        PerceptualConfig(str(tmp_path)).build(plain)
