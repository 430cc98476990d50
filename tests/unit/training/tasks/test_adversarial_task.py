"""A tokenizer and its critic in one step: each learns its own, and nothing before the critic joins."""

import pytest
import torch

import tiny
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.training.losses.adversarial import AdversarialConfig
from kiloword.training.tasks.adversarial_task import AdversarialTask
from kiloword.training.tasks.tokenizer_task import ReconstructionConfig, TokenizerTask

SIDE = 16
CRITIC = AdversarialConfig(weight=0.8, start=0.5, width=4, layers=1)


def inner(module=None) -> TokenizerTask:
    torch.manual_seed(0)
    values = torch.randint(256, (6, 4, 2 * SIDE, 2 * SIDE), dtype=torch.uint8)
    module = module or tiny.autoencoder().build()
    config = ReconstructionConfig(SIDE, draft=0, nested=0, masked=0)
    return TokenizerTask(module, values, torch.ones(6), torch.tensor([4, 5]), config)


def gradients(task: AdversarialTask) -> dict[str, float]:
    """The largest gradient in each of the two."""
    found = {}
    for name, part in task.module.items():
        pushed = [parameter.grad.abs().max() for parameter in part.parameters() if parameter.grad is not None]
        found[name] = float(torch.stack(pushed).max()) if pushed else 0.0
    return found


def test_before_the_critic_joins_it_is_the_plain_lesson():
    task, plain = AdversarialTask(inner(), CRITIC), inner()
    assert torch.equal(task.choose(2, 4), plain.choose(2, 4))
    losses = []
    for one in (task, plain):
        torch.manual_seed(1)
        losses.append(one.loss(torch.arange(4), 0.4)[0])
    assert torch.equal(*losses)
    losses[0].backward()
    assert gradients(task)["critic"] == 0 < gradients(task)["tokenizer"]


def test_both_learn_once_it_has_joined():
    task = AdversarialTask(inner(), CRITIC)
    indices = task.choose(3, 4)
    optimiser, said = torch.optim.Adam(task.module.parameters(), lr=1e-3), []
    for _ in range(15):
        torch.manual_seed(1)
        loss, figures = task.loss(indices, 0.5)
        loss.backward()
        assert min(gradients(task).values()) > 0
        optimiser.step()
        optimiser.zero_grad()
        said.append({name: float(value) for name, value in figures.items()})
    assert {"critic", "unmasked", "adaptive_weight", "whole"} <= said[0].keys()
    assert said[-1]["critic"] < said[0]["critic"] and said[-1]["whole"] < said[0]["whole"]


def test_the_tokenizer_alone_decides_the_look(tmp_path):
    task = AdversarialTask(inner(), CRITIC)
    assert task.look(tmp_path, 1) == inner().look(tmp_path, 2)


def test_a_decoder_without_weights_cannot_be_pushed():
    network = PixelwiseConfig(2, 4)
    module = AutoencoderConfig(network, network, tiny.PaletteConfig(4, 4)).build()
    task = AdversarialTask(inner(module), CRITIC)
    module.register_parameter("nothing", torch.nn.Parameter(torch.zeros(())))
    with pytest.raises(ValueError, match="Enlarge has no last layer"):
        task.loss(torch.arange(4))
