"""The diffusion head, given MAR's recorded weights, gives what the authors' DiffLoss gave (commit fe470ac2)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kiloword.heads.ddpm import DDPMConfig
from kiloword.heads.denoising_mlp import waves
from kiloword.heads.diffusion import DiffusionConfig, DiffusionHead
from kiloword.heads.head import Sampling, weigh
from kiloword.noise import Recorded
from kiloword.tokens import Vector

ALL = Path(__file__).parents[3] / "shared" / "fixtures"
FOLDERS = [folder for folder in sorted(ALL.glob("mar*/")) if "diffloss_w" in (folder / "config.json").read_text()]
LIMIT = 1e-4

NAMES = {
    "input": "input_proj", "condition": "cond_embed", "time": "time_embed.mlp", "blocks": "res_blocks",
    "final": "final_layer", "norm": "in_ln", "modulation": "adaLN_modulation.1",
}  # fmt: skip


def theirs(name: str) -> str:
    """Where a weight of our head comes from; their places have one axis more, of length 1, before ours."""
    if name.startswith("net."):
        return ".".join(["diffloss", *(NAMES.get(part, part) for part in name.split("."))])
    return name.replace("entrance.", "z_proj.").replace("place.weight", "diffusion_pos_embed_learned")


if not FOLDERS:
    pytest.skip("the recordings are not there", allow_module_level=True)


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name, scope="module")
def recording(request):
    arguments = json.loads((request.param / "config.json").read_text())["config"]
    return arguments, load_file(request.param / "weights.safetensors"), load_file(request.param / "io.safetensors")


def head_of(recording, respacing=None, places: bool = False) -> DiffusionHead:
    """With `places` those are added to the hidden vectors; the recorded ones have them in already."""
    arguments, weights, tensors = recording
    config = DiffusionConfig(
        Vector(arguments["vae_embed_dim"] * arguments["patch_size"] ** 2),
        width=arguments["decoder_embed_dim"],
        depth=arguments["diffloss_d"],
        hidden=arguments["diffloss_w"],
        process=DDPMConfig(respacing=respacing or arguments["num_sampling_steps"]),
        repeat=arguments["diffusion_batch_mul"],
        places=tensors["out.dec_z"].shape[1] if places else 0,
    )
    head = config.build()
    head.load_state_dict({n: weights[theirs(n)].view(p.shape) for n, p in head.state_dict().items()})
    return head


def agree(ours: torch.Tensor, theirs: torch.Tensor, name: str) -> None:
    assert ours.shape == theirs.shape
    error = (torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs)).item()
    print(f"{name} {error:.2e}")
    assert error <= LIMIT


def test_every_weight_of_theirs_is_asked_for(recording):
    _, weights, _ = recording
    asked = {theirs(name) for name in head_of(recording, places=True).state_dict()}
    assert asked <= weights.keys()
    assert asked >= {name for name in weights if name.startswith("diffloss.")}


@torch.no_grad()
def test_the_schedules(recording):
    arguments, _, tensors = recording
    process = head_of(recording).process
    agree(torch.from_numpy(process.learned.tables["share"]), tensors["out.train_alphas_cumprod"], "alphas_cumprod")
    agree(torch.from_numpy(process.drawn.tables["beta"]), tensors["out.gen_betas"], "gen_betas")
    kept = tensors["out.gen_timestep_map"].tolist()
    assert list(DDPMConfig(respacing=arguments["num_sampling_steps"]).kept) == kept


@torch.no_grad()
def test_the_network(recording):
    _, _, tensors = recording
    head, x, time = head_of(recording), tensors["in.net_x"], tensors["in.net_t"]
    hidden = first(tensors)
    agree(head.net.time(waves(time)), tensors["out.t_emb"], "t_emb")
    agree(head.net(x, time, hidden), tensors["out.net_out"], "net_out")


@torch.no_grad()
def test_the_guided_network(recording):
    """Both views on the first half's x; the variances, which stay each view's own, are compared before they go."""
    _, _, tensors = recording
    head, half = head_of(recording), len(tensors["in.net_x"]) // 2
    c, scale = head.space.dim, tensors["in.cfg"].item()
    outputs = head.net(tensors["in.net_x"][:half], tensors["in.net_t"].view(2, half), guided(tensors, half))
    noise = weigh(outputs[:, None, :, :c], torch.tensor([[scale], [1 - scale]]))
    ours = torch.cat([noise.expand(2, -1, -1), outputs[..., c:]], dim=-1)
    agree(ours.flatten(0, 1), tensors["out.net_out_cfg"], "net_out_cfg")


class Told:
    """The recorded times, as the uniforms that select them, and the recorded noise: both [repeat, b, q]."""

    def __init__(self, time: torch.Tensor, noise: torch.Tensor):
        self.time, self.noise = time.transpose(0, 1), noise.transpose(0, 1)

    def uniform(self, shape, rows):
        return ((self.time.double() + 0.5) / 1000)[rows]

    def normal(self, shape, rows):
        return self.noise[rows]


@torch.no_grad()
def test_the_loss(recording):
    arguments, _, tensors = recording
    target, mask, repeat = tensors["out.patchified"], tensors["in.mask"], arguments["diffusion_batch_mul"]
    time = tensors["in.loss_t"].view(repeat, *mask.shape)
    noise = tensors["in.loss_noise"].view(repeat, *target.shape)
    head, hidden, told = head_of(recording), tensors["out.dec_z"], Told(time, noise)
    clean = target.expand(repeat, -1, -1, -1)
    error, bound = head.process.terms(lambda x, t: head.net(x, t, hidden), clean, time, noise)
    agree(error.flatten(), tensors["out.loss_mse_terms"], "loss_mse_terms")
    agree(bound.flatten(), tensors["out.loss_vb_terms"], "loss_vb_terms")
    loss = head.loss(hidden, target, None, told)
    agree((loss * mask).sum() / mask.sum(), tensors["out.loss"], "loss")
    placed = head_of(recording, places=True)
    memo = torch.arange(hidden.shape[1]).expand(len(hidden), -1)
    loss = placed.loss(hidden - placed.place(memo), target, memo, told)
    agree((loss * mask).sum() / mask.sum(), tensors["out.loss"], "loss, places added")


@torch.no_grad()
def test_one_step(recording):
    _, _, tensors = recording
    x, hidden, head = tensors["in.net_x"], first(tensors), head_of(recording)
    noise = tensors["in.samp_noise"][: x.numel()].view(x.shape) * tensors["in.temperature"]
    for i in range(len(head.process.drawn)):
        index = torch.tensor(i)
        outputs = head.net(x, head.process.drawn.timestep(index), hidden)
        before, clean = head.process.drawn.step(x, outputs, index, noise)
        agree(before, tensors[f"out.pstep_sample.{i}"], f"pstep_sample.{i}")
        agree(clean, tensors[f"out.pstep_xstart.{i}"], f"pstep_xstart.{i}")


@pytest.mark.parametrize(
    "name", ["diff_sample", "diff_sample_t", "diff_sample_cfg", "sub_diff_sample", "sub_diff_sample_cfg"]
)
@torch.no_grad()
def test_the_chain(recording, name):
    _, _, tensors = recording
    wanted = tensors[f"out.{name}"]
    n, c = wanted.shape
    with_guidance, sub = name.endswith("cfg"), name.startswith("sub")
    head = head_of(recording, tuple(tensors["out.sub_timestep_map"].tolist()) if sub else None)
    rows = n // 2 if with_guidance else n  # of the initial noise; those of a step are as many as the rows of all views
    blocks = [tensors["in.samp_noise"][: rows * c], *tensors["in.samp_noise"][rows * c :].split(n * c)]
    noise = torch.stack([block[: rows * c].view(rows, c) for block in blocks if len(block) >= rows * c])
    hidden = guided(tensors, rows) if with_guidance else first(tensors)[None]
    scale = tensors["in.cfg"].item()
    weights = torch.tensor([[scale], [1 - scale]]) if with_guidance else torch.ones(1, 1)
    temperature = 1.0 if name == "diff_sample" else tensors["in.temperature"].item()
    drawn = head.sample(hidden[:, None], weights, None, Sampling(temperature), Recorded(noise[None]), torch.tensor([0]))
    agree(drawn[0], wanted[:rows], name)


def first(tensors) -> torch.Tensor:
    """The hidden vectors of the recorded rows: as many of the flattened ones as there are."""
    return tensors["out.dec_z"].flatten(0, 1)[: len(tensors["in.net_x"])]


def guided(tensors, rows: int) -> torch.Tensor:
    """The conditional rows and the null ones: [2, rows, w]."""
    return first(tensors)[: 2 * rows].unflatten(0, (2, rows))
