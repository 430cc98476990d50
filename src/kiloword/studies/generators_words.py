"""The text of the report of generators: its tables in Markdown, findings, and differences too small to be significant.

Overlapping intervals are reported as such, after Agarwal et al. 2021 (Deep Reinforcement Learning at the Edge of the
Statistical Precipice): of few runs, the order alone says little.
"""

import math
from collections.abc import Sequence
from typing import Any

from kiloword.evaluation.feature_spaces import MEANING
from kiloword.recipes.families import GRID
from kiloword.studies.budget import SIDE
from kiloword.studies.generators_plot import SPLITS
from kiloword.studies.protocol import SPACE

Line = dict[str, Any]

LEARNED = (
    "Training pictures a second are the throughput that was measured for all, interleaved; minutes are those of the "
    "training itself, on a machine that may have been busy."
)


def text(lines: Sequence[Line], whole: dict[str, Any]) -> str:
    """The report in Markdown."""
    budget = whole["budget"]
    blocks = {
        "Quality": grid([quality(line) for line in lines]),
        "Accuracy and memorisation": grid([subjects(line) for line in lines]),
        "Cost": [*grid([costs(line) for line in lines]), "", LEARNED],
        "Tuning": grid([tuning(line) for line in lines]),
        "Likelihood": likelihoods(whole["runs"], lines),
        "What it shows": findings(lines),
        "What is too small to mean anything": limits(lines, budget),
    }
    found = ["# Six ways of drawing, side by side", "", *preface(budget), ""]
    for head, block in blocks.items():
        found += [f"## {head}", "", *block, ""]
    return "\n".join([*found, "![Quality against cost](plot.png)", "", *sheet(whole["sheet"])]) + "\n"


def preface(budget: dict[str, Any]) -> list[str]:
    """What all systems have in common."""
    material, teaching, pictures = budget["material"], budget["teaching"], budget["pictures"]
    styles = ", ".join(material["styles"]) or "all styles"
    versions = "each as it is" if material["versions"] == 1 else f"{material['versions']} versions of each"
    return [
        f"{pictures['learned']:,} pictures of {SIDE}x{SIDE} pixels ({styles}), "
        f"{versions}; {budget['depth']} blocks of width {budget['width']} for every system (a block of multicode's "
        "stands in its head, half of masked's are an encoder); tokenizers with equal networks, each trained on "
        f"{material['seen']:,} pictures, that encode a grid of {GRID} positions: codes of several grids take more "
        "tokens, as the table says.",
        f"Every training takes {teaching['minutes']:g} minutes at the throughput that was measured for all before, "
        "interleaved: a slower system is trained on fewer pictures. "
        f"Learning rates {', '.join(f'{rate:g}' for rate in teaching['rates'])} for all, one schedule, one optimiser; "
        f"then guidance {', '.join(f'{g:g}' for g in budget['judging']['guidances'])} and temperature "
        f"{', '.join(f'{t:g}' for t in budget['judging']['temperatures'])} for all. All of these are chosen by the "
        f"kernel distance over {pictures['choosing']} prompts, none of which is among the "
        f"{sum(pictures['judging'].values())} for evaluation.",
    ]


def grid(lines: Sequence[dict[str, str]]) -> list[str]:
    """Lines of a table."""
    heads = list(lines[0])
    rows = [heads, ["---", *["--:"] * (len(heads) - 1)], *[list(line.values()) for line in lines]]
    return ["| " + " | ".join(row) + " |" for row in rows]


def quality(line: Line) -> dict[str, str]:
    near = {}
    for space, distance in line["kernel_distance"].items():
        value, low, high = (1000 * distance[name] for name in ("value", "low", "high"))
        near[f"distance, {space}"] = f"{value:.0f} [{low:.0f} to {high:.0f}]"
    return {
        "system": line["name"],
        "parts": line["parts"],
        **near,
        "of its tokenizer": f"{1000 * line['ceiling_distance'][SPACE]['value']:.0f}",
        "tokens": f"{line['tokens']}",
        "pictures seen": f"{line['seen']:,}",
        "M in blocks": f"{line['parameters']['transformer'] / 1e6:.2f}",
        "M in head": f"{line['parameters']['head'] / 1e6:.2f}",
    }


def subjects(line: Line) -> dict[str, str]:
    found = {"system": line["name"]}
    for split, name in SPLITS.items():
        if split in line["accuracy"]:
            hit, ceiling, chance = line["accuracy"][split], line["ceiling"][split], line["chance"][split]
            found[f"{name}, top 1"] = f"{hit['top1']:.0%} of {ceiling['top1']:.0%} (chance {chance['top1']:.1%})"
            found[f"{name}, top 5"] = f"{hit['top5']:.0%}"
    for split, name in SPLITS.items():
        if split in line["memorisation"]:
            figures = line["memorisation"][split]
            true = figures["true_picture_distance"]["p50"]
            found[f"{name}, to nearest"] = f"{figures['distance']['p50']:.3f} ({true:.3f})"
            found[f"{name}, copies"] = f"{figures['closer_than_reconstruction']:.0%}"
    return found


def costs(line: Line) -> dict[str, str]:
    cost, inner = line["cost"], line["cost"]["passes"]["head"]
    memory = cost["memory_mb"]
    return {
        "system": line["name"],
        "passes": f"{cost['passes']['transformer']}" + (f" and {inner} in the head" if inner else ""),
        **{f"s a picture, batch {count}": f"{taken:.3f}" for count, taken in cost["seconds"].items()},
        "MB at the peak, batch 16": "" if memory is None else f"{memory:.0f}",
        "training pictures a second": f"{line['learned_a_second']:.1f}",
        "minutes of training": f"{line['training']['minutes']:.1f}",
    }


