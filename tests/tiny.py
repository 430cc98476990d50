"""Tiny models put together from parts, every tokenizer with every order and every head that it goes with.

Pictures have 8 rows and 4 columns of pixels, so that mix-ups of the two fail; a token covers 2 x 2 of them.
"""

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from kiloword import parts
from kiloword.decoders.denoiser import DenoiserConfig
from kiloword.decoders.diffusion_decoder import DiffusionDecoder, DiffusionDecoderConfig
from kiloword.document import to_describe, to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.entrance import PositionEntranceConfig
from kiloword.heads.factorised import FactorisedConfig
from kiloword.heads.head import Head
from kiloword.modality import Modality
from kiloword.model import ImageModel
from kiloword.noise import Noise
from kiloword.orders.draft import DraftConfig
from kiloword.orders.raster import RasterConfig
from kiloword.prompts.class_label import ClassLabelConfig
from kiloword.prompts.prompt import Prompt
from kiloword.prompts.text_prefix import TextPrefixConfig
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.bsq import BSQConfig
from kiloword.tokenizers.bsq_scales import BSQScalesConfig
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.gumbel import GumbelConfig
from kiloword.tokenizers.kl import KLConfig
from kiloword.tokenizers.multicode import MulticodeConfig
from kiloword.tokenizers.palette import PaletteConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokenizers.quantizer import Quantized
from kiloword.tokenizers.residual import ResidualConfig
from kiloword.tokenizers.rq import RQConfig
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokenizers.vit import ViTConfig
from kiloword.tokenizers.vq import VQConfig
from kiloword.tokens import Bits, Categorical, Codes, Layout, TokenSpace, Vector
from kiloword.transformer import (
    AdaLNConfig,
    AdaLNOutputConfig,
    AttentionConfig,
    GELUConfig,
    LayerNormConfig,
    RMSNormConfig,
    RotaryConfig,
    SharedAdaLNConfig,
    StackConfig,
    SwiGLUConfig,
)

ROWS, COLUMNS = 8, 4  # of pixels
WIDTH = 16
LEVELS = (3, 2)
TEXTS = ("a red apple", "a green pear on a blue house", "blue house", "a pear")


def stack(width: int = WIDTH, depth: int = 2, **changes) -> StackConfig:
    """Two heads that share one key head, and rotary positions."""
    attention = AttentionConfig(2, key_heads=1, head_dim=8, query_norm=RMSNormConfig())
    settings = {"attention": attention, "feed_forward": SwiGLUConfig(24), "position": RotaryConfig((2, 2, 2, 2))}
    return StackConfig(width, depth, **{**settings, **changes})


# One small example of every quantizer; those of NOT_IDEMPOTENT encode their own latents to other codes.
QUANTIZERS = {
    "bsq": BSQConfig(5),
    "bsq-scales": BSQScalesConfig(5, (((1, 1), (2, 2), (4, 4)), ((2, 1), (3, 2))), flip=0.4),
    "fsq": FSQConfig((5, 4), groups=2),
    "gumbel": GumbelConfig(7, 3),
    "kl": KLConfig(4, scale=0.5),
    "multicode": MulticodeConfig(3, 8, 2),
    "palette": PaletteConfig(7, 3),
    "residual": ResidualConfig(VQConfig(16, 3, normalised=False), (1, 2, 3, 4, 5), phis=2),
    "rq": RQConfig(VQConfig(16, 3, normalised=False, learning="mean"), depth=3),
    "vq": VQConfig(16, 4),
    "vq-mean": VQConfig(16, 3, normalised=False, learning="mean", revive=0.5),
}
NOT_IDEMPOTENT = {"gumbel", "kl", "residual", "rq", "bsq-scales"}


@cache
def words() -> BPEConfig:
    return BPEConfig.train(TEXTS * 5, 300)


def vit() -> ViTConfig:
    plain = StackConfig(8, 1, AttentionConfig(1), GELUConfig(8), LayerNormConfig())
    return ViTConfig(plain, plain, patch=1, merge=2)


def autoencoder(groups: int = 1) -> AutoencoderConfig:
    return AutoencoderConfig(vit(), vit(), FSQConfig(LEVELS, groups))


