"""Settings of all tests: one thread, the same random examples every time, a tiny model.

Shapes and types of `kiloword` are checked by jaxtyping and beartype, switched on in pyproject.toml.
"""

import pytest
import torch
from hypothesis import HealthCheck, settings

import tiny
from kiloword.model import ImageModel

torch.set_num_threads(1)
settings.register_profile(
    "kiloword", deadline=None, derandomize=True, max_examples=20, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
settings.load_profile("kiloword")


@pytest.fixture(scope="session")
def tiny_model() -> ImageModel:
    """A pyramid in draft order, with a text prompt and a text modality; do not train it."""
    return tiny.model("pyramid", "draft", "factorised")
