"""Recorded stages of Infinity's code, recomputed here: training with and without flipped bits, three ways of guidance.

Han et al. 2024 (Infinity); the recordings come from github.com/FoundationVision/Infinity.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from kiloword.document import picture_span, to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.heads.bitwise import BitwiseHead
from kiloword.heads.head import Sampling, combine_views
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.opening import behind
from kiloword.published.var import HALVES
from kiloword.tokenizers.patched import Patched
from kiloword.tokenizers.quantizer import Quantized
from kiloword.tokens import Layout
from kiloword.transformer import Stack, Stream
from kiloword.verification.hooks import recorded_calls
from kiloword.verification.proof import Proof, Record, Stages

# Axes: b pictures, n tokens of all grids, d bits of a token, k = 2 d logits, c channels, w width.


class Flips:
    """The chance that flips just the bits of recorded masks: for each grid how often, then which bits; a grid without a
    mask keeps all of its own."""

    def __init__(self, masks: dict[int, Tensor]):
        self.masks, self.drawn = masks, 0

    def uniform(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        grid, which = divmod(self.drawn, 2)
        self.drawn += 1
        if not which:
            return torch.full((len(pictures), *shape), 0.5)
        if grid not in self.masks:
            return torch.ones(len(pictures), *shape)
        return 1.0 - rearrange(self.masks[grid], "b 1 s t c -> b c s t")

    def normal(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        raise ValueError("flips are uniform numbers, and normal ones were requested")


@dataclass(frozen=True)
class Drawn:
    """Bits, the latent that they add up to, and the logits of every grid, views weighted, over its temperature."""

    bits: Int[Tensor, "b n d"]
    latent: Float[Tensor, "b c h w"]
    logits: Float[Tensor, "b n k"]


@dataclass(frozen=True)
class Scene:
    """The recorded texts and pictures as input of the model."""

    record: Record

    @property
    def model(self) -> ImageModel:
        return self.record.system

    @property
    def settings(self) -> dict[str, Any]:
        return self.record.settings["settings"]

    @property
    def head(self) -> BitwiseHead:
        assert isinstance(self.model.picture.head, BitwiseHead)
        return self.model.picture.head

    @property
    def stack(self) -> Stack:
        assert isinstance(self.model.transformer, Stack)
        return self.model.transformer

    def texts(self, which: str = "") -> list[Tensor]:
        tensors = self.record.tensors
        return list(tensors[f"{which}text_features"].split(tensors[f"{which}text_lens"].tolist()))

    def layout(self, which: str) -> Layout:
        """The grids of a recorded schedule, in the frame of all that there are of that shape."""
        grids = [(rows, columns) for _, rows, columns in self.settings[which]]
        _, *frame = self.settings["rope_full_schedule_of_this_ratio"][-1]
        return Layout(tuple(grids), (frame[0], frame[1]))

    def encoded(self, flipped: bool = False) -> Quantized:
        masks = {}
        if flipped:
            names = (re.fullmatch(r"bsc_flip_(\d+)", name) for name in self.record.tensors)
            masks = {int(name[1]): self.record.tensors[name[0]] for name in names if name}
        noise = Flips(masks)
        layout = self.layout("scale_schedule")
        return self.model.picture.tokenizer.encode(self.record.tensors["vae_features"], layout, noise)

    def stream(self, shown: Int[Tensor, "b n d"]) -> Stream:
        """All positions of a training step."""
        layout, model = self.layout("scale_schedule"), self.model
        schedule = model.picture.order.schedule(layout, len(shown), None, None)
        everything = torch.arange(layout.count).expand(len(shown), -1)
        fed = model.picture.feed(shown, schedule, torch.ones(everything.shape), everything, layout)
        span, _ = model.picture.drawn_span(fed, schedule, schedule.start.long(), layout)
        return behind(model.opening(to_draw(self.texts(), layout)), span, modulated=True)

    def inputs(self, shown: Int[Tensor, "b n d"]) -> Tensor:
        """The inputs of the positions behind the first grid."""
        first = self.layout("scale_schedule").counts[0]
        return recorded_calls(self.head.embedding, lambda: self.stream(shown))[0][0][:, first:]

    def logits(self) -> Float[Tensor, "b n k"]:
        hidden = self.model.transformer(self.stream(self.encoded().shown))
        return self.head.output(hidden)

    def first_block(self, part: Callable[[Any], nn.Module], count: int) -> Tensor:
        """The output of a part of the first block at the first positions."""
        return recorded_calls(part(self.stack.blocks[0]), self.logits)[1][0][:, :count]

    def loss(self) -> Float[Tensor, ""]:
        """The mean over bits; a token weighs the less, the more its grid has."""
        layout, found = self.layout("scale_schedule"), self.encoded(flipped=True)
        loss = self.model.loss(to_learn(self.texts(), layout, found.target, found.shown))["picture"].values
        weight = torch.cat([torch.full((count,), count**-0.5) for count in layout.counts])
        return (loss / found.target.shape[-1] * weight / weight.sum()).sum(1).mean()

    def drawn(self, guidance: list[float], temperatures: list[float], **how: Any) -> Drawn:
        """The likeliest bits, with guidance on every grid; away from the `negative` prompts, if there are any."""
        layout, texts = self.layout("gen_scale_schedule"), self.texts()
        negative = how.pop("negative", None)
        views = [
            self.model.opening(to_draw(texts, layout)),
            self.model.opening(to_draw(negative or texts, layout), null=negative is None),
        ]
        weights = torch.tensor([[g, 1 - g] for g in guidance])[..., None].expand(-1, -1, len(texts))
        sampling = tuple(Sampling(temperature, top_k=1) for temperature in temperatures)
        request = Drawing(layout, views, weights, sampling, **how)
        noise, steps = Seeded([0] * len(texts)), []
        _, answers = recorded_calls(self.head.output, lambda: steps.extend(draw(self.model, request, noise)))
        logits = [
            combine_views(answer, request.output_weights_at(step)) / temperatures[step]
            for step, answer in enumerate(answers)
        ]
        return Drawn(steps[-1].tokens, self.latent(steps[-1].tokens, layout), torch.cat(logits, 1))

    def latent(self, bits: Int[Tensor, "b n d"], layout: Layout) -> Float[Tensor, "b c h w"]:
        """What the decoder is given."""
        tokenizer: Any = self.model.picture.tokenizer
        if isinstance(tokenizer, Patched):
            inside: Any = tokenizer.tokenizer
            return inside.quantizer.lookup(tokenizer.apart(bits, layout), tokenizer.inner(layout))
        return tokenizer.quantizer.lookup(bits, layout)

    def angles(self, count: int) -> Float[Tensor, "2 n p"]:
        """Cosine and sine of every pair of the first tokens."""
        layout = self.layout("scale_schedule")
        index = torch.arange(layout.count)[None]
        span = picture_span(torch.zeros(1, layout.count, self.stack.width), layout, index, index, causal=True)
        assert self.stack.rotary is not None
        cos, sin = (half[0, :count, 0] for half in self.stack.rotary.angles(span.positions))
        pairs = cos.shape[1] // 2
        return torch.stack([cos[:, :pairs], sin[:, pairs:]])

    def rounded(self, work: Callable[[], Tensor]) -> Tensor:
        """The same with queries, keys and values of the context rounded to bfloat16, as the authors' attention takes
        them."""

        def halve(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            return output.bfloat16().float()

        blocks: list[Any] = list(self.stack.blocks)
        across = [block.cross_attention.attention for block in blocks]
        parts = [part for each in across for part in (each.query, each.key_values)]
        hooks = [part.register_forward_hook(halve) for part in parts]
        try:
            return work()
        finally:
            for hook in hooks:
                hook.remove()


def described_number(record: Record, tensor: str, pattern: str) -> float:
    """A number in the recording's description of a tensor."""
    found = re.search(pattern, record.settings["tensors"][tensor])
    if found is None:
        raise ValueError(f"the recording does not say with which {pattern!r} {tensor} was made")
    return float(found[1])


