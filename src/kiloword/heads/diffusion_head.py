"""Diffusion head: a small network denoises each token on its own, conditioned on its hidden vector.

Li et al. 2024 (MAR: Autoregressive Image Generation without Vector Quantization, diffusion loss).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kiloword.heads.ddpm import DDPMConfig
from kiloword.heads.denoising_mlp import DenoisingMLP
from kiloword.heads.flow import FlowConfig
from kiloword.heads.head import Head, Sampling, combine_views
from kiloword.noise import Noise
from kiloword.tokens import Fed, Layout, Vector

# Axes: v views, b pictures, q tokens, w width, c numbers of a token, r draws of noise for each token.


@dataclass(frozen=True)
class DiffusionConfig:
    """A network of `depth` blocks of width `hidden`, and `process`, which says how tokens are noised and sampled.

    A token's loss is the mean of `repeat` draws of time and noise; `positions` learned position embeddings (0: none)
    are added to the hidden vectors.
    """

    space: Vector
    width: int
    depth: int
    hidden: int
    process: DDPMConfig | FlowConfig = DDPMConfig()
    repeat: int = 4
    positions: int = 0

    def __post_init__(self):
        if not isinstance(self.space, Vector):
            raise ValueError(f"the diffusion head predicts Vector tokens, got {self.space}")
        if min(self.width, self.depth, self.hidden, self.repeat) < 1 or self.positions < 0:
            raise ValueError(
                f"width, depth, hidden and repeat must be at least 1 and positions at least 0, got {self.width}, "
                f"{self.depth}, {self.hidden}, {self.repeat} and {self.positions}"
            )

    def build(self) -> "DiffusionHead":
        return DiffusionHead(self)


class DiffusionHead(Head, nn.Module):
    """A linear embedding in, a diffusion out. The memo is the position of each token."""

    space: Vector

    def __init__(self, config: DiffusionConfig):
        super().__init__()
        self.space, self.width, self.repeat = config.space, config.width, config.repeat
        self.process = config.process.build()
        self.entrance = nn.Linear(config.space.dim, config.width)
        nn.init.xavier_uniform_(self.entrance.weight)
        nn.init.zeros_(self.entrance.bias)
        self.place = nn.Embedding(config.positions, config.width) if config.positions else None
        if self.place is not None:
            nn.init.normal_(self.place.weight, std=0.02)
        outputs = self.process.outputs * config.space.dim
        self.net = DenoisingMLP(config.space.dim, outputs, config.width, config.depth, config.hidden)

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], Int[Tensor, "b q"]]:
        """Embeddings, zeros where nothing is fed, and the positions of the tokens."""
        if self.place is not None and layout.count > self.place.num_embeddings:
            learned = self.place.num_embeddings
            raise ValueError(f"the picture has {layout.count} tokens, this head has learned {learned} positions")
        vectors = self.entrance(fed.tokens)
        return torch.where(fed.real[..., None], vectors, torch.zeros_like(vectors)), fed.index

    def _placed(self, hidden: Float[Tensor, "*v b q w"], memo: Int[Tensor, "b q"] | None) -> Float[Tensor, "*v b q w"]:
        if self.place is None:
            return hidden
        assert memo is not None, "this head adds learned positions, so it needs the memo of its entrance"
        return hidden + self.place(memo)

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Float[Tensor, "b q c"], memo: Int[Tensor, "b q"] | None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        """The mean over `repeat` draws. `noise` None: times and noise by torch's own generator."""
        hidden = self._placed(hidden, memo)
        (b, q, c), r, device = target.shape, self.repeat, target.device
        if noise is None:
            uniform, drawn = torch.rand(r, b, q, device=device), torch.randn(r, b, q, c, device=device)
        else:
            pictures = torch.arange(b)
            uniform = noise.uniform((r, q), pictures).transpose(0, 1).to(device)
            drawn = noise.normal((r, q, c), pictures).transpose(0, 1).to(device)

        def predict(noised: Tensor, time: Tensor) -> Tensor:
            return self.net(noised, time, hidden).float()

        return self.process.loss(predict, target.float().expand(r, -1, -1, -1), uniform, drawn).mean(0)

    @torch.no_grad()
    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: Int[Tensor, "b q"] | None,
        sampling: Sampling, noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Float[Tensor, "b q c"]:  # fmt: skip
        """All views denoise the same tokens: predicted noise (or velocity) is combined over the views, the variance is
        the first view's."""
        hidden, c = self._placed(hidden, memo), self.space.dim
        q = hidden.shape[2]

        def predict(noised: Tensor, time: Tensor) -> Tensor:
            outputs = self.net(noised, time, hidden).float()
            return torch.cat([combine_views(outputs[..., :c], weights), outputs[0, ..., c:]], dim=-1)

        def draw() -> Tensor:
            return noise.normal((q, c), pictures).to(hidden.device)

        return self.process.sample(predict, draw, sampling.temperature)
