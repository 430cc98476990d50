"""MetaMorph's page at any size: a SigLIP of the `transformers` library loads by its own names."""

import pytest
import torch

from kiloword import parts, published
from kiloword.published.page import fill

transformers = pytest.importorskip("transformers")

PAGE = published.page("metamorph-features")
VISION = {
    "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 3, "image_size": 36,
    "patch_size": 4,
}  # fmt: skip


@torch.no_grad()
def test_a_whole_siglip_gives_its_picture_half():
    torch.manual_seed(0)
    text = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
    settings = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    model = transformers.SiglipModel(settings).eval()
    config = PAGE.parts({**VISION, "num_image_tokens": 9})
    tokenizer = parts.build(config)
    fill(PAGE, config, tokenizer, model.state_dict())
    pixels = torch.rand(1, 3, 36, 36) * 2 - 1
    found = tokenizer.encode(pixels, tokenizer.layout(36, 36)).target
    seen = model.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states[-1].view(1, 3, 3, 3, 3, 12)
    middles = seen[:, :, 1, :, 1].flatten(1, 2)  # 9 x 9 features to 3 x 3: the centres of both grids coincide
    assert torch.allclose(found, middles / middles.norm(dim=-1, keepdim=True), atol=1e-5)


def test_the_published_size():
    variant = PAGE.variants["so400m"]
    with torch.device("meta"):
        tokenizer = parts.build(PAGE.parts(variant.arguments))
    width, hidden = 1152, 4304
    layer = 4 * (width * width + width) + 2 * width * hidden + hidden + width + 4 * width
    embedding = (3 * 14 * 14 + 1) * width + 27 * 27 * width
    count = sum(parameter.numel() for parameter in tokenizer.parameters())
    assert count == 27 * layer + embedding == variant.parameters
    assert tokenizer.layout(384, 384).sizes == ((8, 8),) and tokenizer.space.dim == width
