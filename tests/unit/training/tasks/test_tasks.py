"""Tasks: tokenizers and models learn from tiny data, by chances that torch's seed decides, and judge themselves."""

from dataclasses import replace
from functools import partial

import pytest
import torch

import tiny
from kiloword import parts
from kiloword.model import ImageModel
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.gumbel import GumbelConfig
from kiloword.tokenizers.quantizer import QuantizerConfig
from kiloword.tokens import Vector
from kiloword.training.annealing import Annealing
from kiloword.training.tasks.image_model_task import (
    Captions,
    ImageModelTask,
    ImageModelTaskConfig,
)
from kiloword.training.tasks.tokenizer_task import LossWeights, ReconstructionConfig, TokenizerTask
from kiloword.training.token_versions import versions

SIDE = 8
LOSSES = ("commitment_loss", "codebook_loss", "entropy_loss", "kl_loss")
NAMES = ["a red apple", "a pear", "blue house", "green house", "red pear", "a blue apple"]


def pictures() -> torch.Tensor:
    """Six pictures of one colour each on a clear border."""
    values = torch.zeros(6, 4, 2 * SIDE, 2 * SIDE, dtype=torch.uint8)
    values[:, 3, 3:-3, 3:-3] = 255
    values[:, :3, 3:-3, 3:-3] = torch.arange(6 * 3).mul(14).to(torch.uint8).view(6, 3, 1, 1)
    return values


