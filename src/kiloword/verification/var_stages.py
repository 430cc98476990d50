"""Recorded stages of VAR, recomputed here: teacher-forced logits, and pictures drawn in each of the authors' ways.

Tian et al. 2024 (Visual Autoregressive Modeling); github.com/FoundationVision/VAR.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.document import to_draw, to_learn
from kiloword.drawing import Drawing, Progress
from kiloword.engine.drive import draw
from kiloword.engine.guidance import GuidanceConfig
from kiloword.heads.categorical import CategoricalHead
from kiloword.heads.head import Sampling, Soft, combine_views, filter_logits
from kiloword.model import ImageModel
from kiloword.noise import Noise, Seeded
from kiloword.tokens import Layout
from kiloword.verification.hooks import recorded_calls
from kiloword.verification.proof import Proof, Record, Stages

# Axes: b pictures, n tokens of all grids, k codes, c channels of a picture.


class Flat:
    """Uniform numbers that were drawn for all pictures together, grid by grid, as one flat sequence."""

    def __init__(self, numbers: Float[Tensor, " numbers"]):
        self.numbers, self.used = numbers, 0

    def uniform(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        taken = self.numbers[self.used : self.used + len(pictures) * prod(shape)]
        self.used += taken.numel()
        return taken.view(len(pictures), *shape)

    def normal(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        raise ValueError("these are uniform numbers, and normal ones were requested")


def smooth(sampling: Sampling, steps: int) -> tuple[Sampling, ...]:
    """The authors' "more smooth" way: distributions in place of ids, sharper from grid to grid. For looks only."""
    ratios = [step / max(1, steps - 1) for step in range(steps)]
    return tuple(replace(sampling, soft=Soft(max(0.27 * (1 - 0.95 * r), 0.005), 1 + r)) for r in ratios)


@dataclass(frozen=True)
class Drawn:
    """A drawing's result: tokens, the decoded picture, the logits of every step, unfiltered and filtered."""

    tokens: Tensor
    picture: Float[Tensor, "b c H W"]
    logits: Float[Tensor, "b n k"]
    kept: Float[Tensor, "b n k"]


def drawn(
    model: ImageModel, layout: Layout, labels: list[int], cfg: float, sampling: Sampling | tuple[Sampling, ...],
    noise: Noise, way: Callable[..., Iterator[Progress]] = draw,
) -> Drawn:  # fmt: skip
    """Pictures of classes in the authors' way: guidance of 1 + `cfg` in the end, in equal steps up to there."""
    head, documents = model.picture.head, to_draw(labels, layout)
    assert isinstance(head, CategoricalHead)
    schedule = model.picture.order.schedule(layout, len(labels), None, noise)
    weights = GuidanceConfig("ramp").weights(1 + cfg, schedule)
    request = Drawing(layout, [model.opening(documents, null) for null in (False, True)], weights, sampling)
    steps: list[Progress] = []
    _, answers = recorded_calls(head.output, lambda: steps.extend(way(model, request, noise)))
    logits = [combine_views(answer, request.weights_at(step)) for step, answer in enumerate(answers)]
    kept = [filter_logits(logit, request.sampling_at(step)) for step, logit in enumerate(logits)]
    picture = model.picture.tokenizer.decode(steps[-1].tokens, layout, steps[-1].known)
    return Drawn(steps[-1].tokens, picture, torch.cat(logits, 1), torch.cat(kept, 1))


def stages(record: Record) -> Stages:
    """Teacher-forced logits; greedy ids, without and with guidance; ids from recorded noise; "more smooth"."""
    model, tensors, sides = record.system, record.tensors, record.arguments["patch_nums"]
    head, tokenizer = model.picture.head, model.picture.tokenizer
    layout = tokenizer.layout(*[sides[-1] * tokenizer.stride] * 2)
    labels, ids, cfg = tensors["in.labels"].tolist(), tensors["in.ids"], float(tensors["in.cfg"])
    chance = Sampling(top_k=int(tensors["in.top_k"]), top_p=float(tensors["in.top_p"]) or 1.0)  # the authors' 0 is off
    softly = (-(-tensors["in.gumbel"].double()).exp()).exp()  # the uniform numbers that this Gumbel noise is made of

    def forced(prompts: list) -> Callable[[], object]:
        return lambda: model.loss(to_learn(prompts, layout, ids))

    def made(way: str) -> Drawn:
        match way:
            case "greedy0":
                return drawn(model, layout, labels, 0.0, Sampling(temperature=0), Seeded([0] * len(labels)))
            case "greedy_cfg":
                return drawn(model, layout, labels, cfg, Sampling(temperature=0), Seeded([0] * len(labels)))
            case "samp":
                return drawn(model, layout, labels, cfg, chance, Flat(tensors["in.uniforms"]))
        return drawn(model, layout, labels, cfg, smooth(chance, len(sides)), Flat(softly))

    table: dict[str, Callable[[], Tensor]] = {
        "out.tf_input": lambda: recorded_calls(head.embedding, forced(labels))[0][0][:, layout.counts[0] :],
        "out.tf_logits": lambda: recorded_calls(head.output, forced(labels))[1][0],
        "out.tf_logits_uncond": lambda: recorded_calls(head.output, forced([None] * len(labels)))[1][0],
        "out.samp_filtered_logits": lambda: made("samp").kept,
    }
    for way in ("greedy0", "greedy_cfg", "samp", "smooth"):
        table[f"out.{way}_logits"] = lambda way=way: made(way).logits
        table[f"out.{way}_fhat01"] = lambda way=way: (made(way).picture + 1) / 2
        if way != "smooth":
            table[f"out.{way}_ids"] = lambda way=way: made(way).tokens
    return table


PROOF = Proof(stages)
