"""Training a tokenizer to reconstruct pictures.

An error of pixels and the losses that quantizers name (van den Oord et al. 2017, eq. 3); a random number of code groups
and of known tokens, so that the first groups hold the most (Rippel et al. 2014) and unfinished pictures decode.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from kiloword.data.array import ReadOnlyArray
from kiloword.evaluation.codebook import codebook_use
from kiloword.evaluation.sheet import contact_sheet
from kiloword.pixels import psnr
from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.tokens import Layout
from kiloword.training.annealing import Annealing
from kiloword.training.augmentation import shrink, shuffled, vary
from kiloword.training.losses.error import Difference, Error
from kiloword.training.losses.likelihood_loss import LogitLaplace

# Axes: b pictures, n tokens, H W pixels, S pixels a side of the data.


@dataclass(frozen=True)
class LossWeights:
    """What the losses that quantizers name weigh beside the error; all are means."""

    commitment_loss: float = 0.25
    codebook_loss: float = 1.0
    entropy_loss: float = 0.1
    kl_loss: float = 1e-6

    def total(self, losses: dict[str, Tensor]) -> Tensor | float:
        """The weighted sum. Raises ValueError for a loss that has no weight here."""
        unknown = losses.keys() - {field.name for field in fields(self)}
        if unknown:
            raise ValueError(f"the quantizer has losses without a weight: {', '.join(sorted(unknown))}")
        return sum(getattr(self, name) * loss for name, loss in losses.items())


@dataclass(frozen=True)
class ReconstructionConfig:
    """Picture side, how often a picture is seen in all its groups, whole and at full size, and what is an error."""

    side: int = 64
    draft: float = 0.15  # share of batches at half size
    nested: float = 0.4  # share of pictures of which only the first groups are kept, if there are groups
    masked: float = 0.15  # share of pictures whose last tokens are unknown, if all lie on one grid
    error: Difference | LogitLaplace = Difference()
    weights: LossWeights = LossWeights()
    temperature: Annealing | None = None  # of quantizers that have one


@dataclass(frozen=True)
class Rebuilt:
    """A batch reconstructed by a tokenizer: pixels in and out, error and loss, figures to be logged."""

    true: Float[Tensor, "b c H W"]
    drawn: Float[Tensor, "b c H W"]
    error: Float[Tensor, ""]
    loss: Float[Tensor, ""]
    figures: dict[str, Tensor]


class TokenizerTask:
    """`pictures` [n, 4, S, S] are bytes, in memory or on disk; examples are drawn with `weights`; `held_out` are
    indices of those for evaluation only.

    `error` stands in for that of the config where it cannot be written down.
    """

    def __init__(
        self,
        module: Autoencoder,
        pictures: ReadOnlyArray,
        weights: Float[Tensor, "n"],
        held_out: Int[Tensor, "m"],
        config: ReconstructionConfig = ReconstructionConfig(),
        error: Error | None = None,
    ):
        self.module, self.pictures, self.weights, self.held_out = module, pictures, weights, held_out
        self.config, self.error = config, error or config.error
        if config.temperature is not None and module.quantizer.temperature is None:
            raise ValueError(f"a {type(module.quantizer).__name__} has no temperature that could fall")

    def choose(self, iteration: int, count: int) -> Tensor:
        return shuffled(self.weights, iteration, count, seed=1)

    def loss(self, indices: Tensor, done: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        rebuilt = self.rebuild(indices, done)
        return rebuilt.loss, rebuilt.figures

    def rebuild(self, indices: Tensor, done: float) -> Rebuilt:
        """Random variants of some pictures, encoded and decoded after the share `done` of a training."""
        config, module = self.config, self.module
        if config.temperature is not None:
            module.quantizer.temperature = config.temperature.at(done)
        pixels = vary(self.pictures[indices], config.side)
        layout = module.layout(config.side, config.side)
        if torch.rand(()) < config.draft:
            pixels = interpolate(pixels, scale_factor=0.5, mode="area")
            layout = Layout(module.layout(config.side // 2, config.side // 2).sizes, layout.frame)
        pixels = pixels.to(next(module.parameters()).device)
        made = module.encode(pixels, layout, None if module.flips else Drawn())  # flips are for image models
        groups, known = self._chances(len(indices), layout)
        latent = module.keep_groups(made.latent, groups.to(made.latent.device))
        latent = module.keep_known(latent, layout, known.to(latent.device))
        drawn, errors = self.error(module.decoder, latent, layout, pixels)
        whole = (groups == module.groups) & known.all(1)
        figures = {"whole": errors.detach().cpu()[whole].mean() if whole.any() else errors.detach().mean()}
        figures |= {name: loss.detach() for name, loss in made.losses.items()}
        figures |= codebook_use(made.target, module.space, module.groups)
        error = errors.mean()
        return Rebuilt(pixels, drawn, error, error + config.weights.total(made.losses), figures)

    def _chances(self, b: int, layout: Layout) -> tuple[Tensor, Tensor]:
        n, whole = layout.count, self.module.groups
        few = torch.randint(1, whole + 1, (b,))
        few = torch.where(torch.rand(b) < 0.6, torch.full((b,), max(1, whole // 2)), few)
        groups = torch.where(torch.rand(b) < self.config.nested, few, torch.full((b,), whole))
        masked = 0.0 if self.module.multiscale else self.config.masked
        stop = torch.where(torch.rand(b) < masked, torch.randint(1, n + 1, (b,)), torch.full((b,), n))
        return groups, torch.arange(n)[None] < stop[:, None]

    @torch.no_grad()
    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        indices = self.held_out[:: max(1, len(self.held_out) // 256)][:256]
        side, module = self.config.side, self.module
        device = next(module.parameters()).device
        pixels = shrink(self.pictures[indices], side)
        layout = module.layout(side, side)
        made = module.encode(pixels.to(device), layout)
        known = torch.ones(len(indices), layout.count, dtype=torch.bool, device=device)
        figures, sheets = {}, [pixels]
        for groups in sorted({max(1, module.groups // 2), module.groups}):
            kept = module.keep_groups(made.latent, torch.full((len(indices),), groups, device=device))
            drawn = module.render(kept, layout, known).cpu()
            bits = layout.count * module.space.bits * groups / module.groups
            name = f"psnr_{round(bits)}_bits" if math.isfinite(bits) else "psnr"
            figures[name] = float(psnr(drawn, pixels).mean())
            sheets.append(drawn)
        use = codebook_use(made.target, module.space, module.groups)
        figures |= {f"held_out_{name}": float(value) for name, value in use.items()}
        shown = torch.stack([sheet[:48] for sheet in sheets], dim=1).flatten(0, 1)
        contact_sheet(shown, columns=len(sheets) * 6).save(folder / f"look-{iteration:06d}.png")
        return figures


class Drawn:
    """Noise from torch's own generator, which the loop seeds anew before every iteration."""

    def uniform(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        return torch.rand(len(pictures), *shape)

    def normal(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        return torch.randn(len(pictures), *shape)
