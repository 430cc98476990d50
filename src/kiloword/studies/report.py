"""The report of a study of tokenizers: a table of all figures, a plot, and a sheet of pictures.

Source: Pineau et al. 2020 (Improving Reproducibility in Machine Learning Research) on what to report.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from kiloword import parts
from kiloword.data.shards import replace_file
from kiloword.evaluation.feature_spaces import MEANING
from kiloword.recipes.context import fabric
from kiloword.studies.measure import speeds
from kiloword.studies.report_pictures import draw_plot, draw_sheet, read_strip
from kiloword.tokenizers.autoencoder import Autoencoder

# Axes: b n pictures, S pixels a side.

RUN = "run.json"  # the settings of a training
STRIP = "rebuilt.webp"  # its reconstructions of the sheet's pictures
SPACE = "gradients"
TIMED = 32  # pictures that are encoded and decoded for their speed


@dataclass(frozen=True)
class Finished:
    """A finished training: tokenizer, learning rate, pictures seen, folder and figures."""

    name: str
    rate: float
    seen: int
    folder: Path
    figures: dict[str, Any]


def write_report(
    out: Path, runs: Sequence[Finished], budget: dict[str, Any], held_out: UInt8[Tensor, "b 4 S S"]
) -> Path:
    """report.md, report.json, plot.png and sheet.png of all that is finished; the first is returned."""
    best = sorted(better(runs), key=lambda run: (run.figures["bits"] or float("inf"), run.name))
    fast = speeds({run.name: untrained(run) for run in best}, held_out[:TIMED])
    rows = [{**row(run, runs), "speed": fast[run.name]} for run in best]
    every = [{"name": run.name, "rate": run.rate, **{k: run.figures[k] for k in ("psnr", "bits")}} for run in runs]
    facts = {"format": 1, "budget": budget, "feature_space": {SPACE: MEANING[SPACE]}, "tokenizers": rows, "runs": every}
    replace_file(out / "report.json", (json.dumps(facts, indent=1) + "\n").encode())
    draw_plot(out / "plot.png", rows, every)
    drawn = {label(line): read_strip(run.folder / STRIP) for run, line in zip(best, rows, strict=True)}
    draw_sheet(out / "sheet.png", {"originals": some(held_out, budget["shown"]), **drawn})
    replace_file(out / "report.md", text(rows, budget, len(held_out)).encode())
    return out / "report.md"


def untrained(run: Finished) -> Autoencoder:
    """The untrained tokenizer of a run: as fast as the trained one."""
    config = parts.from_json(json.loads((run.folder / RUN).read_text())["tokenizer"])
    return parts.build(config).to(fabric().device).eval()


def some(held_out: UInt8[Tensor, "b 4 S S"], shown: int) -> UInt8[Tensor, "n 4 S S"]:
    """The pictures of the sheet, from all over those held out."""
    return held_out[:: max(1, len(held_out) // shown)][:shown]


def better(runs: Sequence[Finished]) -> list[Finished]:
    """Of the trainings of each tokenizer the one with the highest PSNR."""
    best: dict[str, Finished] = {}
    for run in runs:
        if run.name not in best or run.figures["psnr"] > best[run.name].figures["psnr"]:
            best[run.name] = run
    return list(best.values())


def row(run: Finished, runs: Sequence[Finished]) -> dict[str, Any]:
    """A tokenizer's line of the table, with the PSNR of every learning rate that was tried."""
    rates = {f"{other.rate:g}": other.figures["psnr"] for other in runs if other.name == run.name}
    return {"name": run.name, "rate": run.rate, "seen": run.seen, "psnr_of_rates": rates, **run.figures}


def label(line: dict[str, Any]) -> str:
    bits = "continuous" if line["bits"] is None else f"{line['bits']:,.0f} bits"
    return f"{line['name']}\n{bits}, {line['psnr']:.1f} dB"


