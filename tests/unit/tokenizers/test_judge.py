"""A trained judge chooses the drawing that fits the text best."""

from functools import partial

import pytest
import torch

import tiny
from kiloword.engine.card import Card
from kiloword.engine.drive import draw
from kiloword.engine.painter import Painter
from kiloword.engine.rerank import candidate_seed, draw_best, reencoded
from kiloword.noise import Seeded
from kiloword.tokenizers.judge import ContrastiveJudge, JudgeConfig
from kiloword.tokens import Categorical, Codes
from kiloword.training.tasks.contrastive_task import ContrastiveTask
from kiloword.training.tasks.image_model_task import Captions

NAMES = ["a red apple", "a pear", "blue house", "a green house"]


def judge(space=None, seed: int = 0) -> ContrastiveJudge:
    torch.manual_seed(seed)
    space = space or Categorical(5)
    return JudgeConfig(
        tiny.words(), tiny.stack(depth=1), space, tiny.stack(depth=1), positions=10, limit=8, dim=8
    ).build()


def task(space=None) -> ContrastiveTask:
    """Pictures of one code each, and the name of each."""
    factors = 2 if isinstance(space, Codes) else None
    tokens = torch.arange(4).view(1, 4, 1).expand(1, 4, 8)
    tokens = tokens if factors is None else torch.stack([tokens // 2, tokens % 2], dim=-1)
    captions = Captions(prompt=lambda index, chance: NAMES[index], caption=lambda index: NAMES[index])
    return ContrastiveTask(judge(space), tokens.to(torch.uint8), captions, torch.ones(4), torch.arange(4))


@pytest.mark.parametrize("space", [Categorical(5), Codes((3, 2))], ids=str)
def test_it_finds_the_text_of_each_picture(space, tmp_path):
    trained = task(space)
    optimiser = torch.optim.Adam(trained.module.parameters(), lr=1e-2)
    for _ in range(60):
        loss, _ = trained.loss(trained.choose(0, 4).sort().values)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert all(p.grad is None or torch.isfinite(p).all() for p in trained.module.parameters())
    with torch.no_grad():
        metrics = trained.look(tmp_path, 0)
        assert metrics["held_out_found"] == 1 and metrics["held_out_loss"] < 0.5
        layout = tiny.layout_of(tiny.model("shades", "rows", "categorical"))
        tokens = trained.tokens[0].long()
        right = trained.module(tokens, layout, [[name] for name in NAMES])
        wrong = trained.module(tokens, layout, [[name] for name in [*NAMES[1:], NAMES[0]]])
        assert (right > wrong).all()
        either = trained.module(tokens, layout, [[name, "blue house"] for name in NAMES])
        assert (either >= right).all()


@torch.no_grad()
def test_vectors_have_length_one_and_do_not_depend_on_the_batch():
    one, texts = judge(), ["a pear", "a green pear on a blue house", ""]
    together = one.text_vectors(texts)
    assert torch.allclose(together.norm(dim=1), torch.ones(3), atol=1e-5)
    for i, text in enumerate(texts):
        assert torch.allclose(one.text_vectors([text])[0], together[i], atol=1e-5)
    with pytest.raises(ValueError, match="has 11 tokens, this judge has learned 10"):
        one.picture_vectors(torch.zeros(1, 11, dtype=torch.long))


@torch.no_grad()
def test_the_best_of_several_is_the_judges_choice():
    model, prompts = tiny.model("shades", "rows", "categorical"), ["a pear", "blue house"]
    chosen_by, drawing = judge(seed=3), tiny.drawing(model, ["a pear", "blue house"])
    *_, (kept, seeds) = draw_best(model, drawing, [5, 9], [[prompt] for prompt in prompts], 4, chosen_by)
    for i, prompt in enumerate(prompts):
        tried = [candidate_seed([5, 9][i], k) for k in range(4)]
        ways = [list(draw(model, tiny.drawing(model, [prompt]), Seeded([s])))[-1] for s in tried]
        scores = [float(chosen_by(reencoded(model, way, drawing.layout), drawing.layout, [[prompt]])) for way in ways]
        assert scores[tried.index(seeds[i])] > max(scores) - 1e-3
        assert torch.equal(ways[tried.index(seeds[i])].tokens[0], kept.tokens[i])


def test_a_model_without_words_can_be_judged():
    model = tiny.model("shades", "rows", "categorical")
    model.text = None
    painter = partial(Painter, model, Card("tiny", ((tiny.ROWS, tiny.COLUMNS),)))
    with pytest.raises(ValueError, match="only draws: it cannot judge 3 candidates"):
        painter().generate("a pear", candidates=3, seed=1)
    assert len(painter(judge=judge()).generate("a pear", candidates=3, seed=1)) == 1
