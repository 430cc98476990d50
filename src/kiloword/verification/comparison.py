"""Comparison: does a system, rebuilt here from its authors' weights, compute what their code computed?

Ids and bits have to be equal; all else within a relative error ||candidate - reference|| / ||reference|| of 1e-4 in
float32. Where the authors round to bfloat16 on the way it is 3e-2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kiloword import parts
from kiloword.published import names
from kiloword.published.page import Page, fill
from kiloword.verification.proof import Record
from kiloword.verification.recordings import proof_of, read_settings, read_tensors, read_weights, recorded

TOLERANCE = 1e-4
ROUNDED = 3e-2  # of what their authors compute with bfloat16 on the way; such a tensor is named _bf16_


@dataclass(frozen=True)
class Row:
    """One recorded tensor: the relative error of the tensor computed here; for ids, how many differ."""

    page: str
    tensor: str
    error: float
    exact: bool
    passed: bool


def verify(folder: Path) -> Iterator[Row]:
    """Every recorded stage of every page that the recording in `folder` concerns.

    Raises ValueError if the folder holds no recording, or one of a system that no page describes.
    """
    settings = read_settings(folder)
    pages = recorded(settings["name"])
    if not pages:
        raise ValueError(f"{folder}: no page describes {settings['name']!r} (known: {', '.join(names())})")
    tensors = read_tensors(folder)
    for page in pages:
        record = rebuild(page, folder, settings, tensors)
        for name, stage in proof_of(page).stages(record).items():
            with torch.inference_mode():
                yield compare(page.name, name, stage(), tensors[name])


def rebuild(page: Page, folder: Path, settings: dict[str, Any], tensors: dict[str, Tensor]) -> Record:
    """The system at the recording's size, with the recording's weights, and all that was recorded."""
    try:
        config = page.parts(settings["config"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder}: the arguments of {page.title} lack or misuse {error}") from error
    system = parts.build(config).eval()
    weights = read_weights(folder, settings)
    fill(page, config, system, proof_of(page).weights(weights, tensors))
    return Record(settings, tensors, system, weights)


def compare(page: str, name: str, candidate: Tensor, reference: Tensor) -> Row:
    """A tensor computed here against the recorded one; another shape is an infinite error."""
    exact = not reference.is_floating_point() and reference.dtype != torch.bfloat16
    if candidate.shape != reference.shape:
        return Row(page, f"{name} {list(candidate.shape)} for {list(reference.shape)}", float("inf"), exact, False)
    if exact:
        wrong = int((candidate.long() != reference.long()).sum())
        return Row(page, name, wrong, True, wrong == 0)
    left_out = reference.isinf() & (candidate == reference)  # logits of what may not be drawn are minus infinity
    candidate, reference = (values.double().masked_fill(left_out, 0) for values in (candidate, reference))
    size = reference.masked_fill(reference.isinf(), 0).norm().clamp(min=1e-12)
    error = float((candidate - reference).norm() / size)
    return Row(page, name, error, False, error <= (ROUNDED if "_bf16_" in name else TOLERANCE))
