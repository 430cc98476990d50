"""MAR: vectors of a KL autoencoder in random order, more and more at once, each drawn by a small diffusion.

Li et al. 2024 (Autoregressive Image Generation without Vector Quantization); github.com/LTH14/mar.
"""

from dataclasses import replace
from typing import Any

from kiloword.engine.card import Card
from kiloword.heads.ddpm import DDPMConfig
from kiloword.heads.diffusion_head import DiffusionConfig
from kiloword.orders.masked import MaskedConfig
from kiloword.parts import ImageModelConfig, ModalityConfig
from kiloword.prompts.class_buffer import ClassBufferConfig
from kiloword.published import mar_kl16
from kiloword.published.page import Figure, File, Page, Preparation, Source, Variant
from kiloword.tokenizers.patched import PatchedConfig
from kiloword.tokenizers.tokens_only import TokensOnlyConfig
from kiloword.tokens import Vector
from kiloword.transformer import AttentionConfig, EncoderDecoderConfig, GELUConfig, LayerNormConfig, StackConfig


def parts(arguments: dict[str, Any]) -> ImageModelConfig:
    """Of the arguments of the authors' MAR, and under "vae" those of its KL-16; without these, pictures are latents."""
    width, patch = arguments["encoder_embed_dim"], arguments["patch_size"]
    if arguments["decoder_embed_dim"] != width:
        raise ValueError(
            f"encoder and decoder must have one width, as in all published sizes: encoder_embed_dim is {width}, "
            f"decoder_embed_dim {arguments['decoder_embed_dim']}"
        )
    inside, stride = Vector(arguments["vae_embed_dim"]), arguments["vae_stride"]
    side, buffer = arguments["img_size"] // stride // patch, arguments["buffer_size"]
    tokenizer = mar_kl16.parts(arguments["vae"]) if "vae" in arguments else TokensOnlyConfig(inside, stride)
    head = DiffusionConfig(
        Vector(inside.dim * patch**2),
        width,
        depth=arguments["diffloss_d"],
        hidden=arguments["diffloss_w"],
        process=DDPMConfig(respacing=str(arguments["num_sampling_steps"] or 1000)),
        repeat=arguments["diffusion_batch_mul"],
        positions=side**2,
    )

    def stack(half: str) -> StackConfig:
        attention = AttentionConfig(arguments[f"{half}_num_heads"], bias=True)
        feed_forward = GELUConfig(int(width * arguments.get("mlp_ratio", 4.0)), "none")
        return StackConfig(width, arguments[f"{half}_depth"], attention, feed_forward, LayerNormConfig(1e-6))

    order = MaskedConfig(least=arguments.get("mask_ratio_min", 0.7))
    return ImageModelConfig(
        ModalityConfig(PatchedConfig(tokenizer, patch) if patch > 1 else tokenizer, order, head),
        ClassBufferConfig(arguments["class_num"], width, buffer),
        EncoderDecoderConfig(stack("encoder"), stack("decoder"), buffer, (side, side), LayerNormConfig(1e-6)),
    )


IN_HEAD = {
    "input": "input_proj", "condition": "cond_embed", "time": "time_embed.mlp", "blocks": "res_blocks",
    "final": "final_layer", "norm": "in_ln", "modulation": "adaLN_modulation.1",
}  # fmt: skip
IN_BLOCK = {
    "attention_norm": "norm1", "attention.qkv": "attn.qkv", "attention.out": "attn.proj",
    "feed_forward_norm": "norm2", "feed_forward.up": "mlp.fc1", "feed_forward.out": "mlp.fc2",
}  # fmt: skip
WHOLE = {
    "prompt.embedding.weight": "class_emb.weight",
    "prompt.nothing": "fake_latent",
    "picture.head.place.weight": "diffusion_pos_embed_learned",
    "transformer.unfilled": "mask_token",
    "transformer.encoder_positions.weight": "encoder_pos_embed_learned",
    "transformer.decoder_positions.weight": "decoder_pos_embed_learned",
}
LAYERS = {
    "picture.head.entrance": "z_proj", "transformer.entry_norm": "z_proj_ln", "transformer.bridge": "decoder_embed",
    "transformer.encoder.norm": "encoder_norm", "transformer.decoder.norm": "decoder_norm",
}  # fmt: skip


