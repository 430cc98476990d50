"""The task of a diffusion decoder: what is trained, that it resumes exactly, and that colours are learned with it."""

import json
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

import tiny
from kiloword.decoders.decoder import Effort
from kiloword.decoders.patches import Patches
from kiloword.noise import Seeded
from kiloword.tokens import Categorical, Codes
from kiloword.training.loop import Run, TrainingConfig
from kiloword.training.optimiser import AdamWConfig
from kiloword.training.tasks.denoising_task import DenoisingConfig, DenoisingTask, left_out, shifted
from kiloword.transformer import Stack

SIDE = 16  # of the pictures drawn; those of the tokenizer have half of it
SHADES = 5
PLAIN = DenoisingConfig(grouped=0, long=0, preview=0, unknown=0, suffix=0, corrupt=0, shift=0)
ALL = DenoisingConfig(grouped=0.5, preview=0.2)
KINDS = {
    "codes": (lambda: tiny.autoencoder().build(), {}),
    "vectors": (lambda: tiny.vectors().build(), {}),
    "grids": (lambda: tiny.scales().build(), {}),
    "shades": (lambda: tiny.ShadesConfig(SHADES).build(), {"patch": 4}),
    "enlarged": (lambda: tiny.ShadesConfig(SHADES).build(), {"scale": 4, "patch": 8}),
}


