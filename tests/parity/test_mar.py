"""MAR's page: exact sizes and names, one file for the generator and one for its tokenizer, and the authors' chance.

That every recorded tensor comes out is tested with all other recordings.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kiloword import parts
from kiloword.document import to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.engine.guidance import GuidanceConfig
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.orders.masked import in_order
from kiloword.published import mar, mar_kl16
from kiloword.published.page import fill, names_of
from kiloword.tokens import Layout
from kiloword.verification.comparison import rebuild
from kiloword.verification.mar_stages import Replay, Scene, noise_of, ordered, stages
from kiloword.verification.proof import Record
from kiloword.verification.recordings import read_settings, recorded

FOLDER = Path(__file__).parent / "recordings" / "mar"
TINY = {
    **mar.PUBLISHED, "img_size": 16, "vae_stride": 2, "patch_size": 2, "vae_embed_dim": 3, "class_num": 5,
    "buffer_size": 3, "num_sampling_steps": "ddim4", "diffusion_batch_mul": 2, "diffloss_d": 1, "diffloss_w": 10,
    "encoder_embed_dim": 8, "encoder_depth": 2, "encoder_num_heads": 2, "decoder_embed_dim": 8, "decoder_depth": 1,
    "decoder_num_heads": 4,
    "vae": {**mar_kl16.KL16, "ch": 4, "ch_mult": (1, 2), "norm_groups": 2, "embed_dim": 3, "num_res_blocks": 1},
}  # fmt: skip
CHAINS = ("diff_sample", "diff_sample_t", "diff_sample_cfg", "sub_diff_sample", "sub_diff_sample_cfg")
BARE = {name: value for name, value in TINY.items() if name != "vae"}


@pytest.fixture(scope="module")
def record() -> Record:
    return rebuild(mar.PAGE, FOLDER, read_settings(FOLDER), load_file(FOLDER / "io.safetensors"))


def keys(depth: int, blocks: int) -> set[str]:
    """The weights of a published size as the authors name them."""
    whole = ["class_emb.weight", "fake_latent", "mask_token"]
    whole += [f"{part}_pos_embed_learned" for part in ("encoder", "decoder", "diffusion")]
    layers = ["z_proj", "z_proj_ln", "encoder_norm", "decoder_embed", "decoder_norm"]
    layers += [
        f"{half}_blocks.{number}.{layer}"
        for half in ("encoder", "decoder")
        for number in range(depth)
        for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    ]
    net = ["input_proj", "cond_embed", "time_embed.mlp.0", "time_embed.mlp.2", "final_layer.linear"]
    net += ["final_layer.adaLN_modulation.1"]
    net += [
        f"res_blocks.{number}.{layer}"
        for number in range(blocks)
        for layer in ("in_ln", "mlp.0", "mlp.2", "adaLN_modulation.1")
    ]
    layers += [f"diffloss.net.{layer}" for layer in net]
    return {*whole, *(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias"))}


def counted(width: int, depth: int, blocks: int, hidden: int) -> int:
    """The numbers in the weights of a published size, added up by hand."""
    d, h = width, hidden
    embeddings = 2 * (64 + 256) * d + 256 * d
    block = 4 * d + (3 * d * d + 3 * d) + (d * d + d) + (4 * d * d + 4 * d) + (4 * d * d + d)
    transformer = 1000 * d + d + (16 * d + d) + 2 * d + 2 * depth * block + 4 * d + (d * d + d) + d
    ends = (16 * h + h) + (d * h + h) + (256 * h + h) + (h * h + h) + (2 * h * h + 2 * h) + (32 * h + 32)
    return embeddings + transformer + ends + blocks * (2 * h + 2 * (h * h + h) + 3 * h * h + 3 * h)


SIZES = {"base": (768, 12, 6, 1024), "large": (1024, 16, 8, 1280), "huge": (1280, 20, 12, 1536)}


@pytest.mark.parametrize("name", mar.VARIANTS)
def test_a_published_size_has_the_authors_weights_and_as_many_numbers(name):
    variant, size = mar.VARIANTS[name], SIZES[name]
    config = mar.parts(variant.arguments)
    with torch.device("meta"):
        system = parts.build(config)
    names = [known for source in names_of(mar.PAGE, config, system).values() for known in source.names]
    assert len(set(names)) == len(names)
    generator = {known for known in names if not known.startswith("vae.")}
    with torch.device("meta"):
        tokenizer = parts.build(config.picture.tokenizer)
    inside = names_of(mar_kl16.PAGE, config.picture.tokenizer, tokenizer).values()
    assert generator == keys(size[1], size[2])
    assert set(names) - generator == {f"vae.{known}" for source in inside for known in source.names}
    alone = sum(weight.numel() for known, weight in system.named_parameters() if "tokenizer" not in known)
    assert alone == variant.parameters == counted(*size)
    assert alone + 66_456_019 == sum(weight.numel() for weight in system.parameters())


def test_the_counts_are_those_of_the_facts():
    counts = [f"{variant.parameters / 1e6:.1f}" for variant in mar.VARIANTS.values()]
    assert counts == ["207.9", "478.3", "942.4"]


def test_a_variant_is_drawn_as_its_authors_measure_it():
    cards = [mar.PAGE.card(name) for name in mar.VARIANTS]
    assert [card.guidance for card in cards] == [2.9, 3.0, 3.2]
    assert {(card.course, card.steps, card.temperature, card.prompts) for card in cards} == {
        ("known", 256, 1.0, "class")
    }
    for variant in mar.VARIANTS.values():
        first, second = variant.files
        assert (first.under, first.part, second.under, second.part) == (("model_ema",), "", ("model",), "vae")
    assert len({variant.files[0].name for variant in mar.VARIANTS.values()}) == 3
    assert len(mar.parts(mar.VARIANTS["base"].arguments).picture.head.process.kept) == 100


@torch.no_grad()
def test_both_files_make_a_whole_model_whatever_its_size():
    config = mar.parts(TINY)
    torch.manual_seed(0)
    first, second = (parts.build(config).eval() for _ in range(2))
    sources: dict[str, torch.Tensor] = {"vae.loss.logvar": torch.zeros(())}
    for name, source in names_of(mar.PAGE, config, first).items():
        value = first.state_dict()[name]
        sources |= dict(zip(source.names, value.chunk(len(source.names)), strict=True))
    assert {"vae.decoder.up.1.upsample.conv.weight", "vae.quant_conv.bias"} <= sources.keys()
    fill(mar.PAGE, config, second, sources)
    layout = second.picture.tokenizer.layout(16, 16)
    assert layout == Layout(((4, 4),)) and second.picture.tokenizer.space.dim == 12
    drawing = Drawing(layout, [second.opening(to_draw([1, None], layout))], torch.ones(1, 2), steps=3)
    one, two = (list(draw(model, drawing, Seeded([0, 1])))[-1] for model in (first, second))
    assert torch.equal(one.tokens, two.tokens)
    pixels = second.picture.tokenizer.decode(two.tokens, layout, two.known)
    assert pixels.shape == (2, 3, 16, 16) and torch.isfinite(pixels).all()
    assert parts.from_json(json.loads(json.dumps(parts.to_json(config)))) == config


def test_halves_of_unlike_width_are_refused():
    with pytest.raises(ValueError, match="encoder_embed_dim is 8, decoder_embed_dim 16"):
        mar.parts({**BARE, "decoder_embed_dim": 16})


@pytest.mark.parametrize("changes", [{}, {"patch_size": 1}, {"num_sampling_steps": "3"}, {"steps": 40}, {"cfg": 1.0}])
@torch.no_grad()
def test_every_stage_can_be_made_at_any_size(changes):
    """Patches of 2 and of 1, unlike halves, more steps than tokens, guidance that is off: finite and of the shapes."""
    arguments, steps, cfg = {**BARE, **changes}, changes.get("steps", 4), changes.get("cfg", 2.0)
    torch.manual_seed(0)
    system = mar.parts(arguments).build().eval()
    b, length = 3, len(system.picture.head.process.drawn)
    n, c = (8 // arguments["patch_size"]) ** 2, system.picture.head.space.dim
    tensors = {
        "in.latents": torch.randn(b, 3, 8, 8), "in.labels": torch.tensor([4, 0, 2]), "in.cfg": torch.tensor(cfg),
        "in.mask": (torch.rand(b, n).argsort(1) < n - 2).float(), "in.net_x": torch.randn(6, c),
        "in.net_t": torch.randint(1000, (6,)), "in.loss_t": torch.randint(1000, (2 * b * n,)),
        "in.loss_noise": torch.randn(2 * b * n * c), "in.samp_noise": torch.randn(6 * c * (length + 1)),
        "in.temperature": torch.tensor(0.9), "in.num_iter": torch.tensor(steps),
        "in.orders": torch.rand(b, n).argsort(1), "in.gen_noise": torch.randn(2 * b * n * c * (length + 1)),
        "out.sub_timestep_map": torch.tensor([0, 300, 700]),
    }  # fmt: skip
    chains = [f"out.{name}" for name in CHAINS]
    tensors |= {"out.patchified": Scene(tensors, system, arguments["patch_size"]).tokens()}
    tensors |= {name: torch.zeros(6, c) for name in chains}  # so many vectors are wanted
    made = {name: stage() for name, stage in stages(Record({"config": arguments}, tensors, system)).items()}
    assert all(torch.isfinite(value).all() for value in made.values())
    assert torch.equal(made["out.unpatchified"], tensors["in.latents"])
    assert made["out.enc_out"].shape == (b, 3 + 2, 8) and made["out.dec_z"].shape == (b, n, 8)
    assert all(made[name].shape == (6, c) for name in chains)
    for way in ("gen_nocfg", "gen_const", "gen_linear", "sub_gen_linear"):
        assert made[f"out.{way}_tokens"].shape == (b, 3, 8, 8) and made[f"out.{way}_cfg_iter"].shape == (steps,)
        masks = made[f"out.{way}_masks"]
        assert masks.shape == (steps, b, n) and masks[0].all() and (masks.diff(dim=0) <= 0).all()
        assert masks[-1].any(1).all()


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@torch.no_grad()
def test_the_slow_way_draws_what_the_engine_does(record, guidance):
    tensors, model = record.tensors, record.system
    scene, uniforms = Scene(tensors, model, 1), ordered(tensors["in.orders"])
    schedule = in_order(tensors["in.orders"], 5)
    documents = to_draw(tensors["in.labels"].tolist(), scene.layout)
    views = [model.opening(documents, null) for null in (False, True)]
    weights = GuidanceConfig("known").weights(guidance, schedule)
    drawing = Drawing(scene.layout, views, weights, Sampling(0.9), steps=5)
    visits = [int(schedule.visited(step)[0].sum()) for step in range(schedule.steps)]
    scales = weights[:, 0, 0].tolist()

    def chance() -> Replay:
        return Replay(uniforms, noise_of(tensors["in.gen_noise"], visits, scales, (2, 4), 5, views=1)[0])

    slow, fast = list(ImageModel.draw(model, drawing, chance())), list(draw(model, drawing, chance()))
    assert len(slow) == len(fast) == 5
    for one, two in zip(slow, fast, strict=True):
        assert torch.equal(one.known, two.known)
        assert torch.linalg.vector_norm(one.tokens - two.tokens) <= 1e-4 * torch.linalg.vector_norm(two.tokens)
    if guidance == 1:
        wanted = tensors["out.gen_nocfg_tokens"]
        error = torch.linalg.vector_norm(scene.latents(slow[-1].tokens) - wanted)
        assert error <= 1e-4 * torch.linalg.vector_norm(wanted)


@torch.no_grad()
def test_the_models_own_loss_is_that_of_the_stages(record):
    """Its training levels choose the tokens; where the noise is the recorded one, the recorded terms come out."""
    tensors, model = record.tensors, record.system
    scene, mask = Scene(tensors, model, 1), tensors["in.mask"]
    shape = (2, *mask.shape)
    times = ((tensors["in.loss_t"].view(shape).double() + 0.5) / 1000).transpose(0, 1)
    noise = tensors["in.loss_noise"].view(*shape, -1).transpose(0, 1)

    class FixedShare:
        """Noise that fixes the share of tokens to be predicted, with the recorded times and noise."""

        def __init__(self, share: float):
            self.share = share

        def uniform(self, shape, pictures):
            if shape == ():
                return torch.full((len(pictures),), self.share, dtype=torch.float64)
            return Seeded([1, 2]).uniform(shape, pictures) if len(shape) == 1 else times[pictures]

        def normal(self, shape, pictures):
            return noise[pictures]

    for share in (0.0, 0.5, 0.999):
        order, labels = model.picture.order, tensors["in.labels"].tolist()
        unknown = order.training_levels(order.training_schedule(scene.layout, 2, FixedShare(share)), FixedShare(share))
        loss = model.loss(to_learn(labels, scene.layout, scene.tokens()), FixedShare(share))["picture"]
        wanted = scene.loss(labels, unknown, Replay(times, [noise]))
        assert torch.allclose(loss.mean(), wanted, rtol=1e-5)
        assert torch.equal(loss.mask, unknown > 0) and (loss.values[loss.mask] > 0).all()
    assert unknown.all()


def test_noise_is_used_up_as_the_authors_do():
    flat = torch.arange(1000.0)
    plain, used = noise_of(flat, [1, 2], [1.0, 1.0], (2, 3), steps=2)
    assert used == 3 * (6 + 12) and torch.equal(torch.cat([block.flatten() for block in plain]), flat[:used])
    guided, used = noise_of(flat, [1, 2], [2.0, 2.0], (2, 3), steps=2, views=2)
    assert used == 6 + 2 * 12 + 12 + 2 * 24
    assert [block.flatten()[0].item() for block in guided] == [0, 6, 18, 30, 42, 66]
    assert [block.shape for block in guided] == [(2, 1, 3)] * 3 + [(2, 2, 3)] * 3
    off, used = noise_of(flat, [1, 2], [1.0, 2.0], (2, 3), steps=2, views=2)
    assert used == 3 * 12 + 12 + 2 * 24
    assert [block.flatten()[0].item() for block in off] == [0, 12, 24, 36, 48, 72]


def test_the_recording_of_the_tokenizer_is_none_of_the_generator():
    assert [page.name for page in recorded("mar")] == ["mar"]
    assert [page.name for page in recorded("mar_patched")] == ["mar"]
    assert [page.name for page in recorded("mar_kl16_fulltopo")] == ["mar-kl16"]
    assert recorded("sora") == []


def test_a_changed_weight_of_any_part_is_noticed(record):
    """Each part of the authors' model has a say in the recorded hidden vectors."""
    tensors = record.tensors
    labels, unknown = tensors["in.labels"].tolist(), tensors["in.mask"]
    with torch.no_grad():
        before = Scene(tensors, record.system, 1).hidden(labels, unknown)
        for name, weight in record.system.named_parameters():
            if name.startswith("picture.head.net") or name == "prompt.nothing":
                continue
            kept = weight.clone()
            weight += 0.1 * torch.randn_like(weight)
            moved = not torch.allclose(Scene(tensors, record.system, 1).hidden(labels, unknown), before, atol=1e-6)
            weight.copy_(kept)
            assert moved, name


def test_a_page_keeps_to_what_its_arguments_say():
    config = mar.parts({**BARE, "mask_ratio_min": 0.5, "mlp_ratio": 2, "num_sampling_steps": ""})
    assert config.picture.order.least == 0.5 and config.transformer.encoder.feed_forward.hidden == 16
    assert len(config.picture.head.process.kept) == 1000
    assert config.transformer.encoder.attention.heads == 2 and config.transformer.decoder.depth == 1
    plain = mar.parts({**BARE, "patch_size": 1})
    assert plain.picture.tokenizer == replace(plain.picture.tokenizer, stride=2, channels=3)
    assert plain.transformer.grid == (8, 8) and config.transformer.grid == (4, 4)
