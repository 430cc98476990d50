"""Picture tokens of a language model in Gemma's shape, kiloword against transformers' generate: same tokens, how fast.

Liquid's way (Wu et al. 2024): 26 M parameters (width 384, 8 layers, heads of 96 channels, 8,192 words and as many
picture tokens), prompts of several lengths, guidance off, as `generate` has one view. Kiloword draws by
`kiloword.engine.drive.draw`, the reference by `generate` with its own cache and left padding.
"""

import argparse
import sys
from dataclasses import dataclass

import torch
from side_by_side import arguments, show, table, take_turns, use_threads
from torch import Tensor

from kiloword import parts
from kiloword.document import to_draw
from kiloword.drawing import Drawing
from kiloword.engine import drive
from kiloword.engine.cpu.packed_linear import pack_matrices
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.published import liquid
from kiloword.published.page import fill
from kiloword.tokens import Layout
from kiloword.verification import liquid_stages

SPECIAL = {"pad": 0, "eos": 1, "bos": 2, "boi": 7, "eoi": 8, "unconditional": 9}
SAMPLING = Sampling(0.99, top_k=4096, top_p=0.96)  # of the authors' evaluation


@dataclass(frozen=True)
class Shape:
    """The sizes of a Gemma: heads are wider than the width divided by them, one in four has a key."""

    width: int = 384
    depth: int = 8
    heads: int = 8
    key_heads: int = 2
    head_dim: int = 96
    hidden: int = 1536
    words: int = 8192
    codes: int = 8192


def pair(shape: Shape):
    """kiloword's model and transformers' GemmaForCausalLM with the same random weights."""
    from transformers import GemmaConfig, GemmaForCausalLM

    config = GemmaConfig(
        vocab_size=shape.words + shape.codes, hidden_size=shape.width, intermediate_size=shape.hidden,
        num_hidden_layers=shape.depth, num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads,
        head_dim=shape.head_dim, max_position_embeddings=4096, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    there = GemmaForCausalLM(config).eval()
    settings = {**config.to_dict(), "text_vocab": shape.words, "image_tokens": shape.codes, **SPECIAL}
    model = parts.build(liquid.parts(settings)).eval()
    fill(
        liquid.PAGE, liquid.parts(settings), model, {name: value.clone() for name, value in there.state_dict().items()}
    )
    pack_matrices(model)
    return model, there


def prompts(count: int, shape: Shape) -> list[Tensor]:
    """Ids from <bos> to <boi>, of 12 to 33 tokens."""
    chance = torch.Generator().manual_seed(0)
    lengths = [10 + 7 * k % 22 for k in range(count)]
    middle = [torch.randint(10, shape.words, (length,), generator=chance) for length in lengths]
    return [torch.cat([torch.tensor([2]), ids, torch.tensor([7])]) for ids in middle]


def draw_kiloword(model: ImageModel, texts: list[Tensor], count: int, sampling: Sampling) -> Tensor:
    """The picture tokens of our engine."""
    layout = Layout(((1, count),))
    request = Drawing(layout, [model.opening(to_draw(texts, layout))], torch.ones(1, len(texts)), sampling)
    *_, last = drive.draw(model, request, Seeded(list(range(len(texts)))))
    return last.tokens


def draw_transformers(there, texts: list[Tensor], count: int, sampling: Sampling, shape: Shape) -> Tensor:
    """Those of transformers, restricted to picture tokens as by the authors: by masking the logits of words."""
    from transformers import LogitsProcessorList

    def pictures(ids: Tensor, logits: Tensor) -> Tensor:
        logits[:, : shape.words] = -torch.inf
        return logits

    chosen = {"do_sample": False}
    if sampling.temperature:
        chosen = {
            "do_sample": True, "temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p
        }  # fmt: skip
    ids = liquid_stages.left_padded(texts, SPECIAL["pad"])
    present = liquid_stages.left_padded([torch.ones_like(one) for one in texts], 0)
    found = there.generate(
        ids, attention_mask=present, max_new_tokens=count, logits_processor=LogitsProcessorList([pictures]), **chosen
    )
    return found[:, ids.shape[1] :] - shape.words


def options() -> argparse.Namespace:
    parser = arguments(__doc__.splitlines()[0], rounds=5)
    parser.add_argument("--tokens", type=int, default=256, help="picture tokens that are compared and timed")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="pictures at once")
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    chosen, shape = options(), Shape()
    use_threads(chosen.threads)
    torch.manual_seed(0)
    model, there = pair(shape)
    parameters = sum(p.numel() for p in model.parameters())
    figures: dict = {"parameters": parameters, "threads": chosen.threads, "batches": {}}
    rows = []
    for batch in chosen.batches:
        texts = prompts(batch, shape)
        for name, sampling in (("likeliest", Sampling(0)), ("sampled", SAMPLING)):
            same = draw_kiloword(model, texts, chosen.tokens, sampling) == draw_transformers(
                there, texts, chosen.tokens, sampling, shape
            )
            seconds = take_turns({
                "kiloword": lambda a=texts, s=sampling: draw_kiloword(model, a, chosen.tokens, s),
                "reference": lambda a=texts, s=sampling: draw_transformers(there, a, chosen.tokens, s, shape),
            }, chosen.rounds, chosen.cpu)  # fmt: skip
            found = {
                "same_tokens": f"{int(same.sum())}/{same.numel()}" if name == "likeliest" else "",
                "kiloword_tokens_s": batch * chosen.tokens / seconds["kiloword"],
                "reference_tokens_s": batch * chosen.tokens / seconds["reference"],
                "ratio": seconds["reference"] / seconds["kiloword"],
            }
            figures["batches"].setdefault(batch, {})[name] = found
            rows.append([f"{batch}, {name}", *found.values()])
    title = f"Gemma shape, {parameters / 1e6:.1f} M parameters, {chosen.tokens} tokens, {chosen.threads} threads"
    show(chosen, figures, [table(title, ["batch", "same tokens", "kiloword tok/s", "reference tok/s", "ratio"], rows)])


if __name__ == "__main__":
    sys.exit(main())