def stages(record: Record) -> Stages:
    """Prompts, a training step, the first block, and what is drawn with guidance of each kind."""
    tensors, scene = record.tensors, Scene(record)
    settings, count = scene.settings, len(scene.settings["gen_scale_schedule"])

    @cache
    def made(way: str) -> Drawn:
        match way:
            case "gen_cfg":
                return scene.drawn(settings["cfg_list"][:count], settings["tau_list"][:count])
            case "gen_cfg_layer":
                guidance = described_number(record, f"{way}_bits", r"cfg (\d+(?:\.\d+)?)")
                block = int(described_number(record, f"{way}_bits", r"cfg_insertion_layer=\[(-\d+)\]"))
                return scene.drawn([guidance] * count, [1.0] * count, after_block=block)
        guidance = described_number(record, f"{way}_bits", r"CFG (\d+(?:\.\d+)?) on logits")
        return scene.drawn([guidance] * count, [1.0] * count, negative=scene.texts("neg_"))

    def condition() -> Any:
        return scene.model.prompt.read(scene.texts())

    def modulation() -> Tensor:
        values = scene.stack.shared_modulation(condition().vector[:, None]).unflatten(-1, (6, -1))
        return values[:, :, [HALVES.index(number) for number in range(len(HALVES))]]

    def context() -> Tensor:
        found = condition().context
        return found.vectors[found.present]

    table: dict[str, Callable[[], Tensor]] = {
        "cond_BD": lambda: condition().vector,
        "ca_kv": context,
        "gss": modulation,
        "rope_cos_sin": lambda: scene.angles(tensors["rope_cos_sin"].shape[1]),
        "tf_inputs": lambda: scene.inputs(scene.encoded().shown),
        "tf_targets": lambda: scene.encoded().target,
        "bsc_inputs": lambda: scene.inputs(scene.encoded(flipped=True).shown),
        "bsc_targets": lambda: scene.encoded(flipped=True).target,
        "bsc_loss": scene.loss,
        "sa0": lambda: scene.first_block(lambda block: block.attention, tensors["sa0"].shape[1]),
        "ca0": lambda: scene.first_block(lambda block: block.cross_attention.attention, tensors["ca0"].shape[1]),
        "block0": lambda: scene.first_block(lambda block: block, tensors["block0"].shape[1]),
        "tf_logits": lambda: scene.logits()[:, tensors["logits_positions"]],
    }
    for name in (name for name in tensors if "_bf16_" in name):
        table[name] = lambda name=name: scene.rounded(scene.logits)[:, : tensors[name].shape[1]]
    for way in ("gen_cfg", "gen_cfg_layer", "gen_neg"):
        table[f"{way}_bits"] = lambda way=way: made(way).bits
        table[f"{way}_summed_codes"] = lambda way=way: made(way).latent
    table["gen_cfg_logits"] = lambda: made("gen_cfg").logits
    return {name: stage for name, stage in table.items() if name in tensors}


PROOF = Proof(stages)
