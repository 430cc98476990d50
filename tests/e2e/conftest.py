"""A tiny model that was never trained, saved as users get their models; its size is 64x64, its styles are two."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from kiloword import checkpoint
from kiloword.cli import main
from kiloword.engine.card import Card
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.factorised import FactorisedConfig
from kiloword.orders.draft import DraftConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.text_prefix import TextPrefixConfig
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokenizers.vit import ViTConfig
from kiloword.tokens import Categorical, Codes
from kiloword.transformer import AttentionConfig, RotaryConfig, StackConfig, SwiGLUConfig


def stack(width: int, depth: int, rotary: bool = False) -> StackConfig:
    position = RotaryConfig((4, 4, 4, 4)) if rotary else None
    return StackConfig(width, depth, AttentionConfig(width // 16), SwiGLUConfig(32), position=position)


def config() -> ImageModelConfig:
    networks = ViTConfig(stack(16, 1), stack(32, 1))
    words = BPEConfig.train(["a flat icon of a red apple", "a 3d icon of a green pear"] * 5, 300)
    pictures = ModalityConfig(
        PyramidConfig(AutoencoderConfig(networks, networks, FSQConfig((4, 4)))), DraftConfig(),
        FactorisedConfig(Codes((4, 4)), 32, units=8, positions=20),
    )  # fmt: skip
    text = TextConfig(words, CategoricalConfig(Categorical(words.build().space.size), 32), limit=8)
    return ImageModelConfig(pictures, TextPrefixConfig(words, 32, limit=24), stack(32, 2, rotary=True), text)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its checkpoint."""
    torch.manual_seed(0)
    card = Card(
        "tiny", ((64, 64),), {"flat": "a flat icon of {}", "3d": "a 3d icon of {}"}, guidance=2.0, licence="Apache-2.0"
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    checkpoint.save(folder, config().build(), card, config())
    return folder


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs a command that must fail and leave its folder as it is; its one line is returned."""

    def refused(words: Sequence[object], code: int = 2) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert main([str(word) for word in words]) == code
        out, err = capsys.readouterr()
        assert out == "" and sorted(tmp_path.rglob("*")) == before
        assert err.startswith("kiloword: ") and err.count("\n") == 1 and "Traceback" not in err
        return err

    return refused


@pytest.fixture(autouse=True)
def ctrl_c_is_not_ignored():
    """Background jobs of a shell ignore Ctrl-C, and children inherit that: these tests need the default handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
