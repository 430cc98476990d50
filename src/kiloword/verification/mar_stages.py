"""Recorded stages of MAR, recomputed here: its transformer, its diffusion, whole pictures from the authors' noise.

Li et al. 2024 (Autoregressive Image Generation without Vector Quantization); github.com/LTH14/mar.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.document import to_draw
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.engine.guidance import GuidanceConfig
from kiloword.heads.ddpm import DDPM, DDPMConfig
from kiloword.heads.denoising_mlp import waves
from kiloword.heads.diffusion_head import DiffusionHead
from kiloword.heads.head import Sampling, combine_views
from kiloword.model import ImageModel
from kiloword.opening import behind
from kiloword.tokenizers.patched import joined, taken_apart
from kiloword.tokens import Layout
from kiloword.transformer import EncoderDecoder, Stream
from kiloword.verification.proof import Proof, Record, Stages

# Axes: v views, b pictures, n tokens, q tokens of a step, s steps, w width, c numbers of a token, d = 2c outputs of the
# diffusion's network, k known positions, y x rows and columns of latents, z channels of a latent.


@dataclass(frozen=True)
class Replay:
    """What the authors' code drew: orders, which uniforms select, or the times of a training step; and the noise."""

    uniforms: Tensor
    draws: list[Tensor]

    def uniform(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        return self.uniforms[pictures].view(len(pictures), *shape)

    def normal(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        return self.draws.pop(0)[pictures].view(len(pictures), *shape)


def ordered(orders: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Uniforms that select these orders."""
    return orders.argsort(1).double() / orders.shape[1]


def noise_of(
    flat: Tensor, visits: list[int], scales: list[float], shape: tuple[int, int], steps: int, views: int = 1
) -> tuple[list[Float[Tensor, "b q c"]], int]:
    """The noise of diffusions of so many `steps`, as the authors use it up, and how many numbers they have used then.

    `shape` is pictures and numbers a token; each diffusion draws as many tokens of a picture as `visits` says. With two
    views all is drawn twice, but for what a guided diffusion begins with: one whose scale is 1 is not guided.
    """
    (b, c), found, at = shape, [], 0
    for q, scale in zip(visits, scales, strict=True):
        for number in range(steps + 1):
            found.append(flat[at : at + b * q * c].view(b, q, c))
            at += b * q * c * (views if number or scale == 1 else 1)
    return found, at


def head_of(model: ImageModel) -> DiffusionHead:
    head = model.picture.head
    assert isinstance(head, DiffusionHead)
    return head


def process_of(head: DiffusionHead) -> DDPM:
    assert isinstance(head.process, DDPM)
    return head.process


def with_kept(model: ImageModel, kept: tuple[int, ...]) -> ImageModel:
    """The same system, which keeps other timesteps to draw."""
    model = deepcopy(model)
    head_of(model).process = DDPMConfig(respacing=kept).build()
    return model


def without_position_embedding(model: ImageModel) -> DiffusionHead:
    """The head for hidden vectors to which position embeddings have been added already."""
    head = deepcopy(head_of(model))
    head.place = None
    return head


@dataclass(frozen=True)
class Scene:
    """A recorded system and the pictures that the stages share: tokens and what is known of them."""

    tensors: dict[str, Tensor]
    model: ImageModel
    patch: int

    @property
    def layout(self) -> Layout:
        h, w = self.tensors["in.latents"].shape[2:]
        return Layout(((h // self.patch, w // self.patch),))

    def tokens(self) -> Float[Tensor, "b n c"]:
        columns = self.layout.sizes[0][1]
        return joined(rearrange(self.tensors["in.latents"], "b z y x -> b (y x) z"), columns, self.patch)

    def latents(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b z y x"]:
        columns = self.layout.sizes[0][1]
        vectors = taken_apart(tokens, columns, self.patch)
        return rearrange(vectors, "b (y x) z -> b z y x", x=columns * self.patch)

    def stream(self, labels: list, unknown: Float[Tensor, "b n"]) -> tuple[Stream, Int[Tensor, "b n"]]:
        """Prompt and picture, of which some tokens are unknown, and the indices of its tokens."""
        tokens, picture = self.tokens(), self.model.picture
        everything = torch.arange(self.layout.count).expand(len(tokens), -1)
        still = torch.zeros_like(everything)
        schedule = picture.order.schedule(self.layout, len(tokens), None, None)
        fed = picture.feed(tokens, schedule, unknown, everything, self.layout)
        span, memo = picture.drawn_span(fed, schedule, still, self.layout)
        return behind(self.model.opening(to_draw(labels, self.layout)), span, modulated=False), memo

    def hidden(self, labels: list, unknown: Float[Tensor, "b n"]) -> Float[Tensor, "b n w"]:
        """Hidden vectors of every token, with its position embedding added."""
        stream, memo = self.stream(labels, unknown)
        place = head_of(self.model).place
        assert place is not None
        return self.model.transformer(stream)[:, -self.layout.count :] + place(memo)

    def encoded(self, labels: list, unknown: Float[Tensor, "b n"]) -> Float[Tensor, "b k w"]:
        """The encoder half's output at the k known positions: the prompt's, then the picture's."""
        transformer = self.model.transformer
        assert isinstance(transformer, EncoderDecoder)
        return transformer.encode(self.stream(labels, unknown)[0])[0]

    def loss(self, labels: list, unknown: Float[Tensor, "b n"], noise: Replay) -> Float[Tensor, ""]:
        """The mean over the tokens to be predicted."""
        stream, memo = self.stream(labels, unknown)
        hidden = self.model.transformer(stream)[:, -self.layout.count :]
        loss = self.model.picture.head.loss(hidden, self.tokens(), memo, noise)
        return (loss * unknown).sum() / unknown.sum()


@dataclass(frozen=True)
class Drawn:
    """A recorded drawing, drawn again: tokens, what was unknown before each step, guidance, and noise used up."""

    tokens: Float[Tensor, "b n c"]
    masks: Float[Tensor, "s b n"]
    guidance: Float[Tensor, "s"]
    used: int


def drawn(scene: Scene, guidance: float, course: str) -> Drawn:
    """Steps that find nothing to draw any more, where there are more steps than tokens, count as the last one."""
    model, tensors, head = scene.model, scene.tensors, head_of(scene.model)
    uniforms, steps = ordered(tensors["in.orders"]), int(tensors["in.num_iter"])
    b, length = len(uniforms), len(process_of(head).drawn)
    schedule = model.picture.order.schedule(scene.layout, b, steps, Replay(uniforms, []))
    documents = to_draw(tensors["in.labels"].tolist(), scene.layout)
    views, weights = [model.opening(documents)], torch.ones(schedule.steps, 1, b)
    if guidance != 1:
        views.append(model.opening(documents, null=True))
        weights = GuidanceConfig(course).weights(guidance, schedule)
    visits = [int(schedule.visited(step)[0].sum()) for step in range(schedule.steps)]
    scales, shape = weights[:, 0, 0], (b, head.space.dim)
    noise, used = noise_of(tensors["in.gen_noise"], visits, scales.tolist(), shape, length, len(views))
    drawing = Drawing(scene.layout, views, weights, Sampling(float(tensors["in.temperature"])), steps=steps)
    progress = list(draw(model, drawing, Replay(uniforms, noise)))
    masks = torch.stack([torch.ones_like(progress[0].known), *(~p.known for p in progress[:-1])]).float()
    idle = steps - schedule.steps
    masks = torch.cat([masks, masks[-1:].expand(idle, -1, -1)])
    return Drawn(progress[-1].tokens, masks, torch.cat([scales, scales[-1:].expand(idle)]), used)


def guided(
    head: DiffusionHead, halves: Float[Tensor, "v q w"], weights: Float[Tensor, "v 1"]
) -> Callable[[Tensor, Tensor], Tensor]:
    """What the authors' network says with guidance: both views see the first one's tokens and share the predicted
    noise; each keeps its variance, though only the first one's tokens are kept in the end."""

    def predict(noised: Float[Tensor, "v q c"], time: Tensor) -> Float[Tensor, "v q d"]:
        noise, variance = head.net(noised[0], time, halves).chunk(2, dim=-1)
        return torch.cat([combine_views(noise[:, None], weights).expand_as(noise), variance], dim=-1)

    return predict


def chain(
    head: DiffusionHead, hidden: Float[Tensor, "q w"], flat: Tensor, temperature: float, guidance: float = 1.0
) -> Float[Tensor, "q c"]:
    """A whole diffusion; with guidance the second half of the vectors is the null view, of which the tokens are given,
    too, that the head itself does not go on with."""
    c, steps, row = head.space.dim, len(process_of(head).drawn), torch.tensor([0])
    views = 1 if guidance == 1 else 2
    halves, weights = hidden.unflatten(0, (views, -1)), torch.tensor([[guidance], [1 - guidance]])[:views]
    q, sampling = halves.shape[1], Sampling(temperature)
    noise, _ = noise_of(flat, [q], [guidance], (1, c), steps, views)
    kept = head.sample(halves[:, None], weights, None, sampling, Replay(flat, noise), row)[0]
    if views == 1:
        return kept
    begin, *rest = flat[: q * c].view(1, q, c).expand(2, -1, -1), *flat[q * c :].split(2 * q * c)
    draws = iter([begin, *(block.view(2, q, c) for block in rest[:steps])])
    both = head.process.sample(guided(head, halves, weights), lambda: next(draws), temperature)
    return torch.cat([kept, both[1]])


def stages(record: Record) -> Stages:
    """The transformer on known and unknown tokens; the diffusion head by its parts, as a loss and as a chain; whole
    pictures without guidance and with both courses of it. "sub" keeps the timesteps that the recording names."""
    tensors = record.tensors
    scene = Scene(tensors, record.system, record.arguments["patch_size"])
    sub = replace(scene, model=with_kept(record.system, tuple(tensors["out.sub_timestep_map"].tolist())))
    labels, cfg, unknown = tensors["in.labels"].tolist(), float(tensors["in.cfg"]), tensors["in.mask"]
    nobody, everything = [None] * len(labels), torch.ones_like(unknown)
    ways = {
        "gen_nocfg": (scene, 1.0, "constant"), "gen_const": (scene, cfg, "constant"),
        "gen_linear": (scene, cfg, "known"), "sub_gen_linear": (sub, cfg, "known"),
    }  # fmt: skip
    again = cache(lambda way: drawn(*ways[way]))
    table: dict[str, Callable[[], Tensor]] = {
        "patchified": lambda: scene.tokens(),
        "unpatchified": lambda: scene.latents(tensors["out.patchified"]),
        "enc_out": lambda: scene.encoded(labels, unknown),
        "dec_z": lambda: scene.hidden(labels, unknown),
        "dec_z_uncond": lambda: scene.hidden(nobody, unknown),
        "dec_z_allmasked": lambda: scene.hidden(labels, everything),
    }
    for way in ways:
        table[f"{way}_tokens"] = lambda way=way: scene.latents(again(way).tokens)
        table[f"{way}_masks"] = lambda way=way: again(way).masks
        table[f"{way}_cfg_iter"] = lambda way=way: again(way).guidance
        table[f"{way}_noise_used"] = lambda way=way: torch.tensor(again(way).used)
    table |= _stages_of_head(scene) | _stages_of_chains(scene, sub)
    return {f"out.{name}": stage for name, stage in table.items()}


def _stages_of_head(scene: Scene) -> dict[str, Callable[[], Tensor]]:
    """The network, the schedules, the terms of the loss and the loss."""
    tensors, head = scene.tensors, without_position_embedding(scene.model)
    process, x, time = process_of(head), tensors["in.net_x"], tensors["in.net_t"]
    labels, cfg, unknown = tensors["in.labels"].tolist(), float(tensors["in.cfg"]), tensors["in.mask"]
    shape = (head.repeat, *unknown.shape)
    moments, noise = tensors["in.loss_t"].view(shape), tensors["in.loss_noise"].view(*shape, -1)

    def some() -> Tensor:
        return scene.hidden(labels, unknown).flatten(0, 1)[: len(x)]

    def with_guidance() -> Tensor:
        predict = guided(head, some().unflatten(0, (2, -1)), torch.tensor([[cfg], [1 - cfg]]))
        return predict(x.unflatten(0, (2, -1)), time.unflatten(0, (2, -1))).flatten(0, 1)

    def terms() -> tuple[Tensor, Tensor]:
        hidden, clean = scene.hidden(labels, unknown), scene.tokens().expand(*shape, -1)
        return process.terms(lambda noised, at: head.net(noised, at, hidden), clean, moments, noise)

    def replay() -> Replay:
        uniforms = (moments.double() + 0.5) / len(process.learned)
        return Replay(uniforms.transpose(0, 1), [noise.transpose(0, 1)])

    return {
        "t_emb": lambda: head.net.time(waves(time)),
        "net_out": lambda: head.net(x, time, some()),
        "net_out_cfg": with_guidance,
        "train_alphas_cumprod": lambda: torch.from_numpy(process.learned.tables["share"]),
        "gen_betas": lambda: torch.from_numpy(process.drawn.tables["beta"]),
        "gen_timestep_map": lambda: torch.from_numpy(process.drawn.tables["timestep"]),
        "loss_mse_terms": lambda: terms()[0].flatten(),
        "loss_vb_terms": lambda: terms()[1].flatten(),
        "loss": lambda: scene.loss(labels, unknown, replay()),
    }


def _stages_of_chains(scene: Scene, sub: Scene) -> dict[str, Callable[[], Tensor]]:
    """Single steps of the diffusion, and all of them in a row. Every one but the plain chain is less loud."""
    tensors, head, short = scene.tensors, without_position_embedding(scene.model), without_position_embedding(sub.model)
    x, flat, temperature = tensors["in.net_x"], tensors["in.samp_noise"], float(tensors["in.temperature"])
    labels, cfg, unknown = tensors["in.labels"].tolist(), float(tensors["in.cfg"]), tensors["in.mask"]

    def some(count: int) -> Tensor:
        return scene.hidden(labels, unknown).flatten(0, 1)[:count]

    def step(number: int, part: int) -> Tensor:
        drawn, index = process_of(head).drawn, torch.tensor(number)
        outputs = head.net(x, drawn.timestep(index), some(len(x)))
        return drawn.step(x, outputs, index, flat[: x.numel()].view(x.shape) * temperature)[part]

    def whole(name: str, by: DiffusionHead, temperature: float, guidance: float = 1.0) -> Callable[[], Tensor]:
        count = len(tensors[f"out.{name}"])
        return lambda: chain(by, some(count), flat, temperature, guidance)

    single = {
        f"{name}.{number}": lambda number=number, part=part: step(number, part)
        for number in range(len(process_of(head).drawn))
        for part, name in enumerate(("pstep_sample", "pstep_xstart"))
    }
    return single | {
        "diff_sample": whole("diff_sample", head, 1.0),
        "diff_sample_t": whole("diff_sample_t", head, temperature),
        "diff_sample_cfg": whole("diff_sample_cfg", head, temperature, cfg),
        "sub_timestep_map": lambda: torch.from_numpy(process_of(short).drawn.tables["timestep"]),
        "sub_diff_sample": whole("sub_diff_sample", short, temperature),
        "sub_diff_sample_cfg": whole("sub_diff_sample_cfg", short, temperature, cfg),
    }


PROOF = Proof(stages)
