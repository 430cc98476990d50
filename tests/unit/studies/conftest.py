"""A folder of icons, a budget of a few steps, and networks of a few numbers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import icons
import studying
import tiny
from kiloword.recipes import generators
from kiloword.recipes import tokenizers as recipes
from kiloword.studies import jobs
from kiloword.studies import tokenizers as study
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.palette import PaletteConfig
from kiloword.tokenizers.vit import ViTConfig


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return icons.write_icons(tmp_path_factory.mktemp("icons"), count=20, held_out=6)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> study.Budget:
    """Everything small; a token covers 8x8 pixels as in the study."""
    stack = tiny.vit().fine
    network = ViTConfig(stack, stack, 8, 1, 4)
    convolutions = CNNConfig(8, (1, 1, 1, 1), blocks=1, groups=(4,), z=4, channels=4)
    monkeypatch.setattr(recipes, "vit", lambda: (network, network))
    monkeypatch.setitem(recipes.QUANTIZERS, "palette", PaletteConfig(16, 4))
    monkeypatch.setattr(study, "vit", lambda: (network, network))
    monkeypatch.setattr(study, "cnn", lambda width: (convolutions, convolutions))
    return study.Budget(pictures=10, held_out=4, seen=16, batch=4, rates=(1e-3, 4e-3), side=16, shown=3, save_every=2)


@pytest.fixture(scope="module")
def small_networks() -> Iterator[None]:
    """The tokenizers of studies of models are made of a few numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "vit", studying.networks)
        patch.setattr(generators, "vit", studying.networks)
        yield