def tuning(line: Line) -> dict[str, str]:
    seeds = [f"{1000 * distance[SPACE]:.0f}" for distance in line["seeds"].values()]
    return {
        "system": line["name"],
        "chosen by, at each rate": ", ".join(f"{rate}: {1000 * value:.0f}" for rate, value in line["rates"].items()),
        "guidance": f"{line['chosen']['guidance']:g}",
        "temperature": f"{line['chosen']['temperature']:g}",
        "judged, from each seed": ", ".join(seeds),
    }


def likelihoods(runs: Sequence[Line], lines: Sequence[Line]) -> list[str]:
    """Bits of trainings that share a tokenizer; nothing is said across tokenizers."""
    sorts = {line["name"]: line["tokenizer"] for line in lines}
    rows = []
    for run in sorted(runs, key=lambda run: (sorts.get(run["name"], ""), run["name"], run["rate"], run["seed"])):
        if run["bits"] is not None and run["name"] in sorts:
            values = {SPLITS[split]: f"{run['bits'][split]:.0f}" for split in SPLITS if split in run["bits"]}
            names = {"tokenizer": f"{sorts[run['name']]}, {run['tokenizer_weights'][:6]}", "system": run["name"]}
            rows.append({**names, "rate": f"{run['rate']:g}", "seed": f"{run['seed']}", **values})
    return [
        "Bits of a picture's tokens given its prompt. They may be compared where the tokenizer is one and the same "
        "(behind its name: how its weights' SHA-256 begins), never between tokenizers, whose tokens say different "
        "things. Vectors that are drawn from noise have none here: the losses of masked and denoise are errors of a "
        "velocity at other levels, not likelihoods.",
        "",
        *(grid(rows) if rows else ["No system has a likelihood."]),
    ]


def findings(lines: Sequence[Line]) -> list[str]:
    """The findings that follow from the figures."""
    ranked = sorted(lines, key=lambda line: line["kernel_distance"][SPACE]["value"])
    best, others = ranked[0], ranked[1:]
    found = [f"- Nearest to true pictures: {best['name']}."]
    meeting = [line["name"] for line in others if meet(best, line)]
    if meeting:
        found.append(f"- Not told apart from it, as their intervals meet: {', '.join(meeting)}.")
    worse = [line["name"] for line in others if not meet(best, line)]
    if worse:
        found.append(f"- Farther away, with intervals that do not meet its own: {', '.join(worse)}.")
    for split, name in SPLITS.items():
        measured = [line for line in lines if split in line["accuracy"]]
        if measured:
            most = max(line["accuracy"][split]["top1"] for line in measured)
            first = [line["name"] for line in measured if line["accuracy"][split]["top1"] == most]
            count = measured[0]["accuracy"][split]["n"]
            near = f"{most:.0%} of {count}, give or take {margin(most, count):.0%}"
            right = f"{', '.join(first)} ({near})" if most else f"none, ever ({count} prompts)"
            found.append(f"- Most often right, {name}: {right}.")
    for count in ("1", "16"):
        quick = min(lines, key=lambda line: line["cost"]["seconds"][count])
        found.append(f"- Fastest at batch {count}: {quick['name']}, {quick['cost']['seconds'][count]:.3f} s a picture.")
    return found


def limits(lines: Sequence[Line], budget: dict[str, Any]) -> list[str]:
    """The limits of the figures."""
    found = []
    for split, count in budget["pictures"]["judging"].items():
        share = margin(0.5, count)
        found.append(f"- {SPLITS[split]}: {count} prompts, so shares are known to about {share:.0%} either way.")
    for line in lines:
        values = [distance[SPACE] for distance in line["seeds"].values()]
        if len(values) > 1:
            apart = 1000 * (max(values) - min(values))
            found.append(f"- {line['name']}: {len(values)} seeds lie {apart:.0f} apart in distance times 1,000.")
    largest = f"{max(budget['teaching']['rates']):g}"
    several = [line for line in lines if len(line["rates"]) > 1]
    edge = [line["name"] for line in several if min(line["rates"], key=line["rates"].get) == largest]
    if edge:
        found.append(
            f"- Best at the largest rate that was tried: {', '.join(edge)}. A larger one might be better, and the "
            "order another."
        )
    found.append("- One seed says nothing of the spread; intervals are those of the pictures drawn, not of trainings.")
    if len(budget["material"]["styles"]) == 1:
        found.append(
            "- With one style, the subject of a held-out pair was seen in no other style: both held-out splits have "
            "subjects that were never seen, and only words that subjects share can help."
        )
    found.append(f"- *{SPACE}*: {MEANING[SPACE]}. It sees what is large, and little of what is fine.")
    return found


def meet(one: Line, other: Line) -> bool:
    """Whether two intervals overlap."""
    first, second = (line["kernel_distance"][SPACE] for line in (one, other))
    return first["low"] <= second["high"] and second["low"] <= first["high"]


def margin(share: float, count: int) -> float:
    """Half of the 95% interval of a share of `count`."""
    return 1.96 * math.sqrt(max(share * (1 - share), 0.25 / max(1, count)) / max(1, count))


def sheet(prompts: Sequence[str]) -> list[str]:
    """What the contact sheet shows."""
    return [
        "Same prompts, same seeds, a row a system:",
        "",
        "![A row of pictures for every system](sheet.png)",
        "",
        *[f"{number}. {prompt}" for number, prompt in enumerate(prompts, start=1)],
    ]
