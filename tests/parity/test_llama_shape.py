"""In the shape of Llama our transformer is transformers' LlamaForCausalLM: the same logits, the same greedy tokens."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from kiloword.document import Piece, lay

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COUNT = 24


@pytest.fixture(scope="module")
def llama():
    """benchmarks/llama.py, which knows how the weights are named on either side."""
    pytest.importorskip("transformers")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("llama_benchmark", BENCHMARKS / "llama.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.fixture(scope="module")
def pair(llama):
    """Kiloword's and transformers' model with the same random weights."""
    torch.manual_seed(0)
    model = llama.build(llama.Shape(width=32, depth=3, heads=2, hidden=48, codes=300), COUNT)
    return model, llama.twin(model)


@torch.no_grad()
def test_logits_are_the_same(llama, pair):
    model, reference = pair
    ids = torch.randint(300, (2, 40), generator=torch.Generator().manual_seed(1))
    text = model.text.span(torch.cat([ids, ids[:, :1]], dim=1), torch.ones(2, 41, dtype=torch.bool))
    seen = model.picture.read_span(llama.starts(2), llama.LAYOUT)
    hidden = model.transformer(lay([[Piece(0, row), Piece(1, row)] for row in range(2)], [seen, text]).stream)
    logits = model.text.head.head.output(hidden)
    embedded = reference.get_input_embeddings()(ids)
    wanted = reference(inputs_embeds=torch.cat([llama.beginning(model, llama.starts(2)), embedded], dim=1)).logits
    assert (logits - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 3])
def test_greedy_tokens_are_the_same(llama, pair, count):
    model, reference = pair
    pictures = llama.starts(count)
    drawn = llama.write_kiloword(model, pictures)
    assert torch.equal(drawn, llama.write_transformers(reference, llama.beginning(model, pictures), COUNT))
    assert drawn.shape == (count, COUNT) and len(drawn.unique()) > 3
