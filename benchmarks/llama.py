"""kiloword's transformer in Llama's shape against transformers' LlamaForCausalLM: the same greedy tokens, and how fast.

27.5 M parameters (width 384, 12 layers, 8,192 codes). Kiloword writes by `kiloword.engine.drive.write`, as it
writes descriptions: one position for a picture, then text. The reference is `generate` with its own cache.
"""

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from itertools import islice, pairwise

import torch
from side_by_side import arguments, bandwidth, show, table, take_turns, use_threads
from tokenizers import pre_tokenizers
from torch import Tensor, nn

from kiloword.document import to_describe
from kiloword.engine import drive
from kiloword.engine.cpu.packed_linear import pack_matrices
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.factorised import FactorisedConfig
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.orders.raster import RasterConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.class_label import ClassLabelConfig
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bpe import END, BPEConfig
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.vit import ViTConfig
from kiloword.tokens import Categorical, Codes, Layout
from kiloword.transformer import AttentionConfig, RMSNormConfig, RotaryConfig, StackConfig, SwiGLUConfig

LAYOUT = Layout(((1, 1),))  # a picture of one token, which stands for the beginning of a text
LEVELS = (8, 8, 8, 5, 5)


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama."""

    width: int = 384
    depth: int = 12
    heads: int = 6
    hidden: int = 1024
    codes: int = 8192


class Recording(nn.Module):
    """A head that records what it samples, and when."""

    def __init__(self, head):
        super().__init__()
        self.head, self.space = head, head.space
        self.tokens: list[Tensor] = []
        self.times: list[float] = []

    def enter(self, fed, layout):
        return self.head.enter(fed, layout)

    def loss(self, hidden, target, memo, noise):
        return self.head.loss(hidden, target, memo, noise)

    def sample(self, hidden, weights, memo, sampling, noise, rows):
        self.tokens.append(self.head.sample(hidden, weights, memo, sampling, noise, rows))
        self.times.append(time.perf_counter())
        return self.tokens[-1]


def build(shape: Shape, limit: int) -> ImageModel:
    """A model with random weights that writes `limit` tokens: one rotary axis (time), nothing that Llama lacks."""
    tiny = StackConfig(8, 1, AttentionConfig(1), SwiGLUConfig(8))
    head_dim = shape.width // shape.heads
    model = ImageModelConfig(
        picture=ModalityConfig(
            AutoencoderConfig(ViTConfig(tiny, tiny), ViTConfig(tiny, tiny), FSQConfig(LEVELS)), RasterConfig(),
            FactorisedConfig(Codes(LEVELS), shape.width),
        ),
        prompt=ClassLabelConfig(1, shape.width),
        transformer=StackConfig(
            shape.width, shape.depth, AttentionConfig(shape.heads), SwiGLUConfig(shape.hidden), RMSNormConfig(1e-6),
            RotaryConfig((head_dim, 0, 0, 0)),
        ),
        text=TextConfig(merges(shape.codes), CategoricalConfig(Categorical(shape.codes), shape.width), limit=limit),
    ).build().eval()  # fmt: skip
    with torch.no_grad():
        model.text.head.embedding.weight.mul_(50)  # as large as what the blocks add, so that tokens do not repeat
        model.text.head.output.weight[END] = 0  # a logit of 0 is never the largest: no text ends before its limit
    model.text.head = Recording(model.text.head)
    return model


def merges(codes: int) -> BPEConfig:
    """As many pairs of bytes as make a vocabulary of `codes` pieces."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = (f"{left} {right}" for left in letters for right in letters)
    return BPEConfig(tuple(islice(pairs, codes - 1 - len(letters))))


