"""MAR's drawing rewritten plainly: its two stacks, its small diffusion and its loop as its authors have them.

Li et al. 2024 (Autoregressive Image Generation without Vector Quantization); github.com/LTH14/mar. Weights have the
authors' names.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

Draw = Callable[[int, int], Tensor]  # tokens and channels of normal noise


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        queries, keys, values = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = scaled_dot_product_attention(queries, keys, values)
        return self.proj(mixed.transpose(1, 2).reshape(b, n, width))


class Mlp(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width, heads), Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TimestepEmbedder(nn.Module):
    def __init__(self, hidden: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, t: Tensor) -> Tensor:
        speeds = torch.exp(-math.log(10000) * torch.arange(0, 128, dtype=torch.float32) / 128)
        angles = t[:, None].float() * speeds[None]
        return self.mlp(torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1))


class ResBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        shift, scale, gate = self.adaLN_modulation(y).chunk(3, dim=-1)
        return x + gate * self.mlp(self.in_ln(x) * (1 + scale) + shift)


class FinalLayer(nn.Module):
    def __init__(self, width: int, outside: int):
        super().__init__()
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, outside)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(y).chunk(2, dim=-1)
        return self.linear(self.norm_final(x) * (1 + scale) + shift)


class SimpleMLPAdaLN(nn.Module):
    def __init__(self, channels: int, width: int, hidden: int, depth: int):
        super().__init__()
        self.channels = channels
        self.time_embed, self.cond_embed = TimestepEmbedder(hidden), nn.Linear(width, hidden)
        self.input_proj = nn.Linear(channels, hidden)
        self.res_blocks = nn.ModuleList(ResBlock(hidden) for _ in range(depth))
        self.final_layer = FinalLayer(hidden, 2 * channels)

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        x, y = self.input_proj(x), self.time_embed(t) + self.cond_embed(c)
        for block in self.res_blocks:
            x = block(x, y)
        return self.final_layer(x, y)

    def forward_with_cfg(self, x: Tensor, t: Tensor, c: Tensor, scale: float) -> Tensor:
        """Both halves see the tokens of the first."""
        half = x[: len(x) // 2]
        out = self(torch.cat([half, half]), t, c)
        noise, rest = out[:, : self.channels], out[:, self.channels :]
        condition, null = noise.split(len(half))
        guided = null + scale * (condition - null)
        return torch.cat([torch.cat([guided, guided]), rest], dim=1)


class DiffLoss(nn.Module):
    """The tables of the kept timesteps, in float64 as published, and a chain over them."""

    def __init__(self, channels: int, width: int, hidden: int, depth: int, steps: int):
        super().__init__()
        self.net, self.channels = SimpleMLPAdaLN(channels, width, hidden, depth), channels

        def share(t: float) -> float:
            return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

        betas = np.array([min(1 - share((i + 1) / 1000) / share(i / 1000), 0.999) for i in range(1000)])
        kept = [round(i * 999 / (steps - 1)) for i in range(steps)]
        known = np.cumprod(1 - betas)[kept]
        before = np.append(1.0, known[:-1])
        betas = 1 - known / before
        variance = betas * (1 - before) / (1 - known)
        self.kept = torch.tensor(kept)
        self.tables = {
            "recip": np.sqrt(1 / known), "recipm1": np.sqrt(1 / known - 1), "log_beta": np.log(betas),
            "log_variance": np.log(np.append(variance[1], variance[1:])),
            "start": betas * np.sqrt(before) / (1 - known), "now": (1 - before) * np.sqrt(1 - betas) / (1 - known),
        }  # fmt: skip

    def sample(self, z: Tensor, temperature: float, scale: float, draw: Draw) -> Tensor:
        if scale != 1:
            noise = draw(len(z) // 2, self.channels)
            x, net, more = torch.cat([noise, noise]), self.net.forward_with_cfg, (scale,)
        else:
            x, net, more = draw(len(z), self.channels), self.net.forward, ()
        for i in reversed(range(len(self.kept))):
            t = torch.tensor([i] * len(z))
            noise, within = net(x, self.kept[t], z, *more).split(self.channels, dim=1)
            part = (within + 1) / 2
            log_variance = part * self._at("log_beta", t, x) + (1 - part) * self._at("log_variance", t, x)
            clean = self._at("recip", t, x) * x - self._at("recipm1", t, x) * noise
            mean = self._at("start", t, x) * clean + self._at("now", t, x) * x
            noisy = (t != 0).float().view(-1, 1)
            x = mean + noisy * torch.exp(0.5 * log_variance) * draw(len(z), self.channels) * temperature
        return x

    def _at(self, name: str, t: Tensor, like: Tensor) -> Tensor:
        """The numbers of these timesteps, as large as what they are for."""
        return torch.from_numpy(self.tables[name])[t].float()[:, None].expand(like.shape)


class PlainMAR(nn.Module):
    """Of the authors' arguments, as the page `mar` takes them."""

    def __init__(self, arguments: dict[str, Any]):
        super().__init__()
        width, patch = arguments["encoder_embed_dim"], arguments["patch_size"]
        self.count = (arguments["img_size"] // arguments["vae_stride"] // patch) ** 2
        self.channels, self.buffer = arguments["vae_embed_dim"] * patch**2, arguments["buffer_size"]
        self.class_emb = nn.Embedding(arguments["class_num"], width)
        self.fake_latent = nn.Parameter(torch.randn(1, width) * 0.02)
        self.z_proj, self.z_proj_ln = nn.Linear(self.channels, width), nn.LayerNorm(width, eps=1e-6)
        positions = self.buffer + self.count
        self.encoder_pos_embed_learned = nn.Parameter(torch.randn(1, positions, width) * 0.02)
        self.encoder_blocks = nn.ModuleList(
            Block(width, arguments["encoder_num_heads"]) for _ in range(arguments["encoder_depth"])
        )
        self.encoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.decoder_pos_embed_learned = nn.Parameter(torch.randn(1, positions, width) * 0.02)
        self.decoder_blocks = nn.ModuleList(
            Block(width, arguments["decoder_num_heads"]) for _ in range(arguments["decoder_depth"])
        )
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.diffusion_pos_embed_learned = nn.Parameter(torch.randn(1, self.count, width) * 0.02)
        self.diffloss = DiffLoss(
            self.channels, width, arguments["diffloss_w"], arguments["diffloss_d"],
            int(arguments["num_sampling_steps"]),
        )  # fmt: skip

    def forward_encoder(self, tokens: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        x = self.z_proj(tokens)
        b, _, width = x.shape
        x = torch.cat([torch.zeros(b, self.buffer, width), x], dim=1)
        mask = torch.cat([torch.zeros(b, self.buffer), mask], dim=1)
        x[:, : self.buffer] = condition[:, None]
        x = self.z_proj_ln(x + self.encoder_pos_embed_learned)
        x = x[(1 - mask).nonzero(as_tuple=True)].reshape(b, -1, width)
        for block in self.encoder_blocks:
            x = block(x)
        return self.encoder_norm(x)

    def forward_decoder(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.decoder_embed(x)
        mask = torch.cat([torch.zeros(len(x), self.buffer), mask], dim=1)
        whole = self.mask_token.repeat(len(mask), mask.shape[1], 1)
        whole[(1 - mask).nonzero(as_tuple=True)] = x.reshape(-1, x.shape[-1])
        x = whole + self.decoder_pos_embed_learned
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_norm(x)[:, self.buffer :] + self.diffusion_pos_embed_learned

    def draw(
        self, labels: list[int], steps: int, cfg: float, temperature: float = 1.0, orders: Tensor | None = None,
        draw: Draw = torch.randn,
    ) -> Iterator[Tensor]:  # fmt: skip
        """The tokens [b, n, c] after every step; guidance grows with the share of tokens that are known."""
        b, count = len(labels), self.count
        if orders is None:
            orders = torch.stack([torch.randperm(count) for _ in labels])
        mask, tokens = torch.ones(b, count), torch.zeros(b, count, self.channels)
        for step in range(steps):
            condition = self.class_emb(torch.tensor(labels))
            latents, masks = tokens, mask
            if cfg != 1:
                latents, masks = torch.cat([tokens, tokens]), torch.cat([mask, mask])
                condition = torch.cat([condition, self.fake_latent.repeat(b, 1)])
            z = self.forward_decoder(self.forward_encoder(latents, masks, condition), masks)
            left = np.floor(count * np.cos(math.pi / 2 * (step + 1) / steps))
            left = max(1, min(int(mask[0].sum()) - 1, int(left)))
            after = torch.zeros(b, count).scatter(-1, orders[:, :left], 1.0)
            now = mask.bool() if step >= steps - 1 else torch.logical_xor(mask.bool(), after.bool())
            mask = after
            scale = 1 + (cfg - 1) * (count - left) / count
            predicted = torch.cat([now, now]) if cfg != 1 else now
            drawn = self.diffloss.sample(z[predicted.nonzero(as_tuple=True)], temperature, scale, draw)
            tokens = tokens.clone()
            tokens[now.nonzero(as_tuple=True)] = drawn[: int(now.sum())]
            yield tokens
