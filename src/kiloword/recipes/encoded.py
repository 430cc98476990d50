"""The tokens of a training's pictures: made shard by shard, kept on disk, and made anew for another tokenizer.

Source: defined here. Their sources are recorded beside them: the tokenizer's weights and settings, the pictures'
bytes, their side, the number of versions.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kiloword.data.array import ReadOnlyArray, ShardedArray, Writer, digest_of
from kiloword.data.token_cache import TokenCache
from kiloword.recipes.context import Context
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.training.tasks.image_model_task import ImageModelTask
from kiloword.training.token_versions import versions

SHARD = 1024  # pictures of a shard


def cached_tokens(
    tokenizer: Tokenizer, values: ReadOnlyArray, side: int, count: int, context: Context
) -> tuple[TokenCache, TokenCache | None]:
    """Token versions of all pictures, and what is shown of them if that is not the same; in the context's folder."""
    settings = {
        "tokenizer": fingerprint(tokenizer), "pictures": digest_of(values), "side": side, "versions": count,
    }  # fmt: skip
    folders = [context.folder / "tokens", *([context.folder / "shown"] if tokenizer.flips else [])]
    with context.first_process_first():
        writers = [Writer(folder, settings) for folder in folders]
        if not all(writer.whole for writer in writers):
            _write(tokenizer, values, side, count, writers, context)
        found = [TokenCache(ShardedArray(folder)) for folder in folders]
    return found[0], found[1] if len(found) > 1 else None


def _write(
    tokenizer: Tokenizer, values: ReadOnlyArray, side: int, count: int, writers: list[Writer], context: Context
) -> None:
    starts = range(0, len(values), SHARD)
    for number, start in enumerate(starts):
        made: list[tuple[Tensor, Tensor]] = []

        def part(which: int, start: int = start, made: list[tuple[Tensor, Tensor]] = made) -> Callable[[], np.ndarray]:
            def make() -> np.ndarray:
                if not made:
                    made.append(versions(tokenizer, values[start : start + SHARD], side, count, first=start))
                assert which == 1 or len(writers) > 1 or torch.equal(*made[0]), (
                    "shown tokens that differ, of a tokenizer without flips"
                )
                return made[0][which].numpy()

            return make

        for which, writer in enumerate(writers):
            writer.shard(number, part(which))
        context.report("pictures encoded", min(start + SHARD, len(values)), len(values), {})
    for writer in writers:
        writer.finish(len(starts))


def fingerprint(tokenizer: Tokenizer) -> str:
    """The SHA-256 of a tokenizer's weights and of the settings of its parts."""
    assert isinstance(tokenizer, nn.Module)
    digest = hashlib.sha256()
    for part in tokenizer.modules():
        digest.update(repr((type(part).__name__, getattr(part, "config", None))).encode())
    for name, value in sorted(tokenizer.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def cached_hardness(task: ImageModelTask, tokens: TokenCache, context: Context) -> Float[Tensor, "n"]:
    """The loss of every picture before this run's training, computed once for these tokens."""
    path = context.folder / f"hardness-{tokens.array.digest[:16]}.npy"
    with context.first_process_first():
        if not path.exists():
            found = task.hardness(lambda done, count: context.report("hardness", done, count, {}))
            keep(path, found)
        return torch.from_numpy(np.load(path))


def keep(path: Path, numbers: Tensor) -> None:
    """Write a file atomically."""
    temporary = path.with_name(path.name + ".part.npy")
    np.save(temporary, numbers.numpy())
    temporary.replace(path)
