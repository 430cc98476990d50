"""Recipes of tokenizers: every quantizer between the same two kinds of networks, transformers and convolutions.

About as many codes everywhere (1,024 a token, or a code of it), so that what differs is how they are found. The papers
stand beside the entries; sizes are for 64x64 icons with transparency, a token covers 8x8 pixels.
"""

from dataclasses import dataclass, replace

from kiloword.recipes.emoji import patches
from kiloword.recipes.recipe_names import TOKENIZERS
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bsq import BSQConfig
from kiloword.tokenizers.bsq_scales import BSQScalesConfig
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.dvae import DVAEConfig
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.gumbel import GumbelConfig
from kiloword.tokenizers.kl import KLConfig
from kiloword.tokenizers.multicode import MulticodeConfig
from kiloword.tokenizers.network import NetworkConfig
from kiloword.tokenizers.palette import PaletteConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.tokenizers.quantizer import QuantizerConfig
from kiloword.tokenizers.residual import ResidualConfig
from kiloword.tokenizers.rq import RQConfig
from kiloword.tokenizers.vit import ViTConfig
from kiloword.tokenizers.vq import VQConfig
from kiloword.training.annealing import Annealing
from kiloword.training.loop import TrainingConfig
from kiloword.training.losses.adversarial import AdversarialConfig
from kiloword.training.losses.likelihood_loss import LogitLaplace
from kiloword.training.losses.perceptual import PerceptualConfig
from kiloword.training.optimiser import AdamWConfig, MuonConfig
from kiloword.training.tasks.tokenizer_task import LossWeights, ReconstructionConfig

Networks = tuple[NetworkConfig, NetworkConfig]  # encoder, decoder

CHANNELS = 4  # red, green, blue, alpha
SCALES = (1, 2, 3, 4, 6, 8)
SPREAD = VQConfig(1024, 32, normalised=False, decay=0.95, revive=0.1)  # of any length: what is left over is short
WHOLE = ReconstructionConfig(draft=0.0, nested=0.0, masked=0.0)

QUANTIZERS: dict[str, QuantizerConfig] = {
    "bsq": BSQConfig(10),  # Zhao et al. 2024
    "bsq-scales": BSQScalesConfig(10, (tuple((side, side) for side in SCALES),)),  # Han et al. 2024; flips come later
    "fsq": FSQConfig((8, 5, 5, 5)),  # Mentzer et al. 2023, table 1: the levels for about 2^10 codes
    "fsq-4": FSQConfig((8, 5, 5, 5), groups=4),  # as many bits as rq and multicode
    "gumbel": GumbelConfig(1024, 128),  # Ramesh et al. 2021
    "kl": KLConfig(16),  # Rombach et al. 2022; 16 channels as Li et al. 2024
    "multicode": MulticodeConfig(4, 1024, 8),  # Ma et al. 2025
    "palette": PaletteConfig(512, CHANNELS),  # Chen et al. 2020
    "residual": ResidualConfig(SPREAD, SCALES),  # Tian et al. 2024
    "rq": RQConfig(SPREAD, depth=4),  # Lee et al. 2022
    "vq": VQConfig(1024, 8, decay=0.95, revive=0.1),  # Yu et al. 2021, Sun et al. 2024
}
TASKS: dict[str, ReconstructionConfig] = {
    "gumbel": replace(WHOLE, weights=LossWeights(kl_loss=3e-3), temperature=Annealing()),
}
# The dVAE's likelihood is in nats a channel of a pixel: beta of 6.6, 64 tokens to 64 x 64 x 4 of them (appendix A.2).
DVAE = replace(WHOLE, error=LogitLaplace(), weights=LossWeights(kl_loss=6.6 / 256), temperature=Annealing())


@dataclass(frozen=True)
class PicturesConfig:
    """The pictures of a recipe: their side in pixels, the weight of skin tones, styles that are not trained on."""

    side: int = 64
    toned: float = 0.7
    leave_out: tuple[str, ...] = ()

    def __post_init__(self):
        if self.side < 8:
            raise ValueError(f"pictures have a side of at least 8 pixels, got {self.side}")


@dataclass(frozen=True)
class TokenizerRecipe:
    """A tokenizer's parts and how they are trained; the critic and the perceptual error are off by default."""

    name: str
    about: str
    tokenizer: AutoencoderConfig
    training: TrainingConfig
    reconstruction: ReconstructionConfig = WHOLE
    data: PicturesConfig = PicturesConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    perceptual: PerceptualConfig = PerceptualConfig()


def tokenizer_recipe(name: str) -> TokenizerRecipe:
    """The recipe "tokenizer-vq", or "tokenizer-vq-cnn" with convolutions. Raises ValueError for other names."""
    if name not in TOKENIZERS:
        raise ValueError(f"there is no tokenizer recipe {name!r}; there are: {', '.join(TOKENIZERS)}")
    sort, convolutions = name.removeprefix("tokenizer-").removesuffix("-cnn"), name.endswith("-cnn")
    optimiser = AdamWConfig(5e-4, weight_decay=0.0) if convolutions else MuonConfig(2.5e-3, weight_decay=0.02)
    training = TrainingConfig(iterations=4000, batch=32, optimiser=optimiser, warmup=50, average=0.998)
    networks = published(sort) if convolutions else vit()
    task = DVAE if isinstance(networks[0], DVAEConfig) else TASKS.get(sort, WHOLE)
    about = f"64x64 icons with transparency to tokens and back: {sort}, {'convolutions' if convolutions else 'ViT'}."
    return TokenizerRecipe(name, about, put_together(sort, networks), training, task)


def put_together(sort: str, networks: Networks) -> AutoencoderConfig:
    """A quantizer between two networks. Image GPT's palette has none: a token is the mean of 4x4 pixels."""
    means = PixelwiseConfig(4, CHANNELS)
    encoder, decoder = (means, means) if sort == "palette" else networks
    return AutoencoderConfig(encoder, decoder, QUANTIZERS[sort])


def vit(width: int = 192) -> Networks:
    """Two blocks to encode and three to decode, on patches of 8 pixels, which are the tokens: 2.4 M parameters.

    Small, so that two cores see 45,000 pictures in about 12 minutes: there more steps help more than blocks.
    Patches of 4 pixels that are joined 2x2 take twice as long (15.5 dB against 16.2 after the same minute).
    """
    block = patches(width, 1)
    return ViTConfig(block, block, 8, 1, CHANNELS), ViTConfig(block, patches(width, 2), 8, 1, CHANNELS)


def cnn(width: int = 128) -> Networks:
    """VQGAN's residual convolutions as LlamaGen's VQ-8 has them, which is `width` 128."""
    network = CNNConfig(width, (1, 2, 2, 4), attention=(3,), groups=(32, 16, 8), z=2 * width, channels=CHANNELS)
    return network, network


def published(sort: str) -> Networks:
    """The convolutions that a quantizer was published with: the dVAE's for gumbel, VQGAN's for the others."""
    dvae = DVAEConfig(channels=CHANNELS)
    return (dvae, dvae) if sort == "gumbel" else cnn()