# Why the third digit is not significant.
CAVEAT = (
    "These pictures are not untouched: the better learning rate is chosen on them, and so were the size of the",
    "patches (16.2 dB for 8 pixels, 15.5 for 4 joined 2x2), Muon over AdamW (16.2, 15.0), the weight of gumbel's",
    "kl_loss (17.01, 16.98, 16.49 dB for 5e-4, 3e-3, 1e-2: 3e-3 was taken because 8% of its codes were used, not",
    "3%) and that of bsq's entropy_loss (17.91, 17.82 for 0.01, 0.1: 0.1 was kept as published), one short run",
    "each. The vq decay of 0.95 was set after a look at a very short run. fsq, residual, rq, multicode and kl had",
    "no such tries, so tuning is not equal.",
)


def text(rows: Sequence[dict[str, Any]], budget: dict[str, Any], held_out: int) -> str:
    """The report in Markdown."""
    lines = [cells(line) for line in rows]
    heads = list(lines[0]) if lines else []
    table = [heads, ["---", *["--:"] * (len(heads) - 1)], *[list(line.values()) for line in lines]]
    return "\n".join([
        "# Tokenizers side by side",
        "",
        f"Every quantizer between the same two networks, trained on the same pictures: {budget['seen']:,} seen in "
        f"batches of {budget['batch']}, out of {budget['pictures']:,} of {budget['side']}x{budget['side']} pixels with "
        f"transparency. Learning rates {', '.join(f'{rate:g}' for rate in budget['rates'])}: the one with the higher "
        "PSNR counts. `fsq-cnn`, made of convolutions, is trained for as long as the others instead (by AdamW, the "
        "others by Muon). The palette is fitted.",
        "",
        *["| " + " | ".join(cells) + " |" for cells in table],
        "",
        f"All figures are of {held_out} held-out pictures, but the use of codes, counted over training pictures.",
        *CAVEAT,
        "PSNR (dB) and SSIM on white. Kernel distance: unbiased squared MMD times 1,000 with the kernel",
        "(x y / d + 1)^3, and its 95% bootstrap interval, in the space",
        f"*{SPACE}* ({MEANING[SPACE]}; scaled to the spread of the training pictures).",
        "Used and perplexity count joint codes, or single ones where a token has several codes of a large codebook.",
        "Encoding and decoding: pictures a second in batches of 32, timed alternately. Minutes: of training at its",
        "median throughput.",
        "",
        "![Bits against PSNR](plot.png)",
        "",
        "![Originals and reconstructions](sheet.png)",
        "",
    ])  # fmt: skip


def cells(line: dict[str, Any]) -> dict[str, str]:
    """A line of the table as Markdown."""
    distance = line["kernel_distance"][SPACE]
    near = " to ".join(f"{distance[name] * 1000:.0f}" for name in ("low", "high"))
    others = [f"{rate}: {psnr:.2f}" for rate, psnr in line["psnr_of_rates"].items()]
    return {
        "tokenizer": line["name"],
        "tokens": f"{line['tokens']:,}",
        "bits": f"{line['numbers']:,} numbers" if line["bits"] is None else f"{line['bits']:,.0f}",
        "PSNR": f"{line['psnr']:.2f}",
        "SSIM": f"{line['ssim']:.3f}",
        "kernel distance": f"{distance['value'] * 1000:.0f} [{near}]",
        "used": f"{line['usage']:.0%}" if "usage" in line else "",
        "perplexity": f"{line['perplexity']:,.0f}" if "perplexity" in line else "",
        "encode /s": f"{line['speed']['encode']:,.0f}",
        "decode /s": f"{line['speed']['decode']:,.0f}",
        "minutes": f"{line['minutes']:.1f}" if "minutes" in line else "",
        "seen": f"{line['seen']:,}" if "minutes" in line else "",
        "M parameters": f"{sum(line['parameters'].values()) / 1e6:.2f}",
        "PSNR at each rate": ", ".join(others) if "minutes" in line else "",
    }
