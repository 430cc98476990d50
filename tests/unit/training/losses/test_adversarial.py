"""The critic: what it has to lose, what it may change, and how strongly it pushes."""

import pytest
import torch
from torch import nn

from kiloword.training.losses.adversarial import AdversarialConfig, adaptive_weight, hinge


def test_the_hinge_asks_no_more_than_a_margin():
    high, low = torch.full((2, 1, 3, 3), 1.0), torch.full((2, 1, 3, 3), -1.0)
    assert hinge(high, low).item() == 0 and hinge(5 * high, 5 * low).item() == 0
    assert hinge(low, high).item() == 2
    assert hinge(0 * high, 0 * low).item() == 1


def test_a_critic_judges_patches():
    critic = AdversarialConfig(1.0, width=4).build(4)
    assert critic(torch.zeros(2, 4, 64, 64)).shape == (2, 1, 6, 6)
    assert AdversarialConfig(1.0, width=4, layers=1).build(3)(torch.zeros(1, 3, 16, 24)).shape == (1, 1, 6, 10)


def test_a_still_critic_passes_gradients_to_pixels_only():
    torch.manual_seed(0)
    critic = AdversarialConfig(1.0, width=4, layers=2).build(4).eval()
    pixels = torch.rand(2, 4, 16, 16, requires_grad=True)
    assert torch.equal(critic.still(pixels), critic(pixels))
    critic.still(pixels).sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_the_adaptive_weight_makes_both_push_alike():
    layer = nn.Linear(3, 2)
    x = torch.ones(4, 3)
    error, unmasked = layer(x).square().sum(), 0.01 * layer(x).sum()
    share = adaptive_weight(error, unmasked, layer.weight)
    by_error, by_critic = (
        torch.autograd.grad(loss, layer.weight, retain_graph=True)[0].norm() for loss in (error, share * unmasked)
    )
    assert by_critic.item() == pytest.approx(by_error.item(), rel=0.01)
    assert adaptive_weight(1e9 * error, unmasked, layer.weight).item() == 1e4


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        AdversarialConfig(weight=-1.0)
    with pytest.raises(ValueError, match="at least 1"):
        AdversarialConfig(layers=0)