def starts(count: int) -> Tensor:
    """`count` different pictures of one token."""
    return torch.tensor([[[k % 8, k // 8 % 8, 0, 0, 0]] for k in range(count)])


def twin(model: ImageModel):
    """transformers' LlamaForCausalLM with the weights of kiloword's model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config, head = model.transformer.config, model.text.head.head
    llama = LlamaForCausalLM(LlamaConfig(
        vocab_size=head.space.size, hidden_size=config.width, intermediate_size=config.feed_forward.hidden,
        num_hidden_layers=config.depth, num_attention_heads=config.attention.heads,
        num_key_value_heads=config.attention.key_heads, max_position_embeddings=4096, rms_norm_eps=config.norm.eps,
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )).eval()  # fmt: skip
    source = model.transformer.state_dict()
    renamed = {
        "model.embed_tokens.weight": entered(model, head.embedding.weight),
        "lm_head.weight": head.output.weight,
        "model.norm.weight": source["norm.weight"],
    }
    for layer in range(config.depth):
        block, there = f"blocks.{layer}.", f"model.layers.{layer}."
        size = llama.model.layers[0].self_attn.q_proj.weight.shape[0]
        query, key, value = source[block + "attention.qkv.weight"].split(size)
        gate, up = source[block + "feed_forward.gate_up.weight"].chunk(2)
        renamed |= {
            there + "self_attn.q_proj.weight": query,
            there + "self_attn.k_proj.weight": key,
            there + "self_attn.v_proj.weight": value,
            there + "self_attn.o_proj.weight": source[block + "attention.out.weight"],
            there + "mlp.gate_proj.weight": gate,
            there + "mlp.up_proj.weight": up,
            there + "mlp.down_proj.weight": source[block + "feed_forward.out.weight"],
            there + "input_layernorm.weight": source[block + "attention_norm.weight"],
            there + "post_attention_layernorm.weight": source[block + "feed_forward_norm.weight"],
        }
    llama.load_state_dict(renamed)
    return llama


def entered(model: ImageModel, embedding: Tensor) -> Tensor:
    """Vectors as the head's entrance gives them: the same two vectors are added to every token's embedding."""
    entrance = model.text.head.head.entrance
    return embedding + entrance.place.weight[0] + entrance.unknown


def beginning(model: ImageModel, pictures: Tensor) -> Tensor:
    """The two positions before the first token, for a transformer without entrances: the picture, and the start."""
    picture = model.picture.read_span(pictures, LAYOUT).vectors
    start = entered(model, model.text.head.head.entrance.start).expand(len(pictures), 1, -1)
    return torch.cat([picture, start], dim=1)


def write_kiloword(model: ImageModel, pictures: Tensor) -> Tensor:
    """The greedy tokens of kiloword's engine."""
    recording = model.text.head
    recording.tokens, recording.times = [], []
    drive.write(model, to_describe(pictures, LAYOUT), Sampling(temperature=0), Seeded([0] * len(pictures)))
    return torch.cat(recording.tokens, dim=1)


def write_transformers(llama, vectors: Tensor, count: int) -> Tensor:
    """The greedy tokens of transformers."""
    present = torch.ones(vectors.shape[:2], dtype=torch.long)
    return llama.generate(inputs_embeds=vectors, attention_mask=present, max_new_tokens=count, do_sample=False)


def by_position(model: ImageModel, count: int, rounds: int, window: int = 32) -> list[float]:
    """Milliseconds a token in windows of positions, each token the median of several texts."""
    model.text.limit = count
    runs = []
    for turn in range(rounds):
        write_kiloword(model, starts(turn + 1)[turn:])
        times = model.text.head.times
        runs.append([after - before for before, after in pairwise(times)])
    tokens = [1000 * statistics.median(column) for column in zip(*runs, strict=True)]
    return [statistics.median(tokens[start : start + window]) for start in range(0, len(tokens), window)]


def slope(values: list[float], window: int = 32) -> float:
    """Milliseconds by which a token becomes slower over 1,000 positions (least squares)."""
    positions = torch.arange(len(values), dtype=torch.float64) * window
    deviation = positions - positions.mean()
    return float((deviation * torch.tensor(values, dtype=torch.float64)).sum() / deviation.square().sum() * 1000)


def options() -> argparse.Namespace:
    parser = arguments(__doc__.splitlines()[0], rounds=5)
    parser.add_argument("--tokens", type=int, default=256, help="new tokens that are compared and timed")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="texts at once")
    parser.add_argument("--positions", type=int, default=1024, help="how far the cost per token is followed (0: not)")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    chosen = options()
    use_threads(chosen.threads)
    torch.manual_seed(chosen.seed)
    model = build(Shape(), chosen.tokens)
    llama = twin(model)
    pack_matrices(model)
    weights = sum(p.numel() for p in [*model.transformer.parameters(), model.text.head.head.output.weight])
    parameters = weights + model.text.head.head.embedding.weight.numel()
    speed = bandwidth()
    figures = {"parameters": parameters, "bandwidth_gb_s": speed / 1e9, "threads": chosen.threads, "batches": {}}
    rows = []
    for batch in chosen.batches:
        pictures = starts(batch)
        vectors = beginning(model, pictures)
        same = write_kiloword(model, pictures) == write_transformers(llama, vectors, chosen.tokens)
        seconds = take_turns({
            "kiloword": lambda p=pictures: write_kiloword(model, p),
            "reference": lambda v=vectors: write_transformers(llama, v, chosen.tokens),
        }, chosen.rounds, chosen.cpu)  # fmt: skip
        step = seconds["kiloword"] / chosen.tokens
        held = batch * chosen.tokens / 2 * 2 * model.transformer.config.depth * model.transformer.width
        floor = 4 * (weights + held) / speed
        found = {
            "same_tokens": f"{int(same.sum())}/{same.numel()}",
            "kiloword_tokens_s": batch / step,
            "reference_tokens_s": batch * chosen.tokens / seconds["reference"],
            "ratio": seconds["reference"] / seconds["kiloword"],
            "ms_a_step": 1000 * step,
            "floor_ms": 1000 * floor,
            "times_the_floor": step / floor,
        }
        figures["batches"][batch] = found
        rows.append([batch, *found.values()])
    head = ["batch", "same tokens", "kiloword tok/s", "reference tok/s", "ratio", "ms a step", "floor ms", "x floor"]
    title = f"Llama shape, {parameters / 1e6:.1f} M parameters, {chosen.tokens} new tokens, {chosen.threads} threads"
    tables = [table(f"{title}; memory {speed / 1e9:.1f} GB/s", head, rows)]
    if chosen.positions:
        windows = by_position(model, chosen.positions, chosen.rounds)
        figures["positions"] = {"ms": windows, "slope_ms_per_1000": slope(windows)}
        tables.append(positions_table(windows, model, speed))
    show(chosen, figures, tables)


def positions_table(windows: list[float], model: ImageModel, speed: float) -> str:
    """Cost per token against position, and the part of its growth that is the reading of keys and values."""
    read = 1000 * 1000 * 4 * 2 * model.transformer.config.depth * model.transformer.width / speed
    rows = [[f"{32 * k}-{32 * k + 31}", value] for k, value in enumerate(windows)]
    rows += [["slope, ms per 1,000 positions", slope(windows)], ["of it reading keys and values", read]]
    return table("kiloword's cost per token, batch 1", ["position", "ms"], rows)


if __name__ == "__main__":
    sys.exit(main())
