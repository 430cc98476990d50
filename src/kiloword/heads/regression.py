"""Regression head: a token is a vector that the transformer predicts, without sampling.

Tong et al. 2024 (MetaMorph, section 2): features of a frozen encoder, embedded by a connector and regressed by a
two-layer network. A decoder turns them into pixels.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from kiloword.heads.entrance import BareEntranceConfig, LearnedEntranceConfig, PositionEntranceConfig
from kiloword.heads.head import Head, Sampling
from kiloword.noise import Noise
from kiloword.tokens import Fed, Layout, Vector

# Axes: v views, b pictures, q tokens, w width, c numbers of a token.


@dataclass(frozen=True)
class DirectionConfig:
    """Tokens of unit length; the loss is 1 - cosine similarity."""

    def finished(self, predicted: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        return normalize(predicted, dim=-1)

    def error(self, finished: Float[Tensor, "*b c"], target: Float[Tensor, "*b c"]) -> Float[Tensor, "*b"]:
        return 1 - cosine_similarity(finished, target, dim=-1)


@dataclass(frozen=True)
class ValueConfig:
    """Tokens of any length; the loss is the mean absolute error, what the authors' code falls back to."""

    def finished(self, predicted: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        return predicted

    def error(self, finished: Float[Tensor, "*b c"], target: Float[Tensor, "*b c"]) -> Float[Tensor, "*b"]:
        return (finished - target).abs().mean(-1)


@dataclass(frozen=True)
class RegressionConfig:
    """`aim` is the loss and what it requires of tokens; `positions` learned position embeddings (0: none), unless
    another `entrance` is named."""

    space: Vector
    width: int
    aim: DirectionConfig | ValueConfig = DirectionConfig()
    positions: int = 0
    entrance: BareEntranceConfig | PositionEntranceConfig | None = None

    def __post_init__(self):
        if not isinstance(self.space, Vector):
            raise ValueError(f"the regression head predicts Vector tokens, got {self.space}")

    def build(self) -> "RegressionHead":
        return RegressionHead(self)


class RegressionHead(Head, nn.Module):
    """A two-layer network at the entrance and at the output."""

    guidable = False

    def __init__(self, config: RegressionConfig):
        super().__init__()
        self.space, self.width, self.aim = config.space, config.width, config.aim
        self.connector = nn.Sequential(
            nn.Linear(config.space.dim, config.width), nn.GELU(), nn.Linear(config.width, config.width)
        )
        self.output = nn.Sequential(
            nn.Linear(config.width, config.width), nn.GELU(), nn.Linear(config.width, config.space.dim)
        )
        self.entrance = (config.entrance or LearnedEntranceConfig(config.positions)).build(config.width)

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], None]:
        return self.entrance(self.connector(fed.tokens), fed, layout), None

    def regressed(self, hidden: Float[Tensor, "b q w"]) -> Float[Tensor, "b q c"]:
        """The tokens predicted from hidden vectors."""
        return self.aim.finished(self.output(hidden).float())

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Float[Tensor, "b q c"], memo: None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        return self.aim.error(self.regressed(hidden), target.float())

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: None, sampling: Sampling,
        noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Float[Tensor, "b q c"]:  # fmt: skip
        """The first view's token: there is nothing to sample_from, so `sampling` and `noise` are not looked at."""
        self.refuse_guidance(weights)
        return self.regressed(hidden[0])

    def refuse_guidance(self, weights: Float[Tensor, "*s v b"]) -> None:
        """Raise ValueError unless the first view has weight 1 and all others 0."""
        first = weights[..., 0, :]
        if bool((first != 1).any()) or bool((weights[..., 1:, :] != 0).any()):
            wrong = float(first.flatten()[(first - 1).abs().argmax()])
            raise ValueError(f"a regressed token cannot be guided: guidance is 1 (off) with this model, got {wrong:g}")
