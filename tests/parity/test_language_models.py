"""Gemma's, Llama's and Qwen's weights in our stack give the logits of transformers, and draw and say what it does."""

from typing import Any

import pytest
import torch

from kiloword import parts
from kiloword.document import to_describe
from kiloword.engine.cpu.fused_stack import FusedStack, fused
from kiloword.engine.drive import draw, write
from kiloword.engine.rerank import read_back
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.published import language_models, liquid
from kiloword.published.page import fill
from kiloword.tokens import Layout
from kiloword.verification import liquid_stages

transformers = pytest.importorskip("transformers")

WORDS, CODES = 50, 20
SPECIAL = {"pad": 0, "eos": 1, "bos": 2, "boi": 7, "eoi": 8, "unconditional": 9}
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 40, "vocab_size": WORDS + CODES, "max_position_embeddings": 256,
}  # fmt: skip
STRETCHED = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma": ("Gemma", {"head_dim": 16}),
    "gemma, own output": ("Gemma", {"head_dim": 8, "num_key_value_heads": 1, "tie_word_embeddings": False}),
    "llama": ("Llama", {"rms_norm_eps": 1e-5}),
    "llama, biased": ("Llama", {"attention_bias": True, "head_dim": 12}),
    "llama, stretched": ("Llama", {"rope_parameters": STRETCHED, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2, tied": ("Qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
}


@pytest.fixture(scope="module", params=CASES)
def pair(request):
    """transformers' model with random weights, norms and biases too, and kiloword's with the same."""
    family, changes = CASES[request.param]
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **changes})
    torch.manual_seed(3)
    there = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in there.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    arguments = {**config.to_dict(), "text_vocab": WORDS, "image_tokens": CODES, **SPECIAL}
    model = parts.build(liquid.parts(arguments)).eval()
    fill(liquid.PAGE, liquid.parts(arguments), model, there.state_dict())
    return model, there


def close(candidate: torch.Tensor, reference: torch.Tensor) -> bool:
    return bool((candidate - reference).norm() <= 1e-5 * reference.norm())


@torch.no_grad()
def test_logits_are_the_same(pair):
    model, there = pair
    ids = torch.randint(WORDS + CODES, (2, 60), generator=torch.Generator().manual_seed(1))
    assert close(torch.stack(liquid_stages.logits_of(model, list(ids))), there(ids).logits)


@torch.no_grad()
def test_weights_come_from_every_tensor_and_go_into_every_one(pair):
    model, there = pair
    config = liquid.parts({**there.config.to_dict(), "text_vocab": WORDS, "image_tokens": CODES, **SPECIAL})
    used = {name for key in model.state_dict() for name in liquid.source_name(key, config).names}
    tied = {"lm_head.weight"} if there.config.tie_word_embeddings else set()
    assert used == set(there.state_dict()) - tied
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in there.parameters())


