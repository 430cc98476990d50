"""Groupwise drawing over tokens: how many positions go through the transformer, and what that saves.

Lee et al. 2023 (groupwise diffusion). A token is computed in `steps` steps, and once more when it is known;
the plain way (`model.draw`) computes the whole picture at every step. Both draw the same from the same noise.
"""

import argparse
import math
import sys
from collections import deque
from dataclasses import replace
from unittest.mock import patch

import torch
from side_by_side import arguments, show, table, take_turns, use_threads

from kiloword.document import to_draw
from kiloword.drawing import Drawing
from kiloword.engine import drive
from kiloword.engine.cpu.packed_linear import pack_matrices
from kiloword.heads.level import ModulatingLevelConfig
from kiloword.heads.velocity import VelocityConfig
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.orders.denoise import DenoiseConfig
from kiloword.parts import build
from kiloword.prompts.class_label import ClassLabelConfig
from kiloword.recipes.tokenizers import put_together, vit
from kiloword.recipes.transfusion import LATENT, image_model, stack
from kiloword.tokens import Layout, Vector


def small_model(options: argparse.Namespace) -> ImageModel:
    """Transfusion's parts with random weights; classes in place of its texts."""
    head = VelocityConfig(Vector(LATENT), options.width, level=ModulatingLevelConfig())
    config = image_model(put_together("kl", vit()), head, stack(options.width, options.depth))
    prompt = ClassLabelConfig(10, options.width)
    picture = replace(config.picture, order=DenoiseConfig(options.steps))
    model = build(replace(config, prompt=prompt, picture=picture, text=None)).eval()
    pack_matrices(model.transformer)
    return model


def drawing_of(model: ImageModel, options: argparse.Namespace, groups: tuple[int, float]) -> Drawing:
    layout = Layout(((options.side, options.side),))
    documents = to_draw([number % 10 for number in range(options.batch)], layout)
    views = [model.opening(documents, null) for null in (False, True)]
    weights = torch.tensor([[2.0], [-1.0]]).expand(2, options.batch)
    return Drawing(layout, views, weights, steps=options.steps, groups=groups)


def positions(model: ImageModel, drawing: Drawing, noise: Seeded) -> tuple[int, int]:
    """Calls of the transformer, and positions of the picture that went through it, without those of the prompt."""
    counts: list[int] = []

    def count(module: torch.nn.Module, inputs: tuple) -> None:
        stream = inputs[0]
        there = stream.vectors.new_ones(stream.vectors.shape[:2]) if stream.present is None else stream.present
        counts.append(int(there.sum()))

    handle = model.transformer.register_forward_pre_hook(count)
    with patch.object(drive, "fused", lambda transformer: transformer):
        deque(drive.draw(model, drawing, noise), maxlen=0)
    handle.remove()
    prompt = sum(int(view.lengths.sum()) for view in drawing.views)
    calls = len(counts) - (prompt > 0)
    return calls, sum(counts) - prompt


def measure(model: ImageModel, options: argparse.Namespace, groups: tuple[int, float]) -> dict:
    drawing, tokens = drawing_of(model, options, groups), options.side**2

    def noise() -> Seeded:
        return Seeded(list(range(options.batch)))

    calls, sent = positions(model, drawing, noise())
    count, overlap = groups
    views = len(drawing.views) * options.batch
    assert calls == math.ceil(options.steps * (1 + overlap * (count - 1))), "network calls are not as the formula says"
    ways = drive.draw(model, drawing, noise()), model.draw(drawing, noise())
    fast, plain = (deque(way, maxlen=1)[0].tokens for way in ways)
    seconds = take_turns({
        "kiloword": lambda: deque(drive.draw(model, drawing, noise()), maxlen=0),
        "plain": lambda: deque(model.draw(drawing, noise()), maxlen=0),
    }, options.rounds, options.cpu)  # fmt: skip
    return {
        "calls": calls,
        "positions": sent // views,
        "needed": options.steps * tokens + tokens - tokens // count,
        "plain_positions": calls * tokens,
        "difference": float((fast - plain).norm() / plain.norm()),
        **seconds,
        "ratio": seconds["plain"] / seconds["kiloword"],
    }


@torch.no_grad()
def main() -> None:
    parser = arguments(__doc__.splitlines()[0], rounds=3)
    parser.add_argument("--side", type=int, default=16, help="tokens a side of a picture")
    parser.add_argument("--steps", type=int, default=10, help="steps of a group")
    parser.add_argument("--batch", type=int, default=1, help="pictures at once")
    parser.add_argument("--width", type=int, default=256, help="of the transformer")
    parser.add_argument("--depth", type=int, default=6, help="of the transformer")
    options = parser.parse_args()
    use_threads(options.threads)
    torch.manual_seed(0)
    model = small_model(options)
    figures, lines = {}, []
    for groups in ((1, 0.0), (4, 0.25), (4, 1.0), (16, 0.25), (16, 1.0)):
        found = measure(model, options, groups)
        name = f"{groups[0]} groups, overlap {groups[1]:g}"
        figures[name] = found
        lines.append([name, *found.values()])
    head = [
        "",
        "calls",
        "positions",
        "needed",
        "positions, plain",
        "difference",
        "kiloword, s",
        "plain, s",
        "times as fast",
    ]
    title = f"{options.side}x{options.side} tokens, {options.steps} steps a group, batch {options.batch}, guided"
    show(options, figures, [table(title, head, lines)])


if __name__ == "__main__":
    sys.exit(main())