def flat() -> Tensor:
    """Opaque pictures of one grey each, from black to white."""
    values = torch.full((SHADES, 4, SIDE, SIDE), 255, dtype=torch.uint8)
    values[:, :3] = (torch.arange(SHADES) * 255 // (SHADES - 1)).view(-1, 1, 1, 1).to(torch.uint8)
    return values


def task(kind: str = "codes", config: DenoisingConfig = ALL) -> DenoisingTask:
    torch.manual_seed(0)
    tokenizer, changes = KINDS[kind][0](), KINDS[kind][1]
    module = tiny.decoder(space=tokenizer.space, **changes).build()
    pictures = torch.randint(256, (6, 4, SIDE, SIDE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return DenoisingTask(module, tokenizer, pictures, torch.ones(6), torch.tensor([4, 5]), config)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", [PLAIN, ALL, replace(ALL, long=0, grouped=1)], ids=["plain", "all", "groups"])
def test_the_loss_is_finite_and_learning_lowers_it(kind, config):
    one = task(kind, config)
    optimiser, losses = torch.optim.Adam(one.module.parameters(), lr=3e-3), []
    for _ in range(8):
        torch.manual_seed(5)
        loss, figures = one.loss(torch.arange(6).repeat(2))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
        assert all(torch.isfinite(value) for value in figures.values())
        assert figures.keys() == {"long", "flow", "preview"}
    assert torch.isfinite(torch.tensor(losses)).all() and losses[-1] < losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_and_none_of_the_tokenizer(kind):
    one = task(kind)
    for seed in range(4):
        tiny.awake(one.module)
        torch.manual_seed(seed)
        one.loss(torch.arange(6).repeat(4))[0].backward()
    silent = [name for name, p in one.module.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert isinstance(one.tokenizer, torch.nn.Module)
    assert not any(p.requires_grad or p.grad is not None for p in one.tokenizer.parameters())


def test_only_groups_at_work_are_taught(monkeypatch):
    one = task("shades", replace(ALL, long=0, preview=0, grouped=1, shift=0))
    given = {}
    levels = one._levels

    def noted(*counts: int):
        given["levels"] = levels(*counts)
        return given["levels"]

    def answer(x: Tensor, level: Tensor, to: Tensor, guide: Tensor) -> Tensor:
        given["answer"] = torch.full_like(x, 7.5).requires_grad_()  # wrong everywhere
        return given["answer"]

    monkeypatch.setattr(one, "_levels", noted)
    monkeypatch.setattr(one, "_heads_for", answer)
    for seed in range(10):
        torch.manual_seed(seed)
        one.loss(torch.arange(6))[0].backward()
        level = one.module.denoiser.patches.spread(given["levels"].level)
        trained = given["answer"].grad != 0
        assert torch.equal(trained, (level > 0) & (level < 1)) and trained.any() and not trained.all()


def test_long_steps_lead_where_two_halves_do():
    one = task("shades", replace(ALL, long=1, preview=0, grouped=0))
    torch.manual_seed(0)
    levels = one._levels(6, 6, 0)
    assert ((levels.level - levels.to) * 16).round().unique().numel() > 2
    assert torch.allclose(levels.level - levels.half, levels.half - levels.to)
    x, guide = torch.randn(6, 16, one.module.denoiser.patches.dim), torch.randn(6, 16, tiny.WIDTH)
    led = one._led(x, levels, guide)
    a, m, b = (one.module.denoiser.patches.spread(each) for each in (levels.level, levels.half, levels.to))

    def step(x: Tensor, level: Tensor, to: Tensor, clean: Tensor) -> Tensor:
        return x + (to - level) * (x - clean) / level

    with torch.no_grad():
        half = step(x, a, m, one._heads_for(x, levels.level, levels.half, guide))
        whole = step(half, m, b, one._heads_for(half, levels.half, levels.to, guide))
    assert torch.allclose(step(x, a, b, led), whole, atol=1e-3)


def test_long_steps_begin_late_and_their_lengths_are_told_before():
    one = task("shades", replace(ALL, long=0.5, preview=0, begin=0.5, grouped=0))
    for done in (0.4, 0.5):
        torch.manual_seed(0)
        _, figures = one.loss(one.choose(5, 6), done)
        assert (figures["long"] > 0) == (done == 0.5)
        long = 3 * (done == 0.5)
        levels = one._levels(60, long, 0, early=done < 0.5)
        ahead = (levels.level > levels.to).flatten(1).any(1)[long:].float().mean()
        assert ahead == (0 if long else pytest.approx(0.5, abs=0.25))


@pytest.mark.parametrize("wanted", [False, True])
def test_transformers_alone_are_compiled_if_asked_for(tmp_path, monkeypatch, wanted):
    compiled = []
    monkeypatch.setattr(Stack, "compile", lambda stack, dynamic: compiled.append(stack))
    one = task("shades")
    Run(one, TrainingConfig(1, compile=wanted), tmp_path, Fabric(accelerator="cpu", devices=1))
    net = one.module.denoiser
    assert compiled == ([net.guide_stack, net.stack] if wanted else [])


def test_tasks_are_those_that_painting_sets():
    one = task("shades", ALL)
    for seed in range(20):
        torch.manual_seed(seed)
        levels = one._levels(10, 3, 2)
        assert (levels.level >= levels.half).all() and (levels.half >= levels.to).all()
        assert torch.equal(levels.level[3:8], levels.to[3:8])  # single moments
        assert levels.level[8:].eq(1).all() and levels.to[8:].eq(0).all()  # previews
        assert (levels.level[:3] > levels.to[:3]).flatten(1).any(1).all()


def test_unknown_tokens_are_none_or_the_last_ones():
    one = task("shades", replace(ALL, unknown=0.3, suffix=0.3))
    torch.manual_seed(0)
    known = one._known(300)
    assert (known.int().diff(dim=1) <= 0).all()
    count = known.sum(1)
    none, some = (count == 0).float().mean(), ((count > 0) & (count < one.layout.count)).float().mean()
    assert none == pytest.approx(0.3, abs=0.1) and some == pytest.approx(0.3, abs=0.1)


def test_what_sketches_leave_out_is_measured_in_each_band():
    tokenizer, patches = tiny.ShadesConfig(SHADES).build(), Patches(4, 4)
    shades = torch.arange(SHADES).view(-1, 1, 1, 1).expand(-1, 4, SIDE, SIDE) * 51 + 5
    flat = left_out(tokenizer, patches, shades.to(torch.uint8), 2)  # a sketch has them less the 5
    assert flat == pytest.approx((4 * 5 / 127.5, 0, 0), abs=1e-5)
    columns = shades + 5 * (-1) ** torch.arange(SIDE)  # too fine to be kept at half the size
    (mean, middle, fine), apart = left_out(tokenizer, patches, columns.to(torch.uint8), 2), 5 / 127.5
    assert mean == pytest.approx(flat[0]) and middle < fine
    assert mean**2 + 3 * middle**2 + 12 * fine**2 == pytest.approx(16 * 2 * apart**2, rel=1e-3)


def test_wrong_codes_are_codes_and_vectors_stay():
    one = task("codes", replace(ALL, corrupt=1.0))
    tokens = one._tokens(one.pictures.float().div(127.5).sub(1))
    torch.manual_seed(0)
    wrong = one._corrupt(tokens)
    Codes(tiny.LEVELS).check(wrong)
    share = (wrong != tokens).any(-1).float().mean(1)
    assert share.max() > 0.1 and share.min() == 0
    other = task("vectors")
    tokens = other._tokens(other.pictures.float().div(127.5).sub(1))
    assert torch.equal(other._corrupt(tokens), tokens)


def test_shifted_pictures_move_by_whole_pixels_and_let_in_nothing():
    values = torch.zeros(40, 4, 9, 9, dtype=torch.uint8)
    values[:, :, 4, 4] = 255
    torch.manual_seed(0)
    moved = shifted(values, 3)
    lit = moved[:, 0].flatten(1).argmax(1)
    assert (moved == 255).sum() == (values == 255).sum() and torch.equal(shifted(values, 0), values)
    y, x = lit // 9, lit % 9
    assert 10 < ((y != 4) | (x != 4)).sum() < 35 and (y - 4).abs().max() == (x - 4).abs().max() == 3


def run(folder, iterations: int = 6) -> Run:
    settings = TrainingConfig(
        iterations, batch=6, optimiser=AdamWConfig(3e-3), warmup=2, save_every=2, look_every=0, log_every=1
    )
    return Run(task("codes"), settings, folder, Fabric(accelerator="cpu", devices=1))


def test_a_resumed_run_makes_the_same_steps_bit_for_bit(tmp_path):
    whole, first = run(tmp_path / "whole"), run(tmp_path / "parts")
    whole.train()
    while first.iteration < 3:
        first._step()
        first.iteration += 1
    first.save()
    second = run(tmp_path / "parts")
    assert second.iteration == 3
    second.train()
    a, b = whole.module.state_dict(), second.module.state_dict()
    assert all(torch.equal(a[name], b[name]) and torch.equal(whole.average[name], second.average[name]) for name in a)
    captions = [json.loads(line) for line in (tmp_path / "parts" / "losses.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in captions] == [4, 5, 6]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_look_gives_figures_and_a_sheet(kind, tmp_path):
    figures = task(kind).look(tmp_path, 7)
    assert set(figures) == {f"psnr_{name}" for name in ("own", "preview", "steps_1", "steps_2", "steps_4", "steps_16")}
    assert [path.name for path in tmp_path.iterdir()] == ["look-000007.png"]


@pytest.mark.parametrize(
    "effort, preview",
    [(Effort(4), True), (Effort(1), False), (Effort(2, 4, 0.5), False), (Effort(2, 4, 1, solver="heun"), False)],
)
@torch.no_grad()
def test_after_a_few_seconds_flat_pictures_have_the_right_colours(effort, preview, trained):
    module, tokenizer = trained
    layout = tokenizer.layout(SIDE // 2, SIDE // 2)
    true = flat().float() / 127.5 - 1
    tokens = tokenizer.encode(true[..., ::2, ::2], layout).shown
    known = torch.ones(SHADES, layout.count, dtype=torch.bool)
    *_, last = module.decode_steps(tokens, layout, known, effort, Seeded(range(SHADES)), torch.arange(SHADES))
    assert len(tokens.unique()) == SHADES
    for pixels in (last.pixels, module.preview(tokens, layout, known)) if preview else (last.pixels,):
        means = pixels.mean((2, 3))
        assert (means - true[..., 0, 0]).abs().max() < 0.25  # neighbours among the greys are 0.5 apart
        assert (means[:, 0].diff() > 0.3).all()


@pytest.fixture(scope="module")
def trained():
    """A tiny decoder of shades after a few seconds, and its tokenizer."""
    torch.manual_seed(0)
    tokenizer = tiny.ShadesConfig(8).build()  # so many that each grey has its own
    module = tiny.decoder(space=Categorical(8), patch=4).build()
    pictures = flat()
    settings = replace(ALL, shift=0, corrupt=0, suffix=0)
    one = DenoisingTask(module, tokenizer, pictures, torch.ones(SHADES), torch.arange(SHADES), settings)
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-2, betas=(0.9, 0.99))
    course = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=180)
    for iteration in range(180):
        torch.manual_seed(iteration)
        one.loss(one.choose(iteration, 20))[0].backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        course.step()
    return module.eval(), tokenizer


def test_what_does_not_go_together_is_refused():
    tokenizer, pictures = tiny.autoencoder().build(), torch.zeros(2, 4, SIDE, SIDE, dtype=torch.uint8)

    def refused(module, pictures, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            DenoisingTask(module, tokenizer, pictures, torch.ones(2), torch.tensor([1]))

    refused(tiny.decoder(Categorical(5)).build(), pictures, r"reads Categorical\(size=5\), the tokenizer gives Codes")
    refused(tiny.decoder().build(), pictures[..., :14, :14], r"multiples of 4 pixels, got \[4, 14, 14\]")
    config = tiny.decoder()
    wide = replace(config, denoiser=replace(config.denoiser, stride=4))
    refused(wide.build(), pictures, "tokens cover 4 pixels, the tokenizer's 2")
    for changes in (
        {"unknown": 0.7, "suffix": 0.4}, {"long": 0.9, "preview": 0.2}, {"grouped": -0.1}, {"corrupt": 2.0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="shares of a batch lie within 0 and 1"):
            DenoisingConfig(**changes)
