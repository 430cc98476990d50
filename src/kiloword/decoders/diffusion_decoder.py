"""The diffusion decoder: tokens to pixels by flow matching over patches, all at once or group after group.

Rectified flow (Liu et al. 2022; Lipman et al. 2022) from noise to pixels; groups as in Lee et al. 2023 and Ruhe et al.
2024, chosen when a picture is drawn; guidance within an interval of levels (Kynkaanniemi et al. 2024).

Network calls: N = ceil(steps (1 + overlap (groups - 1))) for euler and ddim, one a step; heun's second call is left out
where a step finishes all it works on, so it makes 2 N - 1, or 2 N - groups at overlap 1. Guidance doubles every call in
which the level of something at work lies within its interval.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kiloword.decoders.decoder import Decoder, DecodeStep, Decoding, Effort
from kiloword.decoders.denoiser import Denoiser, DenoiserConfig, places
from kiloword.decoders.patches import GROUPINGS
from kiloword.noise import Noise, heun, mix, straight, velocity_from_clean
from kiloword.tokens import Layout, Schedule, TokenSpace, grouped, ramps

# Axes: b pictures, n tokens, t patches, a those of them at work, s moments, k bands, d coefficients of a patch,
# g numbers that guide one, c channels, H W pixels.


@dataclass(frozen=True)
class DiffusionDecoderConfig:
    """A denoiser and its default effort. Below the level `least` a step moves only in part to the prediction."""

    denoiser: DenoiserConfig
    effort: Effort = Effort()
    least: float = 0.1

    def __post_init__(self):
        if not 0 < self.least < 1:
            raise ValueError(f"the least level is between 0 and 1, got {self.least}")

    def build(self) -> "DiffusionDecoder":
        return DiffusionDecoder(self)


@dataclass
class Canvas:
    """Pictures in progress: their patches, the guide of each, and their levels before every step and at the end (one
    for all patches where there is one group)."""

    patches: Float[Tensor, "b t d"]
    expected: Float[Tensor, "b t d"]
    guides: list[Float[Tensor, "b t g"]]
    place: Float[Tensor, "t 2"]
    levels: Float[Tensor, "s #t k"]
    effort: Effort


class DiffusionDecoder(nn.Module, Decoder):
    """Pixels from tokens and noise."""

    def __init__(self, config: DiffusionDecoderConfig):
        super().__init__()
        self.config = config
        self.denoiser: Denoiser = config.denoiser.build()
        self._sketchers: tuple[Decoding, ...] = ()  # a tuple, so that its weights do not become a part of this one

    def work_from(self, tokenizer: Decoding) -> None:
        """Take sketches from this tokenizer's decoder, if the denoiser uses any."""
        self._sketchers = (tokenizer,) if self.config.denoiser.sketch else ()

    def sketch(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"] | None:
        """The tokenizer's own reconstruction of the known tokens; None for denoisers without a sketch."""
        return self._sketchers[0].decode(tokens, layout, known).clamp(-1, 1) if self._sketchers else None

    def guides(
        self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"], guided: bool = False
    ) -> list[Float[Tensor, "b t g"]]:
        """The guide of every patch from the known tokens; if `guided`, also the null guide, with the same sketch."""
        sketch = self.sketch(tokens, layout, known)
        views = [known, torch.zeros_like(known)] if guided else [known]
        return [self.denoiser.guide(tokens, layout, view, sketch) for view in views]

    @property
    def scale(self) -> int:
        return self.config.denoiser.scale

    @property
    def stride(self) -> int:
        return self.config.denoiser.stride

    @property
    def space(self) -> TokenSpace:
        return self.config.denoiser.space

    @property
    def effort(self) -> Effort:
        return self.config.effort

    @torch.inference_mode()
    def decode_steps(
        self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"], effort: Effort, noise: Noise,
        pictures: Int[Tensor, "b"], start: Float[Tensor, "b c H W"] | None = None,
        under: Float[Tensor, "b c H W"] | None = None,
    ) -> Iterator[DecodeStep]:  # fmt: skip
        self.check(tokens, layout)
        canvas = self._begin(tokens, layout, known, effort, noise, pictures, start)
        height = self.denoiser.grid(layout)[0]
        if under is not None:
            canvas.expected = self._split(under, canvas.patches, layout, "seen underneath")
        steps, calls = len(canvas.levels) - 1, 0
        for step in range(steps):
            calls += self._step(canvas, layout, step)
            patches = canvas.patches if step + 1 == steps else canvas.expected
            yield DecodeStep(partial(self.denoiser.patches.join, patches, height), step + 1, steps, calls)

    @torch.no_grad()
    def preview(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]:
        """The sketch enlarged; without one, one long step from the middle of all noise: what is likely on the whole."""
        self.check(tokens, layout)
        sketch = self.sketch(tokens, layout, known)
        if sketch is not None:
            return interpolate(sketch, scale_factor=self.scale, mode="bilinear", antialias=False)
        net, (h, w) = self.denoiser, self.denoiser.grid(layout)
        zeros = torch.zeros(len(known), h * w, net.patches.dim, device=known.device)
        level = torch.ones(len(known), h * w, net.patches.bands, device=known.device)
        place = places(h, w).to(known.device).expand(len(known), -1, -1)
        (guide,) = self.guides(tokens, layout, known)
        return net.patches.join(net(zeros, level, torch.zeros_like(level), guide, place), h)

    def heads_for(
        self, x: Float[Tensor, "b a d"], level: Float[Tensor, "b #a k"], to: Float[Tensor, "b #a k"],
        guide: Float[Tensor, "b a g"], place: Float[Tensor, "b a 2"], seen: Bool[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b a d"]:  # fmt: skip
        """The predicted clean patches; below the level `least`, in part what is there already.

        So a picture that is all but clean stays what it is, and errors of the network are not blown up on the last few
        steps (Karras et al. 2022, section 5, mix so at all levels).
        """
        share = self.denoiser.patches.spread((level / self.config.least).clamp(max=1))
        return torch.lerp(x, self.denoiser(x, level, to, guide, place, seen), share)

    def check(self, tokens: Tensor, layout: Layout) -> None:
        """Raise ValueError unless these are tokens of this decoder's space, one for each position of the layout."""
        self.space.check(tokens)
        if tokens.shape[1] != layout.count:
            raise ValueError(f"the layout {layout.sizes} has {layout.count} tokens, got {tokens.shape[1]}")

    def steps(self, layout: Layout, effort: Effort) -> int:
        return self.plan(layout, effort).steps

    def plan(self, layout: Layout, effort: Effort) -> Schedule:
        """When each (patch, band) is finished, [1, t k]. Raises ValueError if the groups do not divide them."""
        if effort.grouping not in GROUPINGS:
            raise ValueError(f"there is no grouping {effort.grouping!r}: choose {', '.join(GROUPINGS)}")
        place = GROUPINGS[effort.grouping](*self.denoiser.grid(layout), self.denoiser.patches.bands)
        return ramps(grouped(place, effort.groups).reshape(1, -1), effort.overlap, effort.steps)

    def _begin(
        self, tokens: Tensor, layout: Layout, known: Tensor, effort: Effort, noise: Noise, pictures: Tensor,
        start: Tensor | None,
    ) -> Canvas:  # fmt: skip
        net, schedule = self.denoiser, self.plan(layout, effort)
        h, w = net.grid(layout)
        guides = self.guides(tokens, layout, known, guided=effort.guidance != 1)
        drawn = net.pure(noise.normal((h * w, net.patches.dim), pictures).to(known.device), guides[0])
        expected = drawn.new_zeros(()).expand_as(drawn)
        if start is not None:
            expected = self._split(start, drawn, layout, "to clean up")
            drawn = mix(expected, drawn, torch.tensor(effort.level))
        elif effort.level < 1:
            raise ValueError(f"to start from level {effort.level:g} takes a picture to start from")
        levels = (schedule.table()[0].float() * effort.level).to(drawn).unflatten(1, (h * w, net.patches.bands))
        if effort.groups == 1:
            levels = levels[:, :1]
        return Canvas(drawn, expected, guides, places(h, w).to(drawn), levels, effort)

    def _split(self, pixels: Tensor, like: Tensor, layout: Layout, what: str) -> Float[Tensor, "b t d"]:
        """A given picture's patches. Raises ValueError unless it is as large as the decoder's pictures."""
        net, side = self.denoiser, self.denoiser.config.patch
        wanted = [len(like), net.config.channels, *(count * side for count in net.grid(layout))]
        if list(pixels.shape) != wanted:
            raise ValueError(f"pictures {what} have shape {wanted} here, got {list(pixels.shape)}")
        return net.patches.split(pixels.to(like))

    def _step(self, canvas: Canvas, layout: Layout, step: int) -> int:
        """One step of all patches at work; returns the network calls that it took."""
        effort, patches = canvas.effort, canvas.patches
        level, to = (canvas.levels[moment].expand(len(patches), -1, -1) for moment in (step, step + 1))
        begun = (to < 1).any(-1)[0]  # noise that has not begun tells nobody anything
        everything = bool(begun.all())
        awake = slice(None) if everything else begun.nonzero()[:, 0]
        x, level, to = patches[:, awake], level[:, awake], to[:, awake]
        place = canvas.place[awake].expand(len(x), -1, -1)
        guides = [guide[:, awake] for guide in canvas.guides]
        per = self.denoiser.patches.spread
        a, b = per(level), per(to)
        moves = level > to
        clean, calls = self._clean(x, level, to, moves, guides, place, effort)
        if effort.solver == "ddim":
            clean = self.shown(clean)
        moved = straight(x, clean, a, b)
        further = moves & (to > 0)
        if effort.solver == "heun" and bool(further.any()):
            ahead, more = self._clean(moved, to, to, further, guides, place, effort)
            first, second = velocity_from_clean(x, clean, a), velocity_from_clean(moved, ahead, b)
            moved, calls = torch.where(b > 0, heun(x, first, second, a, b), moved), calls + more
        if everything and bool(moves.all()):  # nothing to be picked out
            canvas.patches, canvas.expected = moved, clean
            return calls
        canvas.patches, canvas.expected = patches.clone(), canvas.expected.clone()  # those before may yet be looked at
        canvas.patches[:, awake] = torch.where(a > b, moved, x)
        canvas.expected[:, awake] = torch.where(a > b, clean, canvas.expected[:, awake])
        return calls

    def shown(self, clean: Float[Tensor, "b a d"]) -> Float[Tensor, "b a d"]:
        """Clean patches within what pixels can be (Ho et al. 2020 clip so)."""
        patches = self.denoiser.patches
        return patches.split(patches.join(clean, 1).clamp(-1, 1))

    def _clean(
        self, x: Tensor, level: Tensor, to: Tensor, moves: Bool[Tensor, "b #a k"], guides: list[Tensor], place: Tensor,
        effort: Effort,
    ) -> tuple[Float[Tensor, "b a d"], int]:  # fmt: skip
        """The prediction of the network, with guidance where patches change, and its calls."""
        if effort.solver != "euler":
            to = level  # these solvers ask for the direction at a point, not for a whole step
        clean, calls = self.heads_for(x, level, to, guides[0], place), 1
        low, high = effort.interval
        within = moves & (level >= low) & (level <= high)
        if len(guides) > 1 and bool(within.any()):
            null, calls = self.heads_for(x, level, to, guides[1], place), 2
            led = null + effort.guidance * (clean - null)
            clean = torch.where(self.denoiser.patches.spread(within.float()) > 0, led, clean)
        return clean, calls