@dataclass(frozen=True)
class ShadesConfig:
    """How many shades of grey there are."""

    size: int = 5

    def build(self) -> "Shades":
        return Shades(self)


class Shades(nn.Module, Tokenizer):
    """A tokenizer without parameters: the shade of each cell as one id."""

    stride, channels = 2, 4

    def __init__(self, config: ShadesConfig):
        super().__init__()
        self.space = Categorical(config.size)

    def layout(self, height: int, width: int) -> Layout:
        return Layout(((height // 2, width // 2),))

    def encode(self, pixels: Tensor, layout: Layout, noise=None) -> Quantized:
        shade = avg_pool2d(pixels.mean(1, keepdim=True), 2).flatten(1)
        tokens = ((shade + 1) / 2 * self.space.size).long().clamp(0, self.space.size - 1)
        return Quantized(tokens, tokens, pixels)

    def decode(self, tokens: Tensor, layout: Layout, known: Tensor) -> Tensor:
        h, w = layout.sizes[-1]
        shade = (tokens * known).float().view(-1, 1, h, w) / self.space.size * 2 - 1
        return shade.repeat_interleave(2, 2).repeat_interleave(2, 3).expand(-1, 4, -1, -1)


TOKENIZERS = {
    "single": lambda: autoencoder().build(),
    "pyramid": lambda: PyramidConfig(autoencoder()).build(),
    "shades": lambda: ShadesConfig().build(),
    "shades-draft": lambda: PyramidConfig(ShadesConfig()).build(),
}
ORDERS = {"rows": RasterConfig(), "columns": RasterConfig("columns"), "draft": DraftConfig()}
HEADS = {
    "factorised": FactorisedConfig(Codes(LEVELS), WIDTH, units=8, positions=10),
    "categorical": CategoricalConfig(Categorical(5), WIDTH, positions=10),
    "tied": CategoricalConfig(Categorical(5), WIDTH, tied=True),
}
LEGAL = [
    (tokenizer, order, head)
    for tokenizer, heads in {"single": ["factorised"], "shades": ["categorical", "tied"]}.items()
    for head in heads
    for order in ("rows", "columns")
] + [("pyramid", "draft", "factorised"), ("shades-draft", "draft", "categorical"), ("shades-draft", "draft", "tied")]
ILLEGAL = [
    (tokenizer, order, head)
    for tokenizer in TOKENIZERS
    for order in ORDERS
    for head in HEADS
    if (tokenizer, order, head) not in LEGAL
]


def model(tokenizer: str, order: str, head: str, prompt: str = "text", seed: int = 0, **changes) -> ImageModel:
    """A model of the named parts whose every parameter does something; `changes` are those of its stack."""
    torch.manual_seed(seed)
    picture = Modality(TOKENIZERS[tokenizer](), ORDERS[order].build(), HEADS[head].build())
    read = TextPrefixConfig(words(), WIDTH) if prompt == "text" else ClassLabelConfig(3, WIDTH)
    vocabulary = Categorical(words().build().space.size)
    text = parts.TextConfig(words(), CategoricalConfig(vocabulary, WIDTH), limit=8)
    return awake(ImageModel(picture, read.build(), stack(**changes).build(), text.build())).eval()


def awake(module: nn.Module) -> nn.Module:
    """Parameters that start at zero, and would hide a mistake behind them, start at random instead."""
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.5)
    return module


def modulated() -> StackConfig:
    return stack(modulation=AdaLNConfig())


def layout_of(model: ImageModel) -> Layout:
    return model.picture.tokenizer.layout(ROWS, COLUMNS)


def pixels(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 4, ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def tokens(model: ImageModel, count: int, seed: int = 0) -> Tensor:
    """Random tokens of the model's space for a picture's layout."""
    return tokens_of(model.picture.tokenizer.space, layout_of(model), count, seed)


def tokens_of(space: TokenSpace, layout: Layout, count: int, seed: int = 0) -> Tensor:
    """Random tokens of that space."""
    generator, shape = torch.Generator().manual_seed(seed), (count, layout.count)
    match space:
        case Vector(dim):
            return torch.randn(*shape, dim, generator=generator)
        case Bits(dim):
            return torch.randint(2, (*shape, dim), generator=generator)
    sizes = space.sizes if isinstance(space, Codes) else (space.size,)
    drawn = torch.stack([torch.randint(size, shape, generator=generator) for size in sizes], dim=-1)
    return drawn if isinstance(space, Codes) else drawn[..., 0]


def decoder(space: TokenSpace = Codes(LEVELS), scale: int = 2, patch: int = 2, **changes) -> DiffusionDecoderConfig:
    """Patches of a picture of 8 x 4 pixels, or `scale` times as many, each a token's or a part of one's."""
    patches = stack(depth=1, modulation=SharedAdaLNConfig(), output_modulation=AdaLNOutputConfig())
    return DiffusionDecoderConfig(DenoiserConfig(space, stack(depth=1), patches, 2, scale, patch), **changes)


def diffusion_decoder(seed: int = 0, **changes) -> DiffusionDecoder:
    """A tiny diffusion decoder whose every parameter does something."""
    torch.manual_seed(seed)
    built = decoder(**changes).build()
    for parameter in built.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return built.eval()


def drawing(model: ImageModel, prompts: list, guidance: float = 1.0, **changes) -> Drawing:
    """A request for a picture of each prompt; 1 means no guidance. A head that cannot be guided takes the second view
    and does not look at it."""
    documents, b = to_draw(prompts, layout_of(model)), len(prompts)
    views, weights = [model.opening(documents)], torch.ones(1, b)
    if guidance != 1:
        views.append(model.opening(documents, null=True))
        guidance = guidance if model.picture.head.guidable else 1.0
        weights = torch.tensor([[guidance], [1 - guidance]]).expand(2, b)
    return Drawing(layout_of(model), views, weights, **changes)


def picture_losses(
    model: ImageModel, prompts: list, target: Tensor, shown: Tensor | None = None, layout: Layout | None = None,
    noise: Noise | None = None, **settings,
) -> Tensor:  # fmt: skip
    """The loss [b, n] of each token of pictures drawn from prompts, 0 where a token is not predicted."""
    documents = to_learn(prompts, layout or layout_of(model), target, shown)
    return model.loss(documents, noise, **settings)["picture"].masked()


def text_losses(
    model: ImageModel, texts: list[str], pictures: Tensor, layout: Layout | None = None, **settings
) -> Tensor:
    """The loss [b, m] of each token of texts about pictures [b, n, ...], 0 where a text has ended."""
    return model.loss(to_describe(pictures, layout or layout_of(model), texts), **settings)["text"].masked()


def prompt_losses(model: ImageModel, prompts: list, target: Tensor, shown: Tensor | None = None, **settings) -> Tensor:
    """The loss [b, m] of each token of prompts that are predicted."""
    documents = to_learn(prompts, layout_of(model), target, shown, predict_prompts=True)
    return model.loss(documents, **settings)["prompt"].masked()


def scales() -> AutoencoderConfig:
    """Three grids, of 1 x 1, 2 x 1 and 4 x 2 tokens, that add up."""
    return AutoencoderConfig(vit(), vit(), ResidualConfig(VQConfig(5, 3, normalised=False), (1, 2, 4), phis=2))


def vectors() -> AutoencoderConfig:
    return AutoencoderConfig(vit(), vit(), KLConfig(4, scale=0.5))


def blocks(**changes) -> StackConfig:
    """Blocks without rotary positions."""
    return stack(attention=AttentionConfig(2), feed_forward=GELUConfig(16), position=None, **changes)


def diffusion(process=None) -> parts.DiffusionConfig:
    process = process or parts.DDPMConfig(respacing=(0, 250, 500))  # few steps, none of which blows anything up
    return parts.DiffusionConfig(Vector(4), WIDTH, 1, 12, process, 2, positions=8)


def velocity(level=None, dim: int = 4, patches=None) -> parts.VelocityConfig:
    patches = patches or parts.LinearPatchesConfig()
    return parts.VelocityConfig(Vector(dim), WIDTH, patches, level or parts.AddedLevelConfig())


def positioned(canvas: int = 3) -> CategoricalConfig:
    return CategoricalConfig(Categorical(5), WIDTH, entrance=PositionEntranceConfig(11, 3), canvas=canvas, bias=True)


def books() -> AutoencoderConfig:
    return AutoencoderConfig(vit(), vit(), MulticodeConfig(3, 8, 2))


def one_by_one(sizes: tuple[int, ...], **changes) -> parts.MulticodeHeadConfig:
    """Codes predicted one after the other by one block."""
    return parts.MulticodeHeadConfig(Codes(sizes), WIDTH, stack(depth=1), **changes)


@dataclass(frozen=True)
class FixedContextConfig:
    """A context of texts of different lengths, one a class."""

    context: parts.TextContextConfig = parts.TextContextConfig(6, WIDTH, 2, positions=5)

    def build(self) -> "FixedContext":
        return FixedContext(self)


class FixedContext(Prompt, nn.Module):
    """Class k is a context of k + 2 fixed random vectors."""

    def __init__(self, config: FixedContextConfig):
        super().__init__()
        self.required = self.modulates = True
        self.context = config.context.build()
        self.width, self.context_positions = self.context.width, self.context.context_positions

    def read(self, prompts: list):
        seeded = torch.Generator().manual_seed
        return self.context.read([None if k is None else torch.randn(k + 2, 6, generator=seeded(k)) for k in prompts])

    def null(self, condition):
        return self.context.null(condition)


def flipping(*grids: tuple[int, int]) -> AutoencoderConfig:
    """Bits on several grids, of which some are shown flipped."""
    return AutoencoderConfig(vit(), vit(), BSQScalesConfig(5, (grids,), flip=0.4))


def bitwise(bits: int, **changes) -> parts.BitwiseConfig:
    return parts.BitwiseConfig(Bits(bits), WIDTH, **changes)


SHADES, LABEL, START = ShadesConfig(), ClassLabelConfig(3, WIDTH), parts.ClassStartConfig(3, WIDTH)
MUTED = stack(attention=AttentionConfig(2), position=parts.MutedConfig(RotaryConfig((0, 0, 4, 4))))
COSINE = AttentionConfig(2, bias=True, key_bias=False, query_norm=parts.UnitConfig())
SHARED = blocks(
    modulation=parts.SharedAdaLNConfig(), output_modulation=parts.AdaLNOutputConfig(), norm=LayerNormConfig()
)
VAR = replace(SHARED, attention=COSINE, norm=LayerNormConfig(affine=False), modulation=AdaLNConfig())
INFINITY = replace(
    VAR, modulation=SharedAdaLNConfig(), cross_attention=parts.CrossAttentionConfig(2),
    position=parts.RoundedConfig(RotaryConfig((0, 0, 4, 4))),
)  # fmt: skip
MAR = parts.EncoderDecoderConfig(blocks(norm=LayerNormConfig()), blocks(), buffer=3, grid=(4, 2))

# More models: tokenizer, order, head, prompt and transformer, and a decoder where the tokenizer
# has none. Prompts are classes.
WAYS = {
    "next scale": (scales(), parts.NextScaleConfig(), positioned(), START, VAR),
    "next scale, shared": (scales(), parts.NextScaleConfig(), positioned(), START, SHARED),
    "next scale after a prefix": (scales(), parts.NextScaleConfig(), positioned(), LABEL, stack()),
    "masked vectors": (vectors(), parts.MaskedConfig(3), diffusion(), parts.ClassBufferConfig(3, WIDTH, 3), MAR),
    "masked shades": (SHADES, parts.MaskedConfig(4), HEADS["categorical"], LABEL, stack()),
    "masked codes": (autoencoder(), parts.MaskedConfig(5), HEADS["factorised"], LABEL, stack()),
    "vectors in raster": (vectors(), RasterConfig(), diffusion(parts.FlowConfig(3)), LABEL, stack()),
    "spiral, position of the fed token": (
        SHADES, RasterConfig("spiral", position_of="fed"),
        CategoricalConfig(Categorical(5), WIDTH, entrance=parts.BareEntranceConfig()), START, MUTED,
    ),
    "a random path": (
        SHADES, RasterConfig("random"), CategoricalConfig(Categorical(5), WIDTH, entrance=PositionEntranceConfig(8)),
        START, blocks(),
    ),
    "raster, 1D positions": (SHADES, parts.Raster1DConfig(), HEADS["categorical"], LABEL, stack()),
    "random throughout": (SHADES, parts.RandomConfig(last=1.0), HEADS["categorical"], LABEL, stack()),
    "random, position of the fed token": (
        autoencoder(), parts.RandomConfig(last=0.5, position_of="fed"), HEADS["factorised"], START, MUTED,
    ),
    "codes one by one": (autoencoder(), RasterConfig(), one_by_one(LEVELS), LABEL, stack()),
    "codes one by one, masked": (autoencoder(), parts.MaskedConfig(3), one_by_one(LEVELS), LABEL, stack()),
    "projected codes": (
        books(), RasterConfig(position_of="fed"),
        one_by_one((8, 8, 8), codes=parts.ProjectedCodesConfig(2), entrance=parts.BareEntranceConfig()), START, MUTED,
    ),
    "vectors by regression": (
        vectors(), RasterConfig(), parts.RegressionConfig(Vector(4), WIDTH, parts.ValueConfig()), LABEL, stack(),
    ),
    "directions and a decoder": (
        parts.DirectionsConfig(books()), RasterConfig(), parts.RegressionConfig(Vector(6), WIDTH, positions=8), LABEL,
        stack(), decoder(Vector(6)),
    ),
    "bits by scale": (
        flipping((1, 1), (2, 1), (4, 2), (8, 4)), parts.NextScaleConfig(),
        bitwise(5, entrance=parts.ScaleEntranceConfig(4), canvas=5), FixedContextConfig(), INFINITY,
    ),
    "bits by scale in patches": (
        parts.PatchedConfig(flipping((2, 2), (4, 2)), 2), parts.NextScaleConfig(),
        bitwise(20, entrance=parts.ScaleEntranceConfig(2), canvas=20), FixedContextConfig(), INFINITY,
    ),
    "bits in raster": (
        AutoencoderConfig(vit(), vit(), BSQConfig(5)), RasterConfig(), bitwise(5, positions=8), LABEL, stack(),
    ),
    "denoised": (vectors(), parts.DenoiseConfig(3), velocity(), LABEL, stack()),
    "denoised in groups": (
        vectors(), parts.DenoiseConfig(3, groups=4, overlap=0.5), velocity(parts.ModulatingLevelConfig()), LABEL,
        stack(modulation=AdaLNConfig(), output_modulation=AdaLNOutputConfig()),
    ),
    "denoised one by one": (
        vectors(), parts.DenoiseConfig(2, groups=8, levels="uniform", upwards=True),
        velocity(parts.ModulatingLevelConfig()), START, SHARED,
    ),
    "denoised through a U-Net": (
        parts.PatchedConfig(vectors(), 2), parts.DenoiseConfig(3, groups=2),
        velocity(parts.AddedLevelConfig(), 16, parts.UNetPatchesConfig(2, 8)), LABEL, stack(),
    ),
}  # fmt: skip
MASKED = [name for name, way in WAYS.items() if isinstance(way[1], parts.MaskedConfig)]
GRADUAL = [name for name, way in WAYS.items() if isinstance(way[1], parts.DenoiseConfig)]
CAUSAL = [name for name in WAYS if name not in (*MASKED, *GRADUAL)]


def way(name: str, seed: int = 0) -> ImageModel:
    """A model of WAYS, without parameters that are zero."""
    torch.manual_seed(seed)
    tokenizer, order, head, prompt, transformer, *decoder = (part.build() for part in WAYS[name])
    return awake(ImageModel(Modality(tokenizer, order, head), prompt, transformer, None, *decoder)).eval()


class RecordingHead(Head, nn.Module):
    """A head that records the hidden vectors it gets."""

    def __init__(self, head):
        super().__init__()
        self.head, self.space, self.canvas, self.hidden = head, head.space, head.canvas, []

    def enter(self, fed, layout):
        return self.head.enter(fed, layout)

    def loss(self, hidden, target, memo, noise):
        self.hidden.append(hidden)
        return self.head.loss(hidden, target, memo, noise)

    def sample(self, hidden, weights, memo, sampling, noise, rows):
        self.hidden.append(hidden[0])
        return self.head.sample(hidden, weights, memo, sampling, noise, rows)

    def take(self) -> Tensor:
        """The recorded vectors of all positions: [b, n, w]."""
        taken, self.hidden = torch.cat(self.hidden, dim=1), []
        return taken
