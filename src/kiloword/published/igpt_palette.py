"""Image GPT's palette: 512 colours in [-1, 1] found by k-means over ImageNet's pixels.

Chen et al. 2020 (Generative Pretraining from Pixels); the same palette is published as an array and inside the
preprocessor settings of the Hugging Face port.
"""

from typing import Any

from kiloword.published.page import Figure, File, Page, Preparation, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.palette import PaletteConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig


def parts(arguments: dict[str, Any]) -> AutoencoderConfig:
    """`n_vocab` counts colours; `vocab_size` (of the port) counts one row more, for the start of a sequence."""
    size = arguments["n_vocab"] if "n_vocab" in arguments else arguments["vocab_size"] - 1
    return AutoencoderConfig(PixelwiseConfig(), PixelwiseConfig(), PaletteConfig(size))


_OPENAI = "https://openaipublic.blob.core.windows.net/image-gpt/color-clusters/kmeans_centers.npy"

PAGE = Page(
    name="igpt-palette",
    title="Image GPT's palette",
    source="openai/image-gpt c6af2ebf; transformers 5.23.0",
    licence="modified MIT (openai/image-gpt)",
    variants={
        "512": Variant(
            {"n_vocab": 512}, 0, (File("kmeans_centers.npy", url=_OPENAI),), "512 colours, 32x32 to 64x64 px"
        ),
        "512-hf": Variant(
            {"n_vocab": 512}, 0, (File("preprocessor_config.json", "openai/imagegpt-small"),), "the same, from the port"
        ),
    },
    parts=parts,
    source_name=lambda name, config: Source(("clusters",)),
    preparation=Preparation(size=32, filter="BICUBIC"),
    reported=(Figure("bits a pixel", 9.0, "Chen et al. 2020, section 2"),),
)
