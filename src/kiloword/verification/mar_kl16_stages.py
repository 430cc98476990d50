"""Recorded stages of MAR's KL-16, recomputed here: means, recorded noise, and the pictures of latents.

Li et al. 2024 (Autoregressive Image Generation without Vector Quantization), after Rombach et al. 2022 (latent
diffusion); github.com/LTH14/mar.
"""

from einops import rearrange
from torch import Tensor

from kiloword.noise import Recorded
from kiloword.verification.proof import Proof, Record, Stages


def stages(record: Record) -> Stages:
    """Encoding with the means and with recorded noise, decoding, and the pictures of random latents."""
    tensors, system = record.tensors, record.system
    pixels = tensors["in.image_u8"] / 127.5 - 1
    layout = system.layout(*pixels.shape[2:])
    encoder, decoder, quantizer = system.encoder, system.decoder, system.quantizer

    def posterior():
        return quantizer.posterior(encoder(pixels, layout))

    def drawn():
        return system.encode(pixels, layout, Recorded(tensors["in.eps"][:, None]))

    def scaled() -> Tensor:
        return rearrange(drawn().target, "b (h w) c -> b c h w", h=layout.sizes[-1][0])

    return {
        "out.enc": lambda: encoder.trunk(pixels),
        "out.moments": lambda: encoder(pixels, layout),
        "out.mean": lambda: posterior().mean,
        "out.logvar": lambda: posterior().log_variance,
        "out.std": lambda: posterior().deviation,
        "out.kl": lambda: posterior().divergence.sum(dim=(1, 2, 3)),
        "out.sample": lambda: drawn().latent,
        "out.latent_scaled": scaled,
        "out.recon_mean": lambda: decoder(system.encode(pixels, layout).latent, layout),
        "out.recon_from_scaled": lambda: decoder(quantizer.lookup(drawn().target, layout), layout),
        "out.rand_dec": lambda: decoder(tensors["in.rand_z"], layout),
    }


PROOF = Proof(stages)
