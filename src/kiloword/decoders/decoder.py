"""The law of decoders: tokens, and which of them are known, become pixels.

OpenAI's announcement of native image generation (2025) draws it as "tokens -> [transformer] -> [diffusion] -> pixels";
a tokenizer's own decoder network is the one that costs nothing more.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from kiloword.noise import Noise
from kiloword.tokens import Layout, TokenSpace

# Axes: b pictures, n tokens, c channels, H W pixels.

SOLVERS = ("euler", "heun", "ddim")


@dataclass(frozen=True)
class Effort:
    """The compute spent on a picture, and the order in which its parts are finished.

    Each of `groups` takes `steps` steps, and begins when the one before has done the share `overlap` of its own:
    `groups` 1 is ordinary diffusion, `overlap` 1 one group after the other. `grouping` says which parts come first.
    Guidance (1: off) leads away from what no token is known of, while a part's level is within `interval`. A decoded
    picture is cleaned up by starting from it at a `level` below 1.
    """

    steps: int = 4
    groups: int = 1
    overlap: float = 0.0
    grouping: str = "rows"
    solver: str = "euler"
    guidance: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    level: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "interval", tuple(self.interval))
        if self.steps < 1:
            raise ValueError(f"decoder steps are 1 or more, got {self.steps}")
        if self.groups < 1:
            raise ValueError(f"groups are 1 or more, got {self.groups}")
        if not 0 <= self.overlap <= 1:
            raise ValueError(f"the overlap is from 0 (all groups at once) to 1 (one by one), got {self.overlap:g}")
        if self.solver not in SOLVERS:
            raise ValueError(f"the solver is one of {', '.join(SOLVERS)}, got {self.solver!r}")
        if not math.isfinite(self.guidance):
            raise ValueError(f"the decoder's guidance is a finite number (1 is off), got {self.guidance}")
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"the interval of guidance lies within 0 and 1, got {low:g} to {high:g}")
        if not 0 < self.level <= 1:
            raise ValueError(f"the level to start from is above 0 and at most 1, got {self.level:g}")


@dataclass(frozen=True)
class DecodeStep:
    """A picture in progress: its expected final pixels after `step` of `steps`, and the network calls so far.

    Its pixels are put together by `look`, and only if somebody looks.
    """

    look: Callable[[], Float[Tensor, "b c H W"]]
    step: int
    steps: int
    calls: int

    @cached_property
    def pixels(self) -> Float[Tensor, "b c H W"]:
        return self.look()


@runtime_checkable
class Decoding(Protocol):
    """What has a decoder network: a tokenizer."""

    @property
    def space(self) -> TokenSpace: ...

    @property
    def stride(self) -> int: ...

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]: ...


@runtime_checkable
class Decoder(Protocol):
    """What is required of a decoder; `work_from` has a default."""

    scale: int  # pixels a side of its pictures for one pixel that the tokenizer takes
    stride: int  # pixels of the tokenizer's that a token of the finest grid covers
    space: TokenSpace
    effort: Effort  # that of its own

    def work_from(self, tokenizer: Decoding) -> None:
        """Get access to the tokenizer's own decoder network. Most decoders don't use it."""
        return None

    def steps(self, layout: Layout, effort: Effort) -> int:
        """Decoding steps after those of the tokens; 0 if the picture is finished with the last token.

        Raises ValueError for an effort that this decoder does not support.
        """
        ...

    def decode_steps(
        self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"], effort: Effort, noise: Noise,
        pictures: Int[Tensor, "b"], start: Float[Tensor, "b c H W"] | None = None,
        under: Float[Tensor, "b c H W"] | None = None,
    ) -> Iterator[DecodeStep]:  # fmt: skip
        """Decode tokens, of which those `known` count: the expected final picture after every step; the last is
        finished.

        `pictures` are their indices in `noise`. `start` is a picture to be cleaned up, in [-1, 1]; `under` is shown
        where nothing has been decoded yet. Raises ValueError for an effort that this decoder does not support.
        """
        ...

    def preview(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]:
        """A quick preview of the known tokens, of the size of the finished picture."""
        ...


class Own(Decoder):
    """A tokenizer's own network, or another one that decodes at once, as a decoder: one call, whatever the effort."""

    effort = Effort(steps=1)

    def __init__(self, tokenizer: Decoding, scale: int = 1):
        self.tokenizer, self.scale = tokenizer, scale
        self.space, self.stride = tokenizer.space, tokenizer.stride

    def steps(self, layout: Layout, effort: Effort) -> int:
        return 0

    def decode_steps(
        self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"], effort: Effort, noise: Noise,
        pictures: Int[Tensor, "b"], start: Float[Tensor, "b c H W"] | None = None,
        under: Float[Tensor, "b c H W"] | None = None,
    ) -> Iterator[DecodeStep]:  # fmt: skip
        if start is not None:
            raise ValueError("a tokenizer's own decoder cannot clean up a picture: that takes a diffusion decoder")
        yield DecodeStep(self.tokenizer.decode(tokens, layout, known).detach, 1, 1, 1)

    def preview(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]:
        return self.tokenizer.decode(tokens, layout, known)
