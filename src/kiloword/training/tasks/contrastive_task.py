"""Training a judge: which pictures and texts of a batch belong together (Radford et al. 2021, CLIP, figure 3)."""

import random
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.data.array import ReadOnlyArray
from kiloword.tokenizers.contrastive import contrastive_loss
from kiloword.tokenizers.judge import ContrastiveJudge
from kiloword.training.augmentation import shuffled
from kiloword.training.tasks.image_model_task import Captions

# Axes: k versions of every picture, n pictures, t tokens, b pictures of a batch.


class ContrastiveTask:
    """`tokens` [k, n, t, ...] are those that a model is trained on, `captions` their texts."""

    def __init__(
        self, module: ContrastiveJudge, tokens: ReadOnlyArray, captions: Captions, weights: Float[Tensor, "n"],
        held_out: Int[Tensor, "m"],
    ):  # fmt: skip
        self.module, self.tokens, self.captions = module, tokens, captions
        self.weights, self.held_out = weights, held_out

    def choose(self, iteration: int, count: int) -> Tensor:
        return shuffled(self.weights, iteration, count, seed=4)

    def loss(self, indices: Tensor, done: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        chance = random.Random(int(torch.randint(2**31, ())))
        version = torch.randint(len(self.tokens), indices.shape)
        tokens = self.tokens[version, indices].long().to(self.module.offsets.device)
        similarity = self.module.similarity(tokens, [self.captions.prompt(index, chance) for index in indices.tolist()])
        return contrastive_loss(similarity.float()), {"found": found(similarity)}

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        """The share of held-out pictures, in one batch, whose text is the one that fits best."""
        indices = self.held_out[:: max(1, len(self.held_out) // 256)][:256]
        tokens = self.tokens[0, indices].long().to(self.module.offsets.device)
        similarity = self.module.similarity(tokens, [self.captions.caption(index) for index in indices.tolist()])
        return {"held_out_found": float(found(similarity)), "held_out_loss": float(contrastive_loss(similarity))}


def found(similarity: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    """The share of pictures whose text fits them best."""
    pairs = torch.arange(len(similarity), device=similarity.device)
    return (similarity.detach().argmax(1) == pairs).float().mean()
