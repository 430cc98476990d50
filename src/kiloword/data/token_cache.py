"""Token cache: the tokens of every picture in several random versions, in shards on disk, at hand by picture.

Source: defined here. It is made once a training and read in every iteration, so a picture is encoded only `versions`
times however long the training is.
"""

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from kiloword.data.array import ShardedArray

# Axes: k versions of each picture, n pictures, b pictures that are read, t tokens.


class TokenCache:
    """Reads as a tensor [k, n, t, ...] would, for `cache[version, pictures]`: `cache[0, torch.arange(3)]`.

    `version` is a whole number, or one for each picture. On disk a picture's versions lie side by side.
    """

    def __init__(self, array: ShardedArray):
        self.array = array
        self.shape = (array.shape[1], len(array), *array.shape[2:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: tuple[Any, Any], /) -> Shaped[Tensor, "b t ..."]:
        version, pictures = index
        found = self.array[pictures]
        if isinstance(version, int):
            return found[:, version]
        return found[torch.arange(len(found)), version]
