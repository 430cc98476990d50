"""The law of pages: what kiloword knows of one published system, so that its authors' files load.

A page is facts: which parts the system is made of at any size, where its files lie, under which names the authors keep
each of kiloword's weights, with which defaults they draw, its licence and the numbers that they report.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kiloword.engine.card import Card
from kiloword.formats.tensor_bundle import file_names


@dataclass(frozen=True)
class File:
    """A file as its authors published it.

    `under` are the keys that lead to the weights inside it, `part` is put before the names found there ("encoder"). A
    text that is no weights but an `argument` of the system's has the name of that.
    """

    name: str
    repository: str = ""  # owner/name on the Hugging Face hub; empty where `url` says it
    url: str = ""
    under: tuple[str, ...] = ()
    part: str = ""
    argument: str = ""


def bundle_files(url: str, name: str, shards: int) -> tuple[File, ...]:
    """The files of a TensorFlow checkpoint at the address `url` (without .index): its index, then its shards.

    On disk they are called after `name`, which may begin with a folder. Only the index gives weights.
    """
    pairs = zip(file_names(name, shards), file_names(url, shards), strict=True)
    return tuple(File(local, url=address) for local, address in pairs)


@dataclass(frozen=True)
class Variant:
    """One published size: the authors' constructor arguments, the parameters it has, and its files."""

    arguments: dict[str, Any]
    parameters: int
    files: tuple[File, ...]
    about: str = ""


@dataclass(frozen=True)
class Figure:
    """A number that the authors report, and where."""

    what: str
    value: float
    source: str


@dataclass(frozen=True)
class Source:
    """The source of one parameter here: the authors' tensors called `names`, concatenated along the first axis.

    If `transposed`, axes of size 1 are dropped and the first axis becomes the last; `changed` is applied after that.
    Shapes that differ in axes of size 1 only (a 1x1 convolution and a matrix) count as equal.
    """

    names: tuple[str, ...]
    transposed: bool = False
    changed: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Preparation:
    """How the authors make a picture ready: short side resized, centre cropped, alpha laid over a grey in [0, 1]."""

    size: int | None = None
    enlarge: float = 1.0  # the short side becomes `enlarge * size` before the crop
    filter: str = "LANCZOS"
    background: float = 1.0


@dataclass(frozen=True)
class Page:
    """A published system.

    `parts` maps the authors' arguments to a config, and `source_name` the name of one of its parameters, with that
    config, into its `Source`. Some files name the same tensor in different ways: `canonical` maps a key of a file to
    the name that `source_name` uses, `unfused` does so for a whole state dict, where a name depends on the other keys.
    `ignored` are regular expressions for keys of the files that we don't need. `card` gives, for each variant of a
    generator, the sampling settings of its authors.
    """

    name: str
    title: str
    source: str  # repository and commit that the facts come from
    licence: str
    variants: dict[str, Variant]
    parts: Callable[[dict[str, Any]], Any]
    source_name: Callable[[str, Any], Source]
    ignored: tuple[str, ...] = ()
    canonical: Callable[[str], str] = lambda name: name
    unfused: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda tensors: tensors
    preparation: Preparation = Preparation()
    reported: tuple[Figure, ...] = ()
    card: Callable[[str], Card] | None = None


def names_of(page: Page, config: Any, system: nn.Module) -> dict[str, Source]:
    """The source of each parameter and buffer of a system, by its name here."""
    return {name: page.source_name(name, config) for name in system.state_dict()}


def fill(page: Page, config: Any, system: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load the authors' tensors into a system, cast to the dtypes of its parameters.

    Raises ValueError for missing or unknown keys, other shapes, NaN and infinity.
    """
    own, wanted = system.state_dict(), names_of(page, config, system)
    tensors = page.unfused({page.canonical(name): value for name, value in tensors.items()})
    needed = {name for source in wanted.values() for name in source.names}
    ignored = [re.compile(pattern) for pattern in page.ignored]
    missing = sorted(needed - tensors.keys())
    extra = sorted(n for n in tensors.keys() - needed if not any(pattern.fullmatch(n) for pattern in ignored))
    if missing or extra:
        raise ValueError(
            f"these are not the weights of {page.title} at this size: {len(missing)} missing ({some(missing)}), "
            f"{len(extra)} unknown ({some(extra)})"
        )
    found = {}
    for name, source in wanted.items():
        value = arranged(source, tensors)
        if squeezed(value) != squeezed(own[name]):
            raise ValueError(
                f"{' + '.join(source.names)} has shape {list(value.shape)}, "
                f"{page.title} at this size needs {list(own[name].shape)}"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{' + '.join(source.names)} holds NaN or infinity")
        found[name] = value.reshape(own[name].shape).to(own[name].dtype)
    system.load_state_dict(found, assign=True)


def arranged(source: Source, tensors: dict[str, Tensor]) -> Tensor:
    """The authors' tensors as one parameter here. Raises ValueError if their shapes do not fit together."""
    values = [tensors[name] for name in source.names]
    try:
        value = torch.cat(values) if len(values) > 1 else values[0]
        value = value.squeeze().movedim(0, -1) if source.transposed else value
        return source.changed(value) if source.changed else value
    except (RuntimeError, IndexError) as error:
        shapes = " + ".join(str(list(value.shape)) for value in values)
        raise ValueError(f"{' + '.join(source.names)} has shape {shapes}, which this size has not") from error


def squeezed(value: Tensor) -> tuple[int, ...]:
    """A shape without its axes of size 1."""
    return tuple(side for side in value.shape if side != 1)


def some(names: list[str]) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
