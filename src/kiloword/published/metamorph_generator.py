"""MetaMorph's generator: a Llama that answers with words and with 64 features of a picture, which a decoder draws.

Tong et al. 2024 (MetaMorph); github.com/facebookresearch/metamorph. Its weights are not out, and its decoder is a
Stable Diffusion 1.5 trained on the features in place of a text: here kiloword's diffusion decoder replaces it.
"""

from typing import Any

from kiloword.engine.card import Card
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.entrance import BareEntranceConfig
from kiloword.heads.regression import DirectionConfig, RegressionConfig, ValueConfig
from kiloword.orders.raster_1d import Raster1DConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.chat_template import ChatTemplateConfig
from kiloword.published import language_models
from kiloword.published.page import Figure, File, Page, Source, Variant
from kiloword.tokenizers.tokens_only import TokensOnlyConfig
from kiloword.tokenizers.wordbook import WordbookConfig
from kiloword.tokens import Categorical, Vector
from kiloword.transformer import StackConfig

STRIDE = 384 // 8  # pixels a side of a feature
ANSWER = 1024  # tokens of a text that is written, as in the authors' loop


def parts(arguments: dict[str, Any]) -> ImageModelConfig:
    """Of the settings of the language model, of the features (`mm_hidden_size` numbers), and its special words."""
    if arguments.get("vision_head_type", "mlp") != "mlp" or arguments.get("mm_projector_type", "") != "mlp2x_gelu":
        raise ValueError("MetaMorph is known here with two matrices at both ends: mlp2x_gelu in and mlp out")
    width, words = arguments["hidden_size"], Categorical(arguments["vocab_size"])
    space = Vector(arguments["mm_hidden_size"])
    aim = DirectionConfig() if arguments.get("normalize_vision") else ValueConfig()
    return ImageModelConfig(
        picture=ModalityConfig(
            TokensOnlyConfig(space, STRIDE), Raster1DConfig(),
            RegressionConfig(space, width, aim, entrance=BareEntranceConfig()),
        ),
        prompt=ChatTemplateConfig(
            arguments["image_start"], arguments["image_end"], arguments["eos"], arguments["bos"], request="", cue="",
        ),
        transformer=language_models.stack_of(arguments),
        text=TextConfig(
            WordbookConfig(words.size, arguments["eos"], arguments.get("wordbook", "")),
            CategoricalConfig(words, width, entrance=BareEntranceConfig()),
            limit=ANSWER,
        ),
    )  # fmt: skip


NAMES = {
    "picture.head.connector.": "model.mm_projector.",
    "picture.head.output.": "vision_head.",
    "text.head.embedding.": "model.embed_tokens.",
    "text.head.output.": "lm_head.",
}


def source_name(name: str, config: ImageModelConfig) -> Source:
    """A language model in transformers' layout, and a network at each end of the picture's features."""
    if name.startswith("transformer."):
        assert isinstance(config.transformer, StackConfig)
        return language_models.source_name(name.removeprefix("transformer."), config.transformer)
    prefix = next(known for known in NAMES if name.startswith(known))
    return Source((NAMES[prefix] + name.removeprefix(prefix),))


def card(variant: str) -> Card:
    """What is regressed cannot be guided; the authors guide their decoder, by 6 to 12.5."""
    return Card(f"metamorph/{variant}", ((384, 384),), licence=PAGE.licence, about=PAGE.variants[variant].about)


LLAMA_31_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128258, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "mm_hidden_size": 1152, "mm_projector_type": "mlp2x_gelu", "vision_head_type": "mlp", "normalize_vision": True,
    "bos": 128000, "eos": 128009, "image_start": 128256, "image_end": 128257,
}  # fmt: skip

PAGE = Page(
    name="metamorph",
    title="MetaMorph",
    source="facebookresearch/metamorph 0b13debff553",
    licence="Llama 3.1 Community License (Meta); its own weights are not out",
    variants={
        "8b": Variant(
            LLAMA_31_8B,
            8_073_282_688,
            (File("model.safetensors.index.json"),),
            "Llama 3.1 8B that regresses 8x8 SigLIP features; its decoder is yours to train",
        ),
    },
    parts=parts,
    source_name=source_name,
    ignored=(r"model\.vision_(proj|tower)\..*", r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"),
    reported=(Figure("FID, COCO 30K (from memory of the paper)", 11.8, "Tong et al. 2024"),),
    card=card,
)
