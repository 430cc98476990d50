"""SigLIP's features as tokens: the output of a frozen image encoder, as a small grid of unit vectors. It cannot decode.

Zhai et al. 2023 (SigLIP) for the encoder, Tong et al. 2024 (MetaMorph) for its use as a tokenizer.
"""

from dataclasses import dataclass
from typing import NoReturn

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import Quantized
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Layout, Vector

# Axes: b pictures, n tokens, c channels of the pixels, H W pixels, w width of the encoder, h h grid of tokens.


@dataclass(frozen=True)
class SigLIPConfig:
    """Square pictures of `image` pixels a side in patches of `patch`; their features become `side` by `side` tokens."""

    width: int = 1152
    depth: int = 27
    heads: int = 16
    hidden: int = 4304
    image: int = 384
    patch: int = 14
    side: int = 8

    def __post_init__(self):
        if min(self.width, self.depth, self.heads, self.hidden, self.patch, self.side) < 1:
            raise ValueError(f"the sizes of a SigLIP are at least 1, got {self}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if self.image < self.patch or self.image % self.side:
            raise ValueError(
                f"pictures of {self.image} pixels a side hold no patches of {self.patch}, "
                f"or do not fall into {self.side} tokens a side"
            )

    def build(self) -> "SigLIP":
        return SigLIP(self)


class SigLIP(nn.Module, Tokenizer):
    """A tokenizer that only encodes. Its weights are never trained."""

    channels = 3
    way_back = "SigLIP's features cannot be decoded to pixels without a diffusion decoder"

    def __init__(self, config: SigLIPConfig):
        super().__init__()
        self.config = config
        self.space = Vector(config.width)
        self.embeddings, self.encoder = from_transformers(config)
        self.requires_grad_(False)

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers."""
        return self.config.image // self.config.side

    def layout(self, height: int, width: int) -> Layout:
        if {height, width} != {self.config.image}:
            raise ValueError(
                f"this SigLIP needs pictures of {self.config.image}x{self.config.image}, got {height}x{width}"
            )
        return Layout(((self.config.side, self.config.side),))

    def encode(self, pixels: Float[Tensor, "b c H W"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """Tokens of length 1: the last layer's features, without the encoder's last norm, on a smaller grid."""
        required = [self.channels, self.config.image, self.config.image]
        if list(pixels.shape[1:]) != required:
            raise ValueError(f"this SigLIP needs pictures of {required}, got {list(pixels.shape)}")
        if not torch.isfinite(pixels).all():
            raise ValueError("the picture to be encoded holds NaN or infinity")
        features = self.encoder(inputs_embeds=self.embeddings(pixels)).last_hidden_state
        grid = rearrange(features.float(), "b (h v) w -> b w h v", h=self.config.image // self.config.patch)
        small = interpolate(grid, size=layout.sizes[-1], mode="bilinear", align_corners=False)
        latent = normalize(small, dim=1)
        tokens = rearrange(latent, "b w h v -> b (h v) w")
        return Quantized(target=tokens, shown=tokens, latent=latent)

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> NoReturn:
        raise ValueError(self.way_back)


def from_transformers(config: SigLIPConfig) -> tuple[nn.Module, nn.Module]:
    """The embedding and the layers of the `transformers` library's SigLIP, without its last norm and its head."""
    try:
        from transformers import SiglipVisionConfig, SiglipVisionModel
    except ImportError as error:
        raise ValueError("SigLIP is taken from the transformers library: pip install transformers") from error
    settings = SiglipVisionConfig(
        hidden_size=config.width, intermediate_size=config.hidden, num_hidden_layers=config.depth,
        num_attention_heads=config.heads, image_size=config.image, patch_size=config.patch, vision_use_head=False,
    )  # fmt: skip
    model = SiglipVisionModel(settings)
    inside = getattr(model, "vision_model", model)  # where it lay before the library's fifth version
    return inside.embeddings, inside.encoder