@torch.no_grad()
def test_pictures_are_drawn_as_by_the_authors_loop(pair):
    """Prompts padded on the left, prompts above, none below; guided; the likeliest picture token each time."""
    model, there = pair
    prompts = [torch.tensor([2, 14, 15, 16, 30, 7]), torch.tensor([2, 40, 7])]
    steps, b = 9, len(prompts)
    ids = liquid_stages.left_padded([*prompts, *[torch.tensor([2, 9, 7])] * b], 0)
    mask = liquid_stages.left_padded([torch.ones(n, dtype=torch.long) for n in (6, 3, 3, 3)], 0)
    wanted = []
    for _ in range(steps):
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = there(ids, attention_mask=mask, position_ids=positions).logits[:, -1]
        guided = logits[b:] + 7 * (logits[:b] - logits[b:])
        wanted.append(guided[:, WORDS:].argmax(1))
        ids = torch.cat([ids, (wanted[-1] + WORDS).repeat(2)[:, None]], dim=1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    assert isinstance(fused(model.transformer), FusedStack)
    for way in (ImageModel.draw, draw):
        tokens, _, guided_now = liquid_stages.drawn(model, prompts, steps, 7.0, way)
        assert torch.equal(tokens, torch.stack(wanted, dim=1))
        assert close(guided_now[:, -1], guided)


@torch.no_grad()
def test_pictures_are_described_as_by_transformers(pair):
    """After begin, open, the picture's tokens, close and a cue come the likeliest words."""
    model, there = pair
    model.text.limit, cue = 8, [21, 22, 23]
    model.prompt.words = model.text.tokenizer = Spelling(cue)
    pictures = torch.randint(CODES, (3, 6), generator=torch.Generator().manual_seed(5))
    layout, wanted = Layout(((2, 3),)), []
    for picture in pictures:
        ids = [2, 7, *(picture + WORDS).tolist(), 8, *cue]
        answer: list[int] = []
        while len(answer) < 8 and 1 not in answer:
            logits = there(torch.tensor([[*ids, *answer]])).logits[0, -1]
            answer.append(int(logits[:WORDS].argmax()))
        wanted.append(" ".join(map(str, answer[: answer.index(1)] if 1 in answer else answer)))
    assert write(model, to_describe(pictures, layout), Sampling(0), Seeded([0, 1, 2])) == wanted
    likely = read_back(model, pictures, layout, [["30 31 32"], ["33"], ["34 35"]])
    for picture, answer, found in zip(pictures, ([30, 31, 32], [33], [34, 35]), likely, strict=True):
        ids = torch.tensor([[2, 7, *(picture + WORDS).tolist(), 8, *cue, *answer, 1]])
        log = there(ids).logits[0].log_softmax(-1)[:-1]
        row = log[torch.arange(ids.shape[1] - 1), ids[0, 1:]][-len(answer) - 1 :]
        assert torch.allclose(found, row.sum(), rtol=1e-4)


class Spelling:
    """Numbers as words; whatever else is said is the cue."""

    end = 1

    def __init__(self, cue: list[int]):
        self.cue, self.space = cue, parts.Categorical(WORDS)

    def encode(self, texts, limit):
        sequences = [list(map(int, text.split())) if text[:1].isdigit() else self.cue for text in texts]
        longest = max(map(len, sequences))
        ids = torch.tensor([ids + [self.end] * (longest - len(ids)) for ids in sequences])
        return ids, torch.arange(longest)[None] < torch.tensor([len(ids) for ids in sequences])[:, None]

    def decode(self, ids):
        return " ".join(map(str, ids[: ids.index(self.end)] if self.end in ids else ids))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "gemma2"}, "language model 'gemma2' is none that kiloword knows: give one of gemma, llama"),
        ({"model_type": "llama", "hidden_act": "gelu"}, "this llama has the activation 'gelu', kiloword's has silu"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "this qwen2 has use_sliding_window True"),
        ({"rope_scaling": {"type": "yarn"}}, "rotary positions of type 'yarn' are unknown"),
    ],
)
def test_models_that_our_stack_has_no_parts_for_are_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        liquid.parts({**SIZES, "text_vocab": WORDS, "image_tokens": CODES, **SPECIAL, **changes})


@torch.no_grad()
def test_a_vocabulary_without_room_is_refused_and_grown_fits():
    config = transformers.LlamaConfig(**{**SIZES, "vocab_size": WORDS + 3}, tie_word_embeddings=False)
    there = transformers.LlamaForCausalLM(config).state_dict()
    arguments = {**config.to_dict(), "text_vocab": WORDS, "image_tokens": CODES, **SPECIAL}
    model = parts.build(liquid.parts(arguments))
    with pytest.raises(ValueError, match="has 53 rows, 50 words and 20 picture tokens take 70: let its vocabulary"):
        fill(liquid.PAGE, liquid.parts(arguments), model, there)
    extended = language_models.grow(there, WORDS, CODES)
    fill(liquid.PAGE, liquid.parts(arguments), model, extended)
    for layer, name in ((model.picture.head.embedding, "model.embed_tokens"), (model.picture.head.output, "lm_head")):
        weight = there[f"{name}.weight"][:WORDS]
        assert torch.equal(layer.weight[:WORDS], weight)
        assert torch.allclose(layer.weight[WORDS:], weight.mean(0).expand(CODES, -1))