def source_name(name: str, config: ImageModelConfig) -> Source:
    """Weights of the tokenizer come from a file of their own, whose names stand after "vae"."""
    if name in WHOLE:
        return Source((WHOLE[name],))
    match name.split("."):
        case ["picture", "tokenizer", *path]:
            inner = config.picture.tokenizer
            if isinstance(inner, PatchedConfig):
                inner, path = inner.tokenizer, path[1:]
            source = mar_kl16.PAGE.source_name(".".join(path), inner)
            return replace(source, names=tuple(f"vae.{known}" for known in source.names))
        case ["picture", "head", "net", *path]:
            return Source((".".join(["diffloss.net", *(IN_HEAD.get(part, part) for part in path)]),))
        case ["transformer", half, "blocks", number, *path, kind]:
            return Source((f"{half}_blocks.{number}.{IN_BLOCK['.'.join(path)]}.{kind}",))
    layer, _, kind = name.rpartition(".")
    return Source((f"{LAYERS[layer]}.{kind}",))


PUBLISHED = {
    "img_size": 256, "vae_stride": 16, "patch_size": 1, "vae_embed_dim": 16, "class_num": 1000, "buffer_size": 64,
    "num_sampling_steps": "100", "diffusion_batch_mul": 4, "vae": mar_kl16.KL16,
}  # fmt: skip
README = "github.com/LTH14/mar, README, ImageNet 256x256, 256 steps"
LICENCE = "MIT (LTH14/mar)"
ADDRESS = "https://www.dropbox.com/scl/fi/{}&dl=1"


def variant(name: str, sizes: tuple[int, int, int], head: tuple[int, int], parameters: int, link: str) -> Variant:
    """`sizes` are width, depth and heads of either half, `head` depth and width of the diffusion's network."""
    halves = {
        f"{half}_{argument}": size
        for half in ("encoder", "decoder")
        for argument, size in zip(("embed_dim", "depth", "num_heads"), sizes, strict=True)
    }
    weights = File(f"mar_{name}/checkpoint-last.pth", url=ADDRESS.format(link), under=("model_ema",))
    return Variant(
        {**PUBLISHED, **halves, "diffloss_d": head[0], "diffloss_w": head[1]},
        parameters,
        (weights, *(replace(file, part="vae") for file in mar_kl16.PAGE.variants["16"].files)),
        "256x256 pixels, 256 vectors of 16 numbers; ImageNet's classes",
    )


VARIANTS = {
    "base": variant(
        "base", (768, 12, 12), (6, 1024), 207_924_768,
        "f6dpuyjb7fudzxcyhvrhk/checkpoint-last.pth?rlkey=a6i4bo71vhfo4anp33n9ukujb",
    ),
    "large": variant(
        "large", (1024, 16, 16), (8, 1280), 478_326_304,
        "pxacc5b2mrt3ifw4cah6k/checkpoint-last.pth?rlkey=m48ovo6g7ivcbosrbdaz0ehqt",
    ),
    "huge": variant(
        "huge", (1280, 20, 16), (12, 1536), 942_403_104,
        "1qmfx6fpy3k7j9vcjjs3s/checkpoint-last.pth?rlkey=4lae281yzxb406atp32vzc83o",
    ),
}  # fmt: skip
GUIDANCE = {"base": 2.9, "large": 3.0, "huge": 3.2}


def card(name: str) -> Card:
    """As the authors draw the pictures that they measure; they show 64 steps, guided by 4 throughout."""
    return Card(
        f"MAR-{name}", ((256, 256),), guidance=GUIDANCE[name], course="known", steps=256, prompts="class",
        classes="imagenet", licence=LICENCE, about=VARIANTS[name].about,
    )  # fmt: skip


PAGE = Page(
    name="mar",
    title="MAR",
    source="LTH14/mar fe470ac2",
    licence=LICENCE,
    variants=VARIANTS,
    parts=parts,
    source_name=source_name,
    ignored=(r"vae\.loss\..*",),
    preparation=Preparation(size=256, filter="BICUBIC"),
    reported=(
        Figure("FID of base, guidance 2.9", 2.31, README),
        Figure("inception score of base, guidance 2.9", 281.7, README),
        Figure("FID of large, guidance 3.0", 1.78, README),
        Figure("inception score of large, guidance 3.0", 296.0, README),
        Figure("FID of huge, guidance 3.2", 1.55, README),
        Figure("inception score of huge, guidance 3.2", 303.7, README),
    ),
    card=card,
)
