"""Teaching a tokenizer to reconstruct pictures.

Mean squared and absolute error over two backgrounds, so that colour counts where it can be seen; a random number of
code groups and of known tokens, so that the first groups hold the most (Rippel et al. 2014) and unfinished pictures
decode.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from kiloword.evaluation.sheet import contact_sheet
from kiloword.pixels import composite, psnr
from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.tokens import Layout
from kiloword.training.pictures import shrink, shuffled, vary

# Axes: b pictures, H W pixels.


@dataclass(frozen=True)
class ReconstructionConfig:
    """Picture side, how often a picture is seen in all its groups, whole and at full size."""

    side: int = 64
    draft: float = 0.15  # share of batches at half size
    nested: float = 0.4  # share of pictures of which only the first groups are kept
    masked: float = 0.15  # share of pictures whose last tokens are unknown
    absolute: float = 0.1  # weight of the absolute error beside the squared one


class TokenizerLesson:
    """`pictures` [n, 4, S, S] are bytes; rows are drawn with `weights`; `held_out` ones are for judging only."""

    def __init__(
        self,
        module: Autoencoder,
        pictures: UInt8[Tensor, "n 4 S S"],
        weights: Float[Tensor, "n"],
        held_out: Int[Tensor, "m"],
        config: ReconstructionConfig = ReconstructionConfig(),
    ):
        self.module, self.pictures, self.weights, self.held_out = module, pictures, weights, held_out
        self.config = config

    def choose(self, iteration: int, count: int) -> Tensor:
        return shuffled(self.weights, iteration, count, seed=1)

    def loss(self, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config, module = self.config, self.module
        pixels = vary(self.pictures[rows], config.side)
        layout = module.layout(config.side, config.side)
        if torch.rand(()) < config.draft:
            pixels = interpolate(pixels, scale_factor=0.5, mode="area")
            layout = Layout(tuple((h // 2, w // 2) for h, w in layout.sizes), layout.frame)
        pixels = pixels.to(next(module.parameters()).device)
        latent = module.encode(pixels, layout).latent
        groups, known = self._chances(len(rows), layout.count)
        drawn = module.render(module.keep_groups(latent, groups.to(latent.device)), layout, known.to(latent.device))
        losses = difference(drawn, pixels, config.absolute)
        whole = (groups == self.module.groups) & known.all(1)
        return losses.mean(), {"whole": losses.detach().cpu()[whole].mean() if whole.any() else losses.detach().mean()}

    def _chances(self, b: int, n: int) -> tuple[Tensor, Tensor]:
        few = torch.randint(1, self.module.groups + 1, (b,))
        half = torch.full((b,), max(1, self.module.groups // 2))
        few = torch.where(torch.rand(b) < 0.6, half, few)
        groups = torch.where(torch.rand(b) < self.config.nested, few, torch.full((b,), self.module.groups))
        stop = torch.where(torch.rand(b) < self.config.masked, torch.randint(1, n + 1, (b,)), torch.full((b,), n))
        return groups, torch.arange(n)[None] < stop[:, None]

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        rows = self.held_out[:: max(1, len(self.held_out) // 256)][:256]
        side, module = self.config.side, self.module
        device = next(module.parameters()).device
        pixels = shrink(self.pictures[rows], side)
        layout = module.layout(side, side)
        latent = module.encode(pixels.to(device), layout).latent
        known = torch.ones(len(rows), layout.count, dtype=torch.bool, device=device)
        figures, sheets = {}, [pixels]
        for groups in sorted({max(1, self.module.groups // 2), self.module.groups}):
            kept = module.keep_groups(latent, torch.full((len(rows),), groups, device=device))
            drawn = module.render(kept, layout, known).cpu()
            bits = layout.count * module.space.bits * groups / self.module.groups
            figures[f"psnr_{round(bits)}_bits"] = float(psnr(drawn, pixels).mean())
            sheets.append(drawn)
        shown = torch.stack([sheet[:48] for sheet in sheets], dim=1).flatten(0, 1)
        contact_sheet(shown, columns=len(sheets) * 6).save(folder / f"look-{iteration:06d}.png")
        return figures


def difference(ours: Tensor, theirs: Tensor, absolute: float) -> Float[Tensor, "b"]:
    """Squared and absolute error of each picture over black and over white."""
    total = torch.zeros(len(ours), device=ours.device)
    for background in (-1.0, 1.0):
        error = composite(ours.float(), background) - composite(theirs, background)
        total = total + error.square().mean(dim=(1, 2, 3)) + absolute * error.abs().mean(dim=(1, 2, 3))
    return total / 2
