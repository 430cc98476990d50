"""The study of decoders: the same tokens decoded by diffusion and by the tokenizer's network, quality and cost.

Held-out pictures are encoded, so that only the decoding differs. Steps and solvers as in Karras et al.
2022, groups and overlap as in Lee et al. 2023 and Ruhe et al. 2024, guidance as in Ho and Salimans 2022.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from kiloword import checkpoint
from kiloword.data.shards import replace_file
from kiloword.decoders.decoder import Effort
from kiloword.decoders.diffusion_decoder import DiffusionDecoder
from kiloword.engine.fitting import showable
from kiloword.engine.painter import Painter
from kiloword.engine.preview import shown_steps
from kiloword.evaluation.details import details
from kiloword.evaluation.feature_spaces import features
from kiloword.evaluation.image_set import to_bytes
from kiloword.evaluation.kernel_distance import kernel_distance, scaled
from kiloword.evaluation.sharpness import sharpness
from kiloword.evaluation.ssim import ssim
from kiloword.noise import Seeded
from kiloword.pixels import composite, from_bytes, psnr
from kiloword.recipes.context import Report
from kiloword.recipes.training_set import Pictures
from kiloword.studies.decoders_report import NARROWEST, Row, write_report
from kiloword.studies.resume_check import check_resumed
from kiloword.studies.subset import chosen, subset
from kiloword.tokens import Layout
from kiloword.training.augmentation import shrink

# Axes: b n m pictures, c channels, d features, f frames, S pixels a side of pictures.

BATCH = 32
SHOWN, FRAMES = 16, 7  # pictures on the sheet, and steps of a picture in the strip
STEPS = 4  # a group, where other things are compared
SPACES: dict[str, Callable[[Tensor], Tensor]] = {
    "gradients": lambda pictures: features("gradients", pictures),
    "details": details,
}


@dataclass(frozen=True)
class Bench:
    """A model, the tokens of `true` pictures, and `others`, whose spread scales features."""

    painter: Painter
    true: UInt8[Tensor, "n 4 S S"]
    others: UInt8[Tensor, "m 4 S S"]
    tokens: Tensor
    layout: Layout

    @property
    def decoder(self) -> DiffusionDecoder:
        return cast(DiffusionDecoder, self.painter.model.decoder)


@dataclass(frozen=True)
class Setting:
    """A way to decode tokens, in a table of the report; without an effort its name is one of `AT_ONCE`."""

    table: str
    name: str
    effort: Effort | None = None

    @property
    def key(self) -> str:
        """Equal for settings that draw the same: the name of the file with their figures."""
        if self.effort is None:
            return self.name.replace("'", "").replace(", ", "-").replace(" ", "-")
        apart = self.effort.groups > 1 and self.effort.overlap > 0  # else all groups work at once, as one
        effort = self.effort if apart else replace(self.effort, groups=1, overlap=0.0, grouping="rows")
        values = [(field.name, getattr(effort, field.name), field.default) for field in fields(Effort)]
        return "-".join(f"{name}-{value}" for name, value, usual in values if name == "steps" or value != usual)


def settings() -> list[Setting]:
    """All settings, the fast ones first."""
    found = [Setting("At once", name) for name in AT_ONCE]
    found += [in_steps(steps) for steps in (1, 2, 4, 8, 16)]
    found += [Setting("Solvers", f"8 steps, {name}", Effort(8, solver=name)) for name in ("euler", "heun", "ddim")]
    found += [Setting("Guidance", f"guidance {scale:g}", Effort(STEPS, guidance=scale)) for scale in (1.0, 1.5, 2.0)]
    bands = [Effort(STEPS, 4, overlap, "frequency") for overlap in (0.25, 1.0)]
    found += [Setting("Frequency groups", f"4 groups, overlap {effort.overlap:g}", effort) for effort in bands]
    for groups, name in ((1, "1 group"), (4, "4 groups"), (16, "16 groups")):
        rows = [Effort(STEPS, groups, overlap) for overlap in (0.0, 0.25, 1.0)]
        found += [Setting("Groups from the top", f"{name}, overlap {effort.overlap:g}", effort) for effort in rows]
    return found


def in_steps(steps: int) -> Setting:
    """All groups at once, by Euler."""
    return Setting("Steps", f"{steps} steps" if steps > 1 else "1 step", Effort(steps))


def tokenizer_bilinear(bench: Bench, tokens: Tensor) -> Float[Tensor, "b c S S"]:
    """The tokenizer's reconstruction, enlarged bilinearly."""
    known = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    small = bench.painter.model.picture.tokenizer.decode(tokens, bench.layout, known)
    return interpolate(small, size=bench.true.shape[-2:], mode="bilinear", align_corners=False)


