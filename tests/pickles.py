"""Files as OpenAI published DALL-E's: whole modules of classes that do not exist when they are read."""

import sys
import types
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

CLASSES = {"Encoder": "dall_e.encoder", "Decoder": "dall_e.decoder", "Conv2d": "dall_e.utils"}


def save_module(path: Path, tensors: dict[str, Tensor], root: str, newer: bool = True) -> Path:
    """Tensors by dotted names as a pickled module of DALL-E's class `root`."""
    classes = {name: type(name, (nn.Module,), {"__module__": home}) for name, home in CLASSES.items()}
    homes = {home: types.ModuleType(home) for home in ("dall_e", *CLASSES.values())}
    for name, home in CLASSES.items():
        setattr(homes[home], name, classes[name])
    module = classes[root]()
    for name, value in tensors.items():
        *path_to, leaf = name.split(".")
        parent = module
        for part in path_to:
            if part not in parent._modules:
                parent.add_module(part, classes["Conv2d"]())
            parent = parent._modules[part]
        parent.register_parameter(leaf, nn.Parameter(value))
    sys.modules.update(homes)
    try:
        with warnings.catch_warnings(action="ignore"):  # that the classes' source cannot be found
            torch.save(module, path, _use_new_zipfile_serialization=newer)
    finally:
        for home in homes:
            del sys.modules[home]
    return path
