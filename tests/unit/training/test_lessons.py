"""Lessons: tokenizers and models learn from tiny data, by chances that torch's seed decides, and judge themselves."""

import pytest
import torch

import tiny
from kiloword.training.model_lesson import BothWaysConfig, Lines, ModelLesson, versions
from kiloword.training.tokenizer_lesson import ReconstructionConfig, TokenizerLesson, difference

SIDE = 8
NAMES = ["a red apple", "a pear", "blue house", "green house", "red pear", "a blue apple"]


def pictures() -> torch.Tensor:
    """Six pictures of one colour each on a clear border."""
    values = torch.zeros(6, 4, 2 * SIDE, 2 * SIDE, dtype=torch.uint8)
    values[:, 3, 3:-3, 3:-3] = 255
    values[:, :3, 3:-3, 3:-3] = torch.arange(6 * 3).mul(14).to(torch.uint8).view(6, 3, 1, 1)
    return values


def tokenizer_lesson() -> TokenizerLesson:
    torch.manual_seed(0)
    config = ReconstructionConfig(side=SIDE, draft=0.5)
    held_out = torch.tensor([4, 5])
    return TokenizerLesson(tiny.autoencoder(groups=2).build(), pictures(), torch.ones(6), held_out, config)


def model_lesson(**changes) -> ModelLesson:
    torch.manual_seed(0)
    model = tiny.model("single", "rows", "factorised")
    model.picture.head = tiny.HEADS["factorised"].__class__(model.picture.head.space, tiny.WIDTH, places=16).build()
    layout = model.picture.tokenizer.layout(SIDE, SIDE)
    lines = Lines(ask=lambda row, chance: chance.choice([NAMES[row], "apple"]), answer=lambda row: NAMES[row])
    tokens = versions(model, pictures(), SIDE, count=3)
    assert tokens.shape == (3, 6, 16, 2) and tokens.dtype == torch.uint8
    return ModelLesson(model, layout, tokens, lines, torch.ones(6), torch.tensor([4, 5]), BothWaysConfig(**changes))


LESSONS = {
    "tokenizer": tokenizer_lesson,
    "model": lambda: model_lesson(describe=0.5, null=0.5),
    "only drawing": lambda: model_lesson(describe=0.0),
}


@pytest.mark.parametrize("name", LESSONS)
def test_a_seed_decides_the_loss_and_learning_lowers_it(name):
    lesson = LESSONS[name]()
    learned = [parameter for parameter in lesson.module.parameters() if parameter.requires_grad]
    optimiser, losses = torch.optim.Adam(learned, lr=3e-3), []
    for _ in range(12):
        torch.manual_seed(5)
        loss, figures = lesson.loss(torch.arange(6))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
        assert all(torch.isfinite(value).all() for value in figures.values())
    assert losses[-1] < losses[0]
    torch.manual_seed(6)
    first = lesson.loss(torch.arange(6))[0]
    torch.manual_seed(6)
    assert torch.equal(lesson.loss(torch.arange(6))[0], first)


@pytest.mark.parametrize("name", LESSONS)
@torch.no_grad()
def test_a_look_gives_figures_and_a_sheet(name, tmp_path):
    figures = LESSONS[name]().look(tmp_path, 7)
    assert figures and all(isinstance(value, float) for value in figures.values())
    assert [path.name for path in tmp_path.iterdir()] == ["look-000007.png"]


def test_a_lesson_chooses_rows_by_the_number_of_the_iteration():
    lesson = tokenizer_lesson()
    assert torch.equal(lesson.choose(3, 4), lesson.choose(3, 4))


def test_the_model_does_not_teach_its_tokenizer():
    lesson = model_lesson()
    frozen = {name.split(".")[1] for name, p in lesson.module.named_parameters() if not p.requires_grad}
    assert frozen == {"tokenizer"}


def test_versions_begin_with_the_picture_as_it_is():
    model = tiny.model("single", "rows", "factorised")
    tokens = versions(model, pictures(), SIDE, count=2)
    small = torch.nn.functional.avg_pool2d(pictures().float() / 127.5 - 1, 2)
    layout = model.picture.tokenizer.layout(SIDE, SIDE)
    assert torch.equal(tokens[0].long(), model.picture.tokenizer.encode(small, layout).target)
    assert not torch.equal(tokens[0], tokens[1])


def test_the_difference_counts_colour_only_where_it_can_be_seen():
    clear = torch.full((1, 4, 2, 2), -1.0)
    white = torch.zeros(1, 4, 2, 2)  # half of it: it is seen on black only
    assert difference(clear, clear, 0.1).item() == 0
    assert difference(clear, white, 0.1).item() == pytest.approx((1 + 0.1) / 2, abs=1e-5)
