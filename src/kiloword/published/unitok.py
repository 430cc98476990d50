"""UniTok: 256x256 pixels to a 16x16 grid of 8 codes, which serve to draw and to understand.

Ma et al. 2025 (A Unified Tokenizer for Visual Generation and Understanding); github.com/FoundationVision/UniTok.
"""

from typing import Any

from kiloword.published.page import Figure, File, Page, Preparation, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.contrastive import ContrastiveConfig, TextTowerConfig
from kiloword.tokenizers.factorisation import FactorisationConfig
from kiloword.tokenizers.multicode import MulticodeConfig
from kiloword.tokenizers.vitamin import ViTaminConfig
from kiloword.transformer import AttentionConfig, GeGLUConfig, GELUConfig, LayerNormConfig, StackConfig

LARGE = {
    "stem_width": 160, "stage_dims": (160, 320, 1024), "conv_depths": (2, 4), "decoder_up_depths": (4, 2), "depth": 31,
    "num_heads": 16, "mlp_ratio": 2.0,
}  # fmt: skip
ARGUMENTS = {
    "model": "vitamin_large", "num_query": 0, "img_size": 256, "quant_proj": "attn", "vocab_size": 32768,
    "vocab_width": 64, "num_codebooks": 8, "embed_dim": 768, "text_width": 768, "text_heads": 12, "text_layers": 12,
    "text_vocab_size": 49408, "text_context_length": 77,
}  # fmt: skip


def parts(arguments: dict[str, Any]) -> ContrastiveConfig:
    """Of the arguments that the authors keep beside the weights, and of those that the network's name stands for."""
    if arguments["quant_proj"] != "attn" or arguments.get("num_query"):
        raise ValueError("UniTok is known here with attention around its quantizer and without queries only")
    sizes = (LARGE if arguments["model"] == "vitamin_large" else {}) | arguments
    *widths, width = sizes["stage_dims"]
    stack = StackConfig(
        width, sizes["depth"], AttentionConfig(sizes["num_heads"], bias=True),
        GeGLUConfig(int(width * sizes["mlp_ratio"])), LayerNormConfig(),
    )  # fmt: skip
    depths = tuple(sizes["conv_depths"]), tuple(sizes["decoder_up_depths"])
    network = ViTaminConfig(stack, sizes["stem_width"], tuple(widths), *depths)
    books = sizes["num_codebooks"]
    quantizer = MulticodeConfig(books, sizes["vocab_size"] // books, sizes["vocab_width"] // books)
    wrapped = FactorisationConfig(network, width)
    return ContrastiveConfig(AutoencoderConfig(wrapped, wrapped, quantizer), _text(sizes), sizes["embed_dim"])


def _text(sizes: dict[str, Any]) -> TextTowerConfig:
    width = sizes["text_width"]
    attention = AttentionConfig(sizes["text_heads"], bias=True)
    feed_forward = GELUConfig(4 * width, approximate="none")
    stack = StackConfig(width, sizes["text_layers"], attention, feed_forward, LayerNormConfig(eps=1e-5))
    return TextTowerConfig(stack, sizes["text_vocab_size"], sizes["text_context_length"])


BLOCK = {
    "attention_norm": "norm1", "attention.qkv": "attn.qkv", "attention.out": "attn.proj",
    "attention.query_bias": "attn.q_bias", "attention.value_bias": "attn.v_bias",
    "feed_forward_norm": "norm2", "feed_forward.norm": "mlp.norm", "feed_forward.gate_up": "mlp.w0",
    "feed_forward.out": "mlp.w2", "skip_norm": "norm3", "skip": "proj",
}  # fmt: skip
MBCONV = {
    "norm": "pre_norm", "widen": "conv1_1x1", "enlarge": "up", "depthwise": "conv2_kxk", "narrow": "conv3_1x1",
    "shortcut.1": "shortcut.expand",
}  # fmt: skip
TEXT = {
    "stack.blocks": "transformer.resblocks", "stack.norm": "ln_final", "enter": "token_embedding",
    "positions": "positional_embedding", "attention_norm": "ln_1", "attention.qkv.weight": "attn.in_proj_weight",
    "attention.qkv.bias": "attn.in_proj_bias", "attention.out": "attn.out_proj", "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc", "feed_forward.out": "mlp.c_proj",
}  # fmt: skip
ENDS = {"0": "conv1", "1": "norm1", "3": "conv2"}
PREFIXES = (  # prefix of the names here, prefix in the source, and what its layers are called
    ("tokenizer.encoder.network.stem.", "encoder.patch_embed.backbone.stem.", ENDS),
    ("tokenizer.encoder.network.stages.", "encoder.patch_embed.backbone.stages.", MBCONV),
    ("tokenizer.encoder.network.pool.", "encoder.patch_embed.backbone.pool.", {"0": "norm", "1": "proj"}),
    ("tokenizer.encoder.network.stack.", "encoder.", BLOCK),
    ("tokenizer.encoder.project.", "quant_proj.", BLOCK),
    ("tokenizer.decoder.project.", "post_quant_proj.", BLOCK),
    ("tokenizer.decoder.network.stack.", "decoder.", BLOCK),
    ("tokenizer.decoder.network.enter.", "decoder.up_conv1.", {}),
    ("tokenizer.decoder.network.stages.0.", "decoder.up_conv2.", MBCONV),
    ("tokenizer.decoder.network.stages.1.", "decoder.up_conv3.", MBCONV),
    ("tokenizer.decoder.network.leave.", "decoder.up_conv4.", ENDS),
    ("text.", "text_encoder.", TEXT),
    ("norm.", "fc_norm.", {}),
    ("leave.", "projection.", {}),
    ("log_scale", "logit_scale", {}),
)


def source_name(name: str, config: ContrastiveConfig) -> Source:
    """The authors' codebooks are separate modules, gate and up projections two matrices."""
    if name == "tokenizer.quantizer.codebook":
        quantizer = config.tokenizer.quantizer
        assert isinstance(quantizer, MulticodeConfig)
        return Source(tuple(f"quantizer.codebooks.{book}.codebook.weight" for book in range(quantizer.codebooks)))
    if name == "text.leave.weight":
        return Source(("text_encoder.text_projection",), transposed=True)
    prefix, found, layers = next(entry for entry in PREFIXES if name.startswith(entry[0]))
    rest = f".{name.removeprefix(prefix)}."
    for layer, called in layers.items():
        rest = rest.replace(f".{layer}.", f".{called}.")
    found += rest.strip(".")
    return Source((found, found.replace(".w0.", ".w1.")) if ".w0." in found else (found,))


PAGE = Page(
    name="unitok",
    title="UniTok",
    source="FoundationVision/UniTok bb8012e8e8d7",
    licence="MIT (FoundationVision/UniTok)",
    variants={
        "vitamin_large": Variant(
            ARGUMENTS,
            820_297_668,
            (File("unitok_tokenizer.pth", "FoundationVision/unitok_tokenizer", under=("trainer", "unitok")),),
            "256x256 pixels, a 16x16 grid of 8 codes out of 4096 each",
        ),
    },
    parts=parts,
    source_name=source_name,
    # all zero and never trained, or a count that only training looks at
    ignored=(r"encoder\.pos_embed", r".*\.zero_k_bias", r"quantizer\.codebooks\.\d+\.vocab_usage"),
    preparation=Preparation(size=256, enlarge=1.125, filter="BILINEAR"),
    reported=(
        Figure("rFID, ImageNet 256x256", 0.41, "README of FoundationVision/UniTok"),
        Figure("zero-shot accuracy, ImageNet, %", 70.8, "README of FoundationVision/UniTok"),
    ),
)
