"""The diffusion head: guidance 1 is off, a picture is its own noise's, and all that can be learned is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.heads.ddpm import Chain, DDPMConfig, cosine, divergence, log_likelihood, spaced
from kiloword.heads.diffusion_head import DiffusionConfig, DiffusionHead
from kiloword.heads.flow import FlowConfig, logit_normal
from kiloword.heads.head import Head, Sampling
from kiloword.noise import Recorded, Seeded
from kiloword.tokens import Codes, Fed, Layout, Vector

C, Q = 3, 5
PROCESSES = {  # the noisiest timestep is left out: what an untrained network guesses there is amplified to 1e5
    "ddpm": DDPMConfig(respacing=(0, 200, 400, 600, 800)),
    "flow": FlowConfig(4),
    "logit-normal": FlowConfig(3, "logit-normal"),
}
BASE = DiffusionConfig(Vector(C), tiny.WIDTH, depth=2, hidden=12, repeat=2, positions=Q)


def head_of(process: str, **changes) -> DiffusionHead:
    """Parameters that start at zero start small instead: a step amplifies what the network says."""
    torch.manual_seed(0)
    head = replace(BASE, process=PROCESSES[process], **changes).build()
    for parameter in head.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return head


def hidden_of(views: int, b: int) -> torch.Tensor:
    return torch.randn(views, b, Q, tiny.WIDTH, generator=torch.Generator().manual_seed(1))


def memo_of(b: int) -> torch.Tensor:
    return torch.stack([torch.arange(Q).roll(row) for row in range(b)])


def drawn(head, hidden, weights, seeds, sampling=Sampling(), memo=None) -> torch.Tensor:
    b = hidden.shape[1]
    weights = torch.tensor(weights)[:, None].expand(-1, b)
    return head.sample(hidden, weights, memo_of(b) if memo is None else memo, sampling, Seeded(seeds), torch.arange(b))


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.linalg.vector_norm(a - b) <= 1e-4 * torch.linalg.vector_norm(b))


@pytest.mark.parametrize("process", PROCESSES)
def test_it_obeys_the_law(process):
    head = head_of(process)
    assert isinstance(head, Head)
    tokens = drawn(head, hidden_of(1, 2), [1.0], [1, 2])
    assert tokens.shape == (2, Q, C) and tokens.dtype == torch.float32
    head.space.check(tokens)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("noise", [None, Seeded([3, 4])], ids=["torch", "seeded"])
def test_the_loss_reaches_every_parameter(process, noise):
    head = tiny.awake(head_of(process))
    layout = Layout(((1, Q),))
    fed = Fed(torch.randn(2, Q, C), torch.ones(2, Q, dtype=torch.bool), torch.ones(2, Q), memo_of(2))
    vectors, memo = head.enter(fed, layout)
    loss = head.loss(vectors, torch.randn(2, Q, C), memo, noise)
    assert loss.shape == (2, Q) and torch.isfinite(loss).all() and (loss > 0).all()
    loss.mean().backward()
    assert [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize("process", PROCESSES)
def test_an_untrained_network_gives_zeros(process):
    head = replace(BASE, process=PROCESSES[process]).build()
    assert not head.net(torch.randn(7, C), torch.tensor(3), torch.randn(7, tiny.WIDTH)).any()
    loss = head.loss(hidden_of(1, 1)[0], torch.zeros(1, Q, C), memo_of(1), Seeded([5]))
    if process != "ddpm":  # the velocity to a token of zeros is the noise, and none of it is guessed
        again = Seeded([5])
        again.uniform((2, Q), torch.arange(1))
        wanted = again.normal((2, Q, C), torch.arange(1)).square().mean(dim=(1, 3))
        assert torch.allclose(loss, wanted)


@given(st.sampled_from(list(PROCESSES)), st.integers(1, 3))
def test_guidance_one_is_off(process, b):
    head, hidden = head_of(process), hidden_of(2, b)
    plain = drawn(head, hidden[:1], [1.0], range(b))
    assert same(drawn(head, hidden, [1.0, 0.0], range(b)), plain)
    assert not same(drawn(head, hidden, [3.0, -2.0], range(b)), plain)


@pytest.mark.parametrize("process", PROCESSES)
def test_guidance_is_a_weighted_sum_of_any_number_of_views(process):
    head, hidden = head_of(process), hidden_of(2, 2)
    twice = torch.stack([hidden[0], hidden[1], hidden[1]])
    wanted = drawn(head, hidden, [2.0, -1.0], [8, 9])
    assert same(drawn(head, twice, [2.0, -0.4, -0.6], [8, 9]), wanted)


@given(st.sampled_from(list(PROCESSES)), st.permutations(range(4)), st.integers(1, 4))
def test_the_same_noise_draws_the_same_picture_whatever_the_batch(process, order, b):
    head, hidden, memo = head_of(process), hidden_of(2, 4), memo_of(4)
    whole = drawn(head, hidden, [2.0, -1.0], range(4))
    rows = list(order[:b])
    assert same(drawn(head, hidden[:, rows], [2.0, -1.0], rows, memo=memo[rows]), whole[rows])


@pytest.mark.parametrize("process", PROCESSES)
def test_places_are_told_apart(process):
    head = head_of(process)
    hidden = hidden_of(1, 1)
    here, there = (drawn(head, hidden, [1.0], [7], memo=memo) for memo in (memo_of(1), memo_of(1).roll(1, 1)))
    assert not same(here, there)
    free = head_of(process, positions=0)
    assert free.place is None
    assert same(drawn(free, hidden, [1.0], [7]), drawn(free, hidden, [1.0], [7], memo=memo_of(1).roll(1, 1)))


def test_the_noise_is_drawn_once_and_for_every_reverse_step():
    hidden = hidden_of(1, 1)
    for process, draws in (("ddpm", 6), ("flow", 1)):
        recorded = Recorded(torch.randn(1, 9, Q, C))
        head_of(process).sample(hidden, torch.ones(1, 1), memo_of(1), Sampling(), recorded, torch.tensor([0]))
        assert recorded.drawn == draws


@pytest.mark.parametrize("process", PROCESSES)
def test_temperature_is_the_loudness_of_the_noise(process):
    head, hidden = head_of(process), hidden_of(1, 1)
    noise = torch.randn(1, 9, Q, C, generator=torch.Generator().manual_seed(4))

    def sampled(noise: torch.Tensor, temperature: float) -> torch.Tensor:
        sampling = Sampling(temperature)
        return head.sample(hidden, torch.ones(1, 1), memo_of(1), sampling, Recorded(noise), torch.tensor([0]))

    quieter = noise * 0.5
    if process == "ddpm":
        quieter[:, 0] = noise[:, 0]  # the noise to begin with is not tempered
    assert same(sampled(noise, 0.5), sampled(quieter, 1.0))
    assert not same(sampled(noise, 0.5), sampled(noise, 1.0))


def test_the_last_step_adds_no_noise():
    head, hidden, noise = head_of("ddpm"), hidden_of(1, 1), torch.randn(1, 6, Q, C)
    other = noise.clone()
    other[:, -1] += 1
    a, b = (
        head.sample(hidden, torch.ones(1, 1), memo_of(1), Sampling(), Recorded(n), torch.tensor([0]))
        for n in (noise, other)
    )
    assert torch.equal(a, b)


def test_positions_without_a_token_enter_as_zeros():
    head = tiny.awake(head_of("ddpm"))
    real = torch.tensor([[True, False, True, False, True]])
    fed = Fed(torch.randn(1, Q, C), real, torch.ones(1, Q), memo_of(1))
    vectors, memo = head.enter(fed, Layout(((1, Q),)))
    assert torch.equal(memo, fed.index)
    assert not vectors[~real].any() and torch.allclose(vectors[real], head.entrance(fed.tokens)[real])
    with pytest.raises(ValueError, match="has 6 tokens, this head has learned 5 positions"):
        head.enter(fed, Layout(((2, 3),)))


@pytest.mark.parametrize("process", PROCESSES)
def test_tables_stay_out_of_the_weights(process):
    with torch.device("meta"):
        head = replace(BASE, process=PROCESSES[process]).build()
    assert {name.split(".")[0] for name in head.state_dict()} == {"entrance", "place", "net"}
    head = head.to_empty(device="cpu")
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    with torch.inference_mode():
        assert torch.isfinite(drawn(head, hidden_of(1, 1), [1.0], [0])).all()
    head.loss(hidden_of(1, 1)[0], torch.randn(1, Q, C), memo_of(1)).sum().backward()


@pytest.mark.parametrize("process", PROCESSES)
def test_one_token_is_learned(process):
    """A head that always sees the same token soon draws it."""
    torch.manual_seed(0)
    head = replace(BASE, process=PROCESSES[process], repeat=64, hidden=32).build()
    optimiser = torch.optim.Adam(head.parameters(), 3e-3)
    target, hidden = torch.tensor([0.8, -0.5, 0.3]).expand(1, Q, C), hidden_of(1, 1)
    first = head.loss(hidden[0], target, memo_of(1)).mean().item()
    for _ in range(300):
        loss = head.loss(hidden[0], target, memo_of(1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5 * first
    assert (drawn(head, hidden, [1.0], [3]) - target).abs().mean() < 0.2


def test_respacing_keeps_the_published_timesteps():
    assert spaced(1000, "100")[:3] == (0, 10, 20) and spaced(1000, "100")[-1] == 999
    assert spaced(1000, "1000") == tuple(range(1000))
    assert spaced(1000, "ddim50") == tuple(range(0, 1000, 20))
    assert spaced(300, "10,15,20")[:2] == (0, 11) and len(spaced(300, "10,15,20")) == 45
    assert spaced(1000, "5") == (0, 250, 500, 749, 999)


@given(st.integers(2, 60), st.data())
def test_a_respaced_chain_has_the_shares_of_the_whole_one(steps, data):
    kept = tuple(sorted(data.draw(st.sets(st.integers(0, steps - 1), min_size=2))))
    whole, part = Chain(steps, tuple(range(steps))).tables, Chain(steps, kept).tables
    assert np.allclose(part["share"], whole["share"][list(kept)])
    assert np.allclose(np.cumprod(1 - part["beta"]), part["share"])
    assert np.allclose(whole["beta"], cosine(steps))
    assert np.allclose(part["clean"] ** 2 + part["noise"] ** 2, 1)


def test_a_noised_token_is_found_again_by_its_noise():
    chain = Chain(1000, tuple(range(1000)))
    clean, noise, index = torch.randn(6, C), torch.randn(6, C), torch.tensor([0, 3, 80, 300, 500, 700])
    assert torch.allclose(chain.clean(chain.noised(clean, noise, index), noise, index), clean, atol=1e-4)


def test_the_bound_is_nothing_where_nothing_is_wrong():
    mean, log_variance = torch.randn(4), torch.randn(4)
    assert not divergence(mean, log_variance, mean, log_variance).any()
    assert (divergence(mean, log_variance, mean + 1, log_variance) > 0).all()


def test_the_likelihoods_of_all_shades_sum_to_one():
    shades = torch.arange(256) * 2 / 255 - 1
    for mean, log_variance in ((0.1, -4.0), (-0.98, -2.0), (0.5, 1.0)):
        total = log_likelihood(shades, torch.tensor(mean), torch.tensor(log_variance)).exp().sum().item()
        assert total == pytest.approx(1, abs=2e-3)


def test_logit_normal_levels_crowd_in_the_middle():
    levels = logit_normal(torch.linspace(0, 1, 10001))
    assert (levels.diff() >= 0).all() and levels[5000].item() == pytest.approx(0.5)
    assert ((levels > 0.25) & (levels < 0.75)).float().mean().item() == pytest.approx(0.728, abs=0.01)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: DDPMConfig(respacing="many"), "'many'"),
        (lambda: DDPMConfig(respacing="ddim300"), "no whole stride keeps 300 of 1000"),
        (lambda: DDPMConfig(steps=10, respacing="11"), "11 of 10"),
        (lambda: DDPMConfig(respacing=(5, 5)), "keeps 2"),
        (lambda: DDPMConfig(respacing=(5, 1000)), "from 0 to 999"),
        (lambda: DDPMConfig(respacing="1"), "keeps 1"),
        (lambda: DDPMConfig(steps=1), "got 1"),
        (lambda: FlowConfig(0), "got 0"),
        (lambda: replace(BASE, depth=0), "got 16, 0, 12, 2 and 5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_space_that_is_no_vector_is_refused():
    with pytest.raises((ValueError, TypeError), match="Codes"):  # the check of types speaks first
        DiffusionConfig(Codes((4, 4)), 8, 1, 8)
