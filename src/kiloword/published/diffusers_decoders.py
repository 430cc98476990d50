"""Decoders of latents that others published, opened through diffusers: AutoencoderKL and ConsistencyDecoderVAE.

Rombach et al. 2022 (latent diffusion) for the first; for the second OpenAI 2023 (the consistency decoder, as DALL-E 3
has one), after Song et al. 2023 (Consistency Models). They are no part of a model: their weights are neither trained
here nor kept in our checkpoints.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kiloword.decoders.decoder import Decoder, DecodeStep, Effort, Own
from kiloword.noise import Noise
from kiloword.tokens import Layout, Vector

# Axes: b pictures, n tokens, c channels, h w grid of tokens, H W pixels.


class Latents:
    """Tokens as the latents of a foreign network, with its `scaling` and `shift` undone; unknown tokens are 0."""

    def __init__(self, dim: int, side: int, stride: int | None, scaling: float = 1.0, shift: float = 0.0):
        self.space, self.scaling, self.shift = Vector(dim), scaling, shift
        if stride is not None and (stride < 1 or side % stride):
            raise ValueError(f"this decoder draws {side} pixels a side for a token, no multiple of {stride}")
        self.stride = stride or side
        self.scale = side // self.stride

    def of(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c h w"]:
        self.space.check(tokens)
        rows, _ = layout.sizes[-1]
        if len(layout.sizes) > 1 or tokens.shape[1] != layout.count:
            raise ValueError(f"latents lie in one grid and fill it: {layout.sizes}, got {tokens.shape[1]}")
        seen = tokens.float().masked_fill(~known[..., None], 0)
        return rearrange(seen, "b (h w) c -> b c h w", h=rows) / self.scaling + self.shift


class KLNetwork:
    """The way out of a diffusers.AutoencoderKL."""

    def __init__(self, network: Any, stride: int | None = None):
        """`stride`: pixels a side that a token covers where it is made; None: as many as this decoder draws for it."""
        self.network, settings = network.eval().requires_grad_(False), network.config
        if settings.get("latents_mean") is not None or settings.get("latents_std") is not None:
            raise ValueError("this AutoencoderKL scales its latents channel by channel, which kiloword cannot undo")
        side = 2 ** (len(settings.block_out_channels) - 1)
        shift = settings.get("shift_factor") or 0.0
        self.latents = Latents(settings.latent_channels, side, stride, settings.scaling_factor, shift)
        self.stride, self.space = self.latents.stride, self.latents.space

    @torch.no_grad()
    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b 3 H W"]:
        latents = self.latents.of(tokens, layout, known)
        return self.network.to(latents.device).decode(latents, return_dict=False)[0]


def kl_decoder(network: Any, stride: int | None = None) -> Own:
    """An AutoencoderKL as a decoder: one call."""
    opened = KLNetwork(network, stride)
    return Own(opened, opened.latents.scale)


class ConsistencyDecoder(Decoder):
    """The way out of a diffusers.ConsistencyDecoderVAE: the two calls that it was made for."""

    effort = Effort(steps=2)

    def __init__(self, network: Any, stride: int | None = None):
        """`stride`: pixels a side that a token covers where it is made; None: as many as this decoder draws for it."""
        self.network, settings = network.eval().requires_grad_(False), network.config
        self.side = 2 ** (len(settings.block_out_channels) - 1)
        self.latents = Latents(settings.latent_channels, self.side, stride)  # it takes them scaled, as tokens are
        self.scale, self.stride, self.space = self.latents.scale, self.latents.stride, self.latents.space

    def steps(self, layout: Layout, effort: Effort) -> int:
        if effort != self.effort:
            raise ValueError(f"a consistency decoder draws in 2 steps, without groups or guidance, not with {effort}")
        return effort.steps

    def decode_steps(
        self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"], effort: Effort, noise: Noise,
        pictures: Int[Tensor, "b"], start: Float[Tensor, "b c H W"] | None = None,
        under: Float[Tensor, "b c H W"] | None = None,
    ) -> Iterator[DecodeStep]:  # fmt: skip
        if start is not None:
            raise ValueError("this decoder cannot clean up a picture: that takes a decoder by flow matching")
        steps, condition = self.steps(layout, effort), self._conditioning(tokens, layout, known)
        times, x = self._times(condition), noise.normal(tuple(condition[0, :3].shape), pictures).to(condition)
        x = x * self.network.decoder_scheduler.init_noise_sigma
        for step, time in enumerate(times):
            clean = self._clean(x, time, condition)
            yield DecodeStep(clean.detach, step + 1, steps, step + 1)
            if step + 1 < len(times):
                x = self._noised(clean, times[step + 1], noise.normal(tuple(clean.shape[1:]), pictures).to(clean))

    def preview(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b 3 H W"]:
        """The clean picture that the network predicts in its first step, from zeros in place of noise."""
        condition = self._conditioning(tokens, layout, known)
        return self._clean(torch.zeros_like(condition[:, :3]), self._times(condition)[0], condition)

    def _conditioning(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]:
        """Normalised latents, enlarged to the size of the picture by repetition."""
        latents = self.latents.of(tokens, layout, known)
        network = self.network.to(latents.device)
        latents = (latents - network.means) / network.stds
        return latents.repeat_interleave(self.side, 2).repeat_interleave(self.side, 3)

    def _times(self, condition: Tensor) -> Tensor:
        self.network.decoder_scheduler.set_timesteps(self.effort.steps, device=condition.device)
        return self.network.decoder_scheduler.timesteps

    @torch.no_grad()
    def _clean(self, x: Tensor, time: Tensor, condition: Tensor) -> Float[Tensor, "b 3 H W"]:
        scheduler = self.network.decoder_scheduler
        inputs = torch.cat([scheduler.scale_model_input(x, time), condition], dim=1)
        output = self.network.decoder_unet(inputs, time).sample[:, :3]
        return scheduler.c_out[time] * output + scheduler.c_skip[time] * x

    def _noised(self, clean: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        scheduler = self.network.decoder_scheduler
        return scheduler.sqrt_alphas_cumprod[time] * clean + scheduler.sqrt_one_minus_alphas_cumprod[time] * noise


WRAPPERS: dict[str, Callable[[Any, int | None], Decoder]] = {
    "AutoencoderKL": kl_decoder,
    "ConsistencyDecoderVAE": ConsistencyDecoder,
}


def open_decoder(folder: str | Path, stride: int | None = None) -> Decoder:
    """The decoder in a local folder that diffusers wrote; `stride` is that of the tokenizer whose tokens it decodes.

    Raises ValueError if diffusers is not installed, or for a folder that holds no such decoder.
    """
    path = Path(folder).expanduser() / "config.json"
    try:
        name = json.loads(path.read_text()).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder} is no folder of diffusers: it holds no config.json that can be read") from error
    if name not in WRAPPERS:
        raise ValueError(f"{folder} holds a {name}: kiloword takes {' or '.join(WRAPPERS)}")
    try:
        import diffusers
    except ImportError as error:
        raise ValueError(f"opening {folder} takes: pip install 'kiloword[diffusers]'") from error
    try:
        network = getattr(diffusers, name).from_pretrained(
            path.parent, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        line = str(error).strip().splitlines()[0]
        raise ValueError(f"diffusers cannot open the {name} in {folder}: {line}") from error
    return WRAPPERS[name](network, stride)
