"""From authors' files to a system: which file is which, whether they fit, and if not, to what they would.

Source: defined here, after the pages.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kiloword import parts
from kiloword.formats.tensor_bundle import is_shard, shards_beside
from kiloword.formats.weight_file import read
from kiloword.published.page import File, Page, Variant, arranged, fill, names_of, some, squeezed


def convert(page: Page, variant: str, paths: list[Path]) -> tuple[Any, nn.Module]:
    """The config and the system of a variant, with the weights of its files, which are given in the page's order.

    Raises ValueError for files that cannot be read, and for weights of something else, with their names and shapes.
    """
    chosen = page.variants[variant]
    tensors = read_variant(paths, chosen)
    config = page.parts({**chosen.arguments, **texts_in(paths, chosen)})
    system = parts.build(config).eval()
    try:
        fill(page, config, system, tensors)
    except ValueError as error:
        others = [name for name in page.variants if name != variant and fits(page, page.variants[name], tensors)]
        hint = f"; they are those of {page.name}/{others[0]}" if others else ""
        raise ValueError(f"{some([str(path) for path in paths])}: {error}{hint}") from error
    return config, system


def read_variant(paths: list[Path], variant: Variant) -> dict[str, Tensor]:
    """All weights of a published variant from its files, in the order of the page."""
    if len(paths) != len(variant.files):
        wanted = some([file.name for file in variant.files])
        raise ValueError(f"this system comes in {len(variant.files)} files ({wanted}); {len(paths)} are given")
    found: dict[str, Tensor] = {}
    for path, file in zip(paths, variant.files, strict=True):
        found |= read_file(path, file)
    return found


def read_file(path: Path, file: File) -> dict[str, Tensor]:
    """The weights in one of a page's files, by the authors' names. Raises ValueError if it is not what it should be.

    The shards of a TensorFlow checkpoint give none: their numbers come with the index, beside which they lie. Nor do
    texts that are arguments.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return {} if is_shard(file.name) or file.argument else read(path, file.under, file.part)


def texts_in(paths: list[Path], variant: Variant) -> dict[str, str]:
    """The arguments that stand in files of their own. Raises ValueError if one cannot be read."""
    found = {}
    for path, file in zip(paths, variant.files, strict=True):
        if file.argument:
            try:
                found[file.argument] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{path} cannot be read as a text: give {file.name}") from error
    return found


def fits(page: Page, variant: Variant, tensors: dict[str, Tensor]) -> bool:
    """Whether the tensors are, by their names and sizes, the weights of a variant."""
    config = page.parts(variant.arguments)
    with torch.device("meta"):
        system = parts.build(config)
    own = system.state_dict()
    tensors = page.unfused({page.canonical(name): value.to("meta") for name, value in tensors.items()})
    sources = names_of(page, config, system)
    if not all(name in tensors for source in sources.values() for name in source.names):
        return False
    try:
        return all(squeezed(arranged(source, tensors)) == squeezed(own[name]) for name, source in sources.items())
    except ValueError:
        return False


def arrange(given: list[Path], variant: Variant) -> list[Path]:
    """Files and folders that a user has, as the page's files in their order: by name, else by stem, else what is left.

    The index of a TensorFlow checkpoint brings its shards with it. Raises ValueError if some are missing or too many.
    """
    if len(given) == 1 and given[0].is_dir():
        return [_in_folder(given[0], file.name) for file in variant.files]
    given = [found for path in given for found in (_those_in(path, variant) if path.is_dir() else [path])]
    for index in [path for path in given if path.suffix == ".index"]:
        given = [*given, *(shard for shard in shards_beside(index) if shard not in given)]
    wanted = some([file.name for file in variant.files])
    if len(given) != len(variant.files):
        raise ValueError(
            f"this system comes in {len(variant.files)} file{'s' * (len(variant.files) > 1)} ({wanted}), "
            f"{len(given)} given: name each with a --from, or their folder"
        )
    for path in given:
        if not path.is_file():
            raise ValueError(f"{path} is not a file: give {wanted}")
    left = list(given)
    found: dict[str, Path] = {}
    for same in (
        lambda path, name: path.name == Path(name).name,
        lambda path, name: path.stem == Path(name).stem,
        lambda *_: True,
    ):
        for file in variant.files:
            match = next((path for path in left if same(path, file.name)), None)
            if file.name not in found and match is not None:
                found[file.name] = match
                left.remove(match)
    return [found[file.name] for file in variant.files]


def _those_in(folder: Path, variant: Variant) -> list[Path]:
    """The page's files that a folder holds."""
    return [path for file in variant.files if (path := _found_in(folder, file.name))]


def _found_in(folder: Path, name: str) -> Path | None:
    """A file of that name in a folder, or the same as safetensors: one file where others have an index and several."""
    whole = folder / name.removesuffix(".index.json")
    tried = (folder / name, folder / Path(name).name, (folder / name).with_suffix(".safetensors"), whole)
    return next((path for path in tried if path.is_file()), None)


def _in_folder(folder: Path, name: str) -> Path:
    """A file of that name in a folder."""
    path = _found_in(folder, name)
    if path is not None:
        return path
    raise ValueError(f"{folder} holds no {name}: give the file with --from")
