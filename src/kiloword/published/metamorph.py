"""MetaMorph's picture features: 384x384 pixels to 8x8 directions in the space of a frozen SigLIP.

Tong et al. 2024 (MetaMorph); github.com/facebookresearch/metamorph. Its own weights are not out; SigLIP's are (Zhai et
al. 2023). SigLIP itself stretches pictures to squares; here they are cropped.
"""

from typing import Any

from kiloword.published.page import File, Page, Preparation, Source, Variant
from kiloword.tokenizers.siglip import SigLIPConfig

SO400M = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
    "image_size": 384, "patch_size": 14, "num_image_tokens": 64,
}  # fmt: skip


def parts(arguments: dict[str, Any]) -> SigLIPConfig:
    """Of SigLIP's `vision_config`, and how many tokens MetaMorph makes of a picture."""
    side = round(arguments["num_image_tokens"] ** 0.5)
    return SigLIPConfig(
        arguments["hidden_size"], arguments["num_hidden_layers"], arguments["num_attention_heads"],
        arguments["intermediate_size"], arguments["image_size"], arguments["patch_size"], side,
    )  # fmt: skip


def source_name(name: str, config: SigLIPConfig) -> Source:
    return Source((f"vision_model.{name}",))


PAGE = Page(
    name="metamorph-features",
    title="MetaMorph's frozen SigLIP",
    source="facebookresearch/metamorph 0b13debff553",
    licence="Apache-2.0 (google/siglip-so400m-patch14-384)",
    variants={
        "so400m": Variant(
            SO400M,
            412_984_944,
            (File("model.safetensors", "google/siglip-so400m-patch14-384"),),
            "384x384 pixels, 8x8 vectors of 1152 numbers; encoder only",
        ),
    },
    parts=parts,
    source_name=source_name,
    ignored=(r"text_model\..*", r"vision_model\.(head|post_layernorm)\..*", r"logit_(scale|bias)"),
    preparation=Preparation(size=384, filter="BICUBIC"),
)
