"""Recorded stages of LlamaGen, recomputed here: prompt and angles, training's logits, and what the engine draws.

Sun et al. 2024 (Autoregressive Model Beats Diffusion); github.com/FoundationVision/LlamaGen.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kiloword.document import picture_span, to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.engine.guidance import GuidanceConfig
from kiloword.heads.categorical import CategoricalHead
from kiloword.heads.head import Sampling, combine_views, filter_logits
from kiloword.model import ImageModel
from kiloword.noise import Noise, Recorded, Seeded
from kiloword.prompts.prompt import Condition
from kiloword.tokens import Layout
from kiloword.transformer import (
    Stack,
)
from kiloword.verification.hooks import recorded_calls
from kiloword.verification.proof import Proof, Record, Stages


def stages(record: Record) -> Stages:
    """The prompt and the angles; all tokens at once, as in training; and what the engine draws with its cache."""
    tensors, model = record.tensors, record.system
    ids = tensors["in.ids"]
    prompts, nobody = recorded_prompts(tensors), [None] * len(ids)
    side = math.isqrt(ids.shape[1])
    layout = Layout(((side, side),))
    positions, guidance = record.arguments.get("cls_token_num", 1), float(tensors["in.cfg_scale"])
    seeds = Seeded([0] * len(ids))  # not looked at where the likeliest is taken

    def greedy(guidance: float) -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
        return lambda: drawn(model, drawing(model, layout, prompts, guidance, Sampling(0)), seeds)

    def given() -> Tensor:
        known = torch.ones_like(ids, dtype=torch.bool)
        plain = drawing(model, layout, prompts, 1.0, Sampling(0))
        return drawn(model, replace(plain, tokens=ids, given=known), seeds)[1]

    def sampled() -> tuple[Tensor, Tensor, Tensor]:
        sampling = Sampling(float(tensors["in.temperature"]), int(tensors["in.top_k"]), float(tensors["in.top_p"]))
        noise = Recorded(tensors["in.uniforms"].view(-1, len(ids)).T)
        limits = limited(int(tensors["in.cfg_interval"]))
        return drawn(model, drawing(model, layout, prompts, guidance, sampling, limits), noise)

    plain, guided = greedy(1.0), greedy(guidance)
    return {
        "out.cond_tokens": lambda: prompt_vectors(model.prompt.read(prompts), positions),
        "out.freqs_cis": lambda: angles(model, layout, positions),
        "out.tf_logits": lambda: teacher_forced_logits(model, layout, prompts, ids),
        "out.tf_logits_null": lambda: teacher_forced_logits(model, layout, nobody, ids),
        "out.cached_logits": given,
        "out.greedy_ids": lambda: plain()[0],
        "out.greedy_logits": lambda: plain()[1],
        "out.greedy_cfg_ids": lambda: guided()[0],
        "out.greedy_cfg_logits": lambda: guided()[1],
        "out.samp_ids": lambda: sampled()[0],
        "out.samp_logits": lambda: sampled()[1],
        "out.samp_filtered_logits": lambda: sampled()[2],
    }


def recorded_prompts(tensors: dict[str, Tensor]) -> list:
    """The recorded prompts: classes, or features with their masks."""
    if "in.labels" in tensors:
        return tensors["in.labels"].tolist()
    return list(zip(tensors["in.caption_emb"], tensors["in.emb_mask"], strict=True))


def limited(interval: int) -> GuidanceConfig:
    """The authors count steps from the second token on, and stop guiding behind `interval` (-1: never)."""
    return GuidanceConfig(last=None if interval < 0 else interval + 1)


def drawing(
    model: ImageModel, layout: Layout, prompts: list, guidance: float, sampling: Sampling,
    limits: GuidanceConfig = GuidanceConfig(),
) -> Drawing:  # fmt: skip
    """Guided where guidance is above 1, as the authors have it."""
    documents, b = to_draw(prompts, layout), len(prompts)
    if guidance <= 1:
        return Drawing(layout, [model.opening(documents)], torch.ones(1, b), sampling)
    schedule = model.picture.order.schedule(layout, b, None, None)
    views = [model.opening(documents, null) for null in (False, True)]
    return Drawing(layout, views, limits.weights(guidance, schedule), sampling)


def drawn(model: ImageModel, request: Drawing, noise: Noise, way: Any = draw) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, as the engine draws them, the logits of every step, views weighted, and what sampling keeps of them."""
    steps: list[Tensor] = []
    _, views = recorded_calls(output_of(model), lambda: steps.extend(now.tokens for now in way(model, request, noise)))
    logits = [combine_views(values, request.weights_at(step)) for step, values in enumerate(views)]
    kept = [filter_logits(values, request.sampling_at(step)) for step, values in enumerate(logits)]
    return steps[-1], torch.cat(logits, 1), torch.cat(kept, 1)


def output_of(model: ImageModel) -> nn.Module:
    """Where logits come out."""
    assert isinstance(model.picture.head, CategoricalHead)
    return model.picture.head.output


def teacher_forced_logits(model: ImageModel, layout: Layout, prompts: list, ids: Tensor) -> Tensor:
    """The logits from which the loss of all tokens is made."""
    return recorded_calls(output_of(model), lambda: model.loss(to_learn(prompts, layout, ids)))[1][0]


def prompt_vectors(condition: Condition, positions: int) -> Tensor:
    """The prompt's vectors, padded with zeros on the left to `positions`; the last one starts the picture."""
    assert condition.start is not None
    filled = condition.start.new_zeros(len(condition.start), positions, condition.start.shape[1])
    for vectors, prefix, present in zip(filled, condition.prefix, condition.present, strict=True):
        vectors[positions - 1 - int(present.sum()) : positions - 1] = prefix[present]
    filled[:, -1] = condition.start
    return filled


def angles(model: ImageModel, layout: Layout, positions: int) -> Tensor:
    """Cosine and sine of every pair, for the prompt's positions, which lie outside the grid, and every token."""
    assert isinstance(model.transformer, Stack) and model.transformer.rotary is not None
    index = torch.cat([torch.full((positions,), -1), torch.arange(layout.count)])[None]
    span = picture_span(torch.zeros(1, index.shape[1], model.transformer.width), layout, index, index, causal=True)
    cos, sin = (half[0, :, 0] for half in model.transformer.rotary.angles(span.positions))
    pairs = cos.shape[1] // 2
    return torch.stack([cos[:, :pairs], sin[:, pairs:]], dim=-1)


PROOF = Proof(stages)