def versions_and_shown(model: ImageModel, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [count, 6, t, ...] of the pictures, and what is shown of them."""
    target, shown = versions(model.picture.tokenizer, pictures(), SIDE, count)
    return target.transpose(0, 1), shown.transpose(0, 1)


def tokenizer_task(quantizer: QuantizerConfig = FSQConfig(tiny.LEVELS, groups=2), **changes) -> TokenizerTask:
    """The task of a tokenizer with that quantizer, by default one with two groups of codes."""
    torch.manual_seed(0)
    module = AutoencoderConfig(tiny.vit(), tiny.vit(), quantizer).build()
    config = ReconstructionConfig(side=SIDE, draft=0.5, **changes)
    return TokenizerTask(module, pictures(), torch.ones(6), torch.tensor([4, 5]), config)


def image_model_task(**changes) -> ImageModelTask:
    torch.manual_seed(0)
    model = tiny.model("single", "rows", "factorised")
    model.picture.head = tiny.HEADS["factorised"].__class__(model.picture.head.space, tiny.WIDTH, positions=16).build()
    layout = model.picture.tokenizer.layout(SIDE, SIDE)
    captions = Captions(prompt=lambda i, chance: chance.choice([NAMES[i], "apple"]), caption=lambda i: NAMES[i])
    tokens = versions_and_shown(model, count=3)[0]
    assert tokens.shape == (3, 6, 16, 2) and tokens.dtype == torch.uint8
    config = ImageModelTaskConfig(**changes)
    return ImageModelTask(model, layout, tokens, captions, torch.ones(6), torch.tensor([4, 5]), config)


def regression_task() -> ImageModelTask:
    """Features are worked out and glanced at through a decoder that knows nothing yet."""
    torch.manual_seed(0)
    picture = parts.ModalityConfig(
        parts.DirectionsConfig(tiny.books()), parts.RasterConfig(), parts.RegressionConfig(Vector(6), tiny.WIDTH)
    )
    prompt = parts.TextPrefixConfig(tiny.words(), tiny.WIDTH)
    config = parts.ImageModelConfig(picture, prompt, tiny.stack(), decoder=tiny.decoder(Vector(6)))
    model = parts.build(config)
    captions = Captions(prompt=lambda i, chance: chance.choice([NAMES[i], "apple"]), caption=lambda i: NAMES[i])
    tokens = versions_and_shown(model, count=3)[0]
    assert tokens.shape == (3, 6, 16, 6) and tokens.dtype == torch.float16
    layout = model.picture.tokenizer.layout(SIDE, SIDE)
    config = ImageModelTaskConfig(null=0.5)
    return ImageModelTask(model, layout, tokens, captions, torch.ones(6), torch.tensor([4, 5]), config)


TASKS = {
    "tokenizer": tokenizer_task,
    **{name: partial(tokenizer_task, quantizer) for name, quantizer in tiny.QUANTIZERS.items() if name != "palette"},
    "model": lambda: image_model_task(describe=0.5, null=0.5),
    "only drawing": lambda: image_model_task(describe=0.0),
    "only describing": lambda: image_model_task(describe=1.0),
    "worked out": regression_task,
}


@pytest.mark.parametrize("name", TASKS)
def test_a_seed_decides_the_loss_and_learning_lowers_it(name):
    task = TASKS[name]()
    learned = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
    optimiser, losses = torch.optim.Adam(learned, lr=3e-3), []
    for _ in range(12):
        torch.manual_seed(5)
        loss, figures = task.loss(torch.arange(6))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
        assert all(torch.isfinite(value).all() for value in figures.values())
    assert losses[-1] < losses[0]
    task.module.eval()  # running means of codes stand still
    torch.manual_seed(6)
    first = task.loss(torch.arange(6))[0]
    torch.manual_seed(6)
    assert torch.equal(task.loss(torch.arange(6))[0], first)


def test_an_order_hears_how_far_its_training_is(monkeypatch):
    task, shares = image_model_task(), []
    order = type(task.module.picture.order)
    schedule = order.training_schedule
    monkeypatch.setattr(
        order, "training_schedule",
        lambda self, layout, batch, noise, done=1.0: shares.append(done) or schedule(self, layout, batch, noise, done),
    )  # fmt: skip
    task.loss(torch.arange(6), 0.25)
    assert shares == [0.25]


@pytest.mark.parametrize("name", TASKS)
@torch.no_grad()
def test_a_look_gives_figures_and_a_sheet(name, tmp_path):
    figures = TASKS[name]().look(tmp_path, 7)
    assert figures and all(isinstance(value, float) for value in figures.values())
    assert [path.name for path in tmp_path.iterdir()] == ["look-000007.png"]


def test_a_lesson_chooses_rows_by_the_number_of_the_iteration():
    task = tokenizer_task()
    assert torch.equal(task.choose(3, 4), task.choose(3, 4))


def test_the_model_does_not_teach_its_tokenizer():
    task = image_model_task()
    frozen = {name.split(".")[1] for name, p in task.module.named_parameters() if not p.requires_grad}
    assert frozen == {"tokenizer"}


def test_versions_begin_with_the_picture_as_it_is():
    model = tiny.model("single", "rows", "factorised")
    tokens = versions_and_shown(model, count=2)[0]
    small = torch.nn.functional.avg_pool2d(pictures().float() / 127.5 - 1, 2)
    layout = model.picture.tokenizer.layout(SIDE, SIDE)
    assert torch.equal(tokens[0].long(), model.picture.tokenizer.encode(small, layout).target)
    assert not torch.equal(tokens[0], tokens[1])


@pytest.mark.parametrize("name", ["fsq", "residual", "kl"])
def test_named_losses_count_as_their_weights_say(name):
    def loss(**weights: float) -> tuple[float, dict]:
        chosen = LossWeights(**{**dict.fromkeys(LOSSES, 0.0), **weights})
        task = tokenizer_task(tiny.QUANTIZERS[name], weights=chosen)
        torch.manual_seed(1)
        total, figures = task.loss(torch.arange(6))
        return float(total.detach()), figures

    plain, figures = loss()
    named = [loss_name for loss_name in LOSSES if loss_name in figures]
    assert named == {"fsq": [], "residual": ["commitment_loss", "codebook_loss"], "kl": ["kl_loss"]}[name]
    for loss_name in named:
        assert loss(**{loss_name: 2.0})[0] == pytest.approx(plain + 2 * float(figures[loss_name]), rel=1e-5)


def test_a_loss_without_a_weight_is_refused():
    with pytest.raises(ValueError, match="without a weight: contrastive_loss"):
        LossWeights().total({"contrastive_loss": torch.ones(())})


def test_unfinished_pictures_are_those_of_one_grid():
    for name, quantizer in tiny.QUANTIZERS.items():
        task = tokenizer_task(quantizer, masked=1.0)
        layout = task.module.layout(SIDE, SIDE)
        _, known = task._chances(200, layout)
        assert known.all() == (task.module.multiscale is not None), name


def test_a_temperature_falls_with_the_iterations():
    task = tokenizer_task(GumbelConfig(8, 4), temperature=Annealing(1.0, 0.1, share=0.5))
    temperatures = []
    for done in (0, 0.2, 0.5, 0.9):
        task.loss(torch.arange(2), done)
        temperatures.append(task.module.quantizer.temperature)
    assert temperatures[0] == 1.0 > temperatures[1] > temperatures[2] == temperatures[3] == 0.1
    with pytest.raises(ValueError, match="FSQ has no temperature"):
        tokenizer_task(temperature=Annealing())


def test_the_use_of_codes_is_logged_where_there_are_codes(tmp_path):
    _, figures = tokenizer_task(tiny.QUANTIZERS["vq"]).loss(torch.arange(6))
    assert 0 < figures["usage"] <= 1 <= figures["perplexity"] <= 16
    with torch.no_grad():
        assert 0 < tokenizer_task(tiny.QUANTIZERS["vq"]).look(tmp_path, 1)["held_out_usage"] <= 1
        assert set(tokenizer_task(tiny.QUANTIZERS["kl"]).look(tmp_path, 2)) == {"psnr"}


@torch.no_grad()
def test_bits_that_are_shown_flip_in_the_variants_and_those_to_be_predicted_make_up_for_it():
    model = tiny.way("bits by scale")
    target, shown = versions_and_shown(model, count=2)
    assert torch.equal(target[0], shown[0]) and not torch.equal(target[1], shown[1])
    tokenizer = model.picture.tokenizer
    tokenizer.quantizer.config = replace(tokenizer.quantizer.config, flip=0.0)
    clean, same = versions_and_shown(model, count=2)
    layout = tokenizer.layout(SIDE, SIDE)
    assert torch.equal(clean, same) and torch.equal(clean[0], target[0])
    first = layout.part(0)
    assert torch.equal(clean[1, :, first], target[1, :, first])  # the first grid has nothing to make up for
    assert not torch.equal(clean[1], target[1])
    captions = Captions(prompt=lambda i, chance: 0, caption=lambda i: 1)
    task = ImageModelTask(model, layout, target, captions, torch.ones(6), torch.tensor([4, 5]), shown=shown)
    torch.manual_seed(0)
    one, two = task._pick_versions(torch.arange(6))
    for index in range(6):  # both of the same version
        same = [torch.equal(one[index], target[version, index].long()) for version in range(2)]
        assert torch.equal(two[index], shown[same.index(True), index].long())
    assert not torch.equal(one, two)
    assert torch.isfinite(task.loss(torch.arange(6))[0])


def test_what_was_learned_is_less_hard():
    task = image_model_task(describe=0.0, null=0.0, clean=1.0, corrupt=0.0)
    task.weights[5] = 0
    first = task.hardness()
    assert torch.equal(first, task.hardness()) and first[5] == 0 and (first[:5] > 0).all()
    learned = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learned, lr=3e-3)
    for _ in range(20):
        task.loss(torch.zeros(6, dtype=torch.long))[0].backward()
        optimiser.step()
        optimiser.zero_grad()
    second = task.hardness()
    assert second[0] < first[0] / 2 and second[0] == second[:5].min()