def tokenizer_lanczos(bench: Bench, tokens: Tensor) -> Float[Tensor, "b 4 S S"]:
    """The same, enlarged with a filter that sharpens a little."""
    known, side = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device), bench.true.shape[-1]
    small = bench.painter.model.picture.tokenizer.decode(tokens, bench.layout, known)
    large = []
    for picture in to_bytes(showable(small)).movedim(1, -1).contiguous().numpy():
        image = Image.frombytes("RGBa", picture.shape[1::-1], picture.tobytes())
        large.append(np.array(image.resize((side, side), Image.Resampling.LANCZOS)))
    return from_bytes(torch.from_numpy(np.stack(large)).movedim(-1, 1))


def preview(bench: Bench, tokens: Tensor) -> Float[Tensor, "b c S S"]:
    """The decoder's preview: its sketch enlarged, or its guess in one call without noise."""
    return bench.decoder.preview(tokens, bench.layout, torch.ones(tokens.shape[:2], dtype=torch.bool).to(tokens.device))


AT_ONCE: dict[str, Callable[[Bench, Tensor], Tensor]] = {
    "tokenizer's own, bilinear": tokenizer_bilinear,
    "tokenizer's own, Lanczos": tokenizer_lanczos,
    "glance": preview,
}


def open_model(name: str) -> tuple[Painter, str]:
    """The model, and the SHA-256 of its weights. Raises ValueError if it has no diffusion decoder."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    painter = checkpoint.load(name, device or "cpu")
    if not isinstance(painter.model.decoder, DiffusionDecoder):
        raise ValueError(
            f"{name} has no diffusion decoder, so there is nothing to compare: kiloword train decoder-128 --from {name}"
        )
    height, width = painter.card.sizes[0]
    if height != width or width % 2:
        raise ValueError(f"this study compares models of square pictures, {name} draws {width}x{height}")
    return painter, checkpoint.fingerprint(checkpoint.find(name))


def run(painter: Painter, weights: str, data: Path, out: Path, count: int, report: Report) -> Path:
    """Measure all that is not on disk yet on `count` held-out pictures, and write the report; its file is returned.

    `weights` is the SHA-256 of the model's: a study resumes only with the model that it was begun with.
    """
    side = painter.card.sizes[0][0]
    records = chosen(data, 2 * count, count)
    keys = hashlib.sha256("\n".join(record["key"] for record in records).encode()).hexdigest()
    facts = {"format": 1, "model": painter.card.name, "weights": weights, "side": side, "pictures": keys}
    check_resumed(out / "study.json", facts)
    pictures = subset(
        data, records, side // 2, out / "pictures.npy", lambda done, total: report("pictures read", done, total, {}),
    )  # fmt: skip
    bench = prepared(painter, pictures)
    wanted, left_out, measured = settings(), {}, []
    for number, setting in enumerate(wanted, start=1):
        if reason := refused(bench, setting):
            left_out[f"{setting.table}: {setting.name}"] = reason
            continue
        stage = f"pictures drawn, {setting.name} ({number} of {len(wanted)})"
        figures = carry_out(bench, setting, out, lambda done, stage=stage: report(stage, done, len(bench.true), {}))
        measured.append(Row(setting.table, setting.name, figures))
    facts = {
        **facts, "pictures": len(bench.true), "others": len(bench.others), "steps": STEPS, "tokens": bench.layout.count,
        "token_side": side // bench.decoder.scale, "device": str(painter.device), "left_out": left_out,
    }  # fmt: skip
    return write_report(out, measured, facts, sheet(bench), strips(bench))


@torch.no_grad()
def prepared(painter: Painter, pictures: Pictures) -> Bench:
    """The tokens of held-out pictures; training pictures only scale features."""
    true, others = pictures.values[pictures.held_out], pictures.values[pictures.weights > 0]
    if len(true) < 2:
        raise ValueError(f"there are {len(true)} held-out pictures, and a kernel distance takes 2 or more")
    tokenizer, (side, _) = painter.model.picture.tokenizer, painter.read_size(painter.card.sizes[0])
    layout = tokenizer.layout(side, side)
    small = shrink(true, side)
    small = small if tokenizer.channels == 4 else composite(small)
    tokens = torch.cat([tokenizer.encode(batch.to(painter.device), layout).shown for batch in small.split(BATCH)])
    return Bench(painter, true, others, tokens, layout)


def refused(bench: Bench, setting: Setting) -> str:
    """Why this decoder does not support a setting; empty if it does."""
    try:
        if setting.effort is not None:
            bench.decoder.plan(bench.layout, setting.effort)
    except ValueError as error:
        return str(error)
    return ""


def carry_out(bench: Bench, setting: Setting, out: Path, report: Callable[[int], None]) -> dict[str, Any]:
    """The figures of a setting, from its file if they are there."""
    path = out / "settings" / f"{setting.key}.json"
    if path.exists():
        return json.loads(path.read_text())
    drawn, seconds, calls = [], 0.0, 0
    for indices in torch.arange(len(bench.true)).split(BATCH):
        started = time.perf_counter()
        pixels, calls = decoded(bench, setting, indices)
        drawn.append(to_bytes(showable(pixels)))  # waits for the device
        seconds += time.perf_counter() - started
        report(sum(map(len, drawn)))
    figures = {**measure(bench, torch.cat(drawn)), "calls": calls, "seconds": seconds / len(bench.true)}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(figures, indent=1).encode())
    return figures


@torch.no_grad()
def decoded(bench: Bench, setting: Setting, indices: Int[Tensor, "b"]) -> tuple[Float[Tensor, "b c S S"], int]:
    """The decoded pictures at these indices, and the network calls; noise is a function of the index alone."""
    tokens = bench.tokens[indices.to(bench.tokens.device)]
    if setting.effort is None:
        return AT_ONCE[setting.name](bench, tokens), 1
    known = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    steps = bench.decoder.decode_steps(
        tokens, bench.layout, known, setting.effort, Seeded(indices.tolist()), torch.arange(len(indices))
    )
    last = deque(steps, maxlen=1).pop()
    return last.pixels, last.calls


def measure(bench: Bench, drawn: UInt8[Tensor, "n 4 S S"]) -> dict[str, Any]:
    """Similarity of the pictures to the true ones: pair by pair, and as a whole."""
    candidate, true = from_bytes(drawn), from_bytes(bench.true)
    distances = {}
    for space, of in SPACES.items():
        like = of(bench.others)
        reference, candidates = (scaled(of(pictures), like, NARROWEST) for pictures in (bench.true, drawn))
        distances[space] = asdict(kernel_distance(candidates, reference))
    return {
        "psnr": float(psnr(candidate, true).mean()),
        "ssim": float(ssim(candidate, true).mean()),
        "sharpness": float(sharpness(candidate).mean() / sharpness(true).mean()),
        "kernel_distance": distances,
    }


def sheet(bench: Bench) -> dict[str, UInt8[Tensor, "b 4 S S"]]:
    """Some true pictures, and their tokens decoded in some settings."""
    indices = shown_indices(bench)
    shown = [setting for setting in settings() if setting.name in ("tokenizer's own, bilinear", "glance")]
    shown += [in_steps(steps) for steps in (1, 4, 16)]
    drawn = {setting.name: to_bytes(showable(decoded(bench, setting, indices)[0])) for setting in shown}
    return {"true": bench.true[indices], **drawn}


def shown_indices(bench: Bench) -> Int[Tensor, "b"]:
    """Indices of the pictures on the sheet, evenly spread."""
    return torch.arange(len(bench.true))[:: max(1, len(bench.true) // SHOWN)][:SHOWN]


def strips(bench: Bench) -> dict[str, UInt8[Tensor, "f 4 S S"]]:
    """The steps of decoding one picture in several settings, first the canvas: empty, or the preview."""
    manners = {
        "one by one": (Effort(STEPS, 16, 1.0), False),
        "overlapping": (Effort(STEPS, 16, 0.25), False),
        "overlapping, on a glance": (Effort(STEPS, 16, 0.25), True),
        "all at once, on a glance": (Effort(2 * STEPS), True),
    }
    legal = {n: manner for n, manner in manners.items() if not refused(bench, Setting("", n, manner[0]))}
    return {name: torch.cat([to_bytes(frame) for frame in frames(bench, *manner)]) for name, manner in legal.items()}


@torch.no_grad()
def frames(bench: Bench, effort: Effort, previewed: bool) -> Iterator[Float[Tensor, "1 4 S S"]]:
    """The sheet's most detailed picture, from the canvas under it to the last step."""
    indices = shown_indices(bench)
    index = int(indices[sharpness(from_bytes(bench.true[indices])).argmax()])
    tokens = bench.tokens[index : index + 1]
    known = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    under = preview(bench, tokens)
    if not previewed:
        under = torch.full_like(under, -1.0 if under.shape[1] == 4 else 1.0)  # transparent, or white
    yield showable(under)
    shown = shown_steps(bench.decoder.steps(bench.layout, effort), FRAMES - 1)
    steps = bench.decoder.decode_steps(
        tokens, bench.layout, known, effort, Seeded([index]), torch.arange(1), under=under
    )
    yield from (showable(step.pixels) for step in steps if step.step in shown)
