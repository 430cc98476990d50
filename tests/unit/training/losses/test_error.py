"""Errors of pixels: nothing where pictures are equal, and colour counts where it is not transparent."""

import pytest
import torch

from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.dvae import DVAEConfig
from kiloword.tokenizers.logit_laplace import logit_laplace
from kiloword.tokens import Layout
from kiloword.training.losses.error import Difference, Error, difference
from kiloword.training.losses.likelihood_loss import LogitLaplace

LAYOUT = Layout(((2, 3),))


def test_the_difference_counts_colour_only_where_it_can_be_seen():
    clear = torch.full((1, 4, 2, 2), -1.0)
    white = torch.zeros(1, 4, 2, 2)  # half of it: it is seen on black only
    assert difference(clear, clear, 0.1).item() == 0
    assert difference(clear, white, 0.1).item() == pytest.approx((1 + 0.1) / 2, abs=1e-5)


def test_a_difference_is_that_of_what_the_decoder_draws():
    torch.manual_seed(0)
    decoder = CNNConfig(8, (1, 1), blocks=1, groups=(4,), z=3, channels=4).build_decoder(3)
    latent, true = torch.randn(2, 3, 2, 3), torch.rand(2, 4, 4, 6) * 2 - 1
    drawn, errors = Difference(0.3)(decoder, latent, LAYOUT, true)
    assert torch.equal(drawn, decoder(latent, LAYOUT))
    assert torch.equal(errors, difference(drawn, true, 0.3)) and errors.shape == (2,)


def test_a_likelihood_is_least_for_the_picture_that_the_decoder_expects():
    torch.manual_seed(0)
    decoder = DVAEConfig(8, blocks=1, groups=2, channels=4).build_decoder(3)
    latent = torch.randn(2, 3, 2, 3)
    drawn, _ = LogitLaplace()(decoder, latent, LAYOUT, torch.zeros(2, 4, 4, 6))
    assert torch.allclose(drawn, decoder(latent, LAYOUT))
    _, expected = LogitLaplace()(decoder, latent, LAYOUT, drawn)
    _, rolled = LogitLaplace()(decoder, latent, LAYOUT, drawn.roll(2, dims=3))
    assert (expected < rolled).all()
    mean, log_scale = decoder.distribution(latent)
    assert torch.allclose(rolled, logit_laplace(drawn.roll(2, dims=3), mean, log_scale).mean(dim=(1, 2, 3)))


def test_a_likelihood_needs_a_distribution():
    decoder = CNNConfig(8, (1, 1), blocks=1, groups=(4,), z=3, channels=4).build_decoder(3)
    with pytest.raises(ValueError, match="CNNDecoder predicts no distribution"):
        LogitLaplace()(decoder, torch.zeros(1, 3, 2, 3), LAYOUT, torch.zeros(1, 4, 4, 6))


def test_all_errors_obey_the_law_and_weights_are_not_below_zero():
    assert isinstance(Difference(), Error) and isinstance(LogitLaplace(), Error)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        Difference(-1)
