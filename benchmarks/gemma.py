"""Picture tokens of a language model in Gemma's shape, ours against transformers' generate: the same tokens, how fast.

Liquid's way (Wu et al. 2024): 26 M parameters (width 384, 8 layers, heads of 96 channels, 8,192 words and as many
picture tokens), prompts of several lengths, guidance off, as `generate` has one view. Ours goes through
`kiloword.engine.decode.draw`, theirs through `generate` with its own cache and left padding.
"""

import argparse
import sys
from dataclasses import dataclass

import torch
from side_by_side import arguments, show, table, take_turns, use_threads
from torch import Tensor

from kiloword import parts
from kiloword.engine import decode
from kiloword.engine.cpu.packed_linear import pack_matrices
from kiloword.heads.head import Sampling
from kiloword.model import Drawing, ImageModel
from kiloword.noise import Seeded
from kiloword.published import liquid
from kiloword.published.page import fill
from kiloword.tokens import Layout

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
    """Our model and transformers' GemmaForCausalLM with the same random weights."""
    from transformers import GemmaConfig, GemmaForCausalLM

    config = GemmaConfig(
        vocab_size=shape.words + shape.codes, hidden_size=shape.width, intermediate_size=shape.hidden,
        num_hidden_layers=shape.depth, num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads,
        head_dim=shape.head_dim, max_position_embeddings=4096, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    there = GemmaForCausalLM(config).eval()
    told = {**config.to_dict(), "text_vocab": shape.words, "image_tokens": shape.codes, **SPECIAL}
    ours = parts.build(liquid.parts(told)).eval()
    fill(liquid.PAGE, liquid.parts(told), ours, {name: value.clone() for name, value in there.state_dict().items()})
    pack_matrices(ours)
    return ours, there


def prompts(count: int, shape: Shape) -> list[Tensor]:
    """Ids from <bos> to <boi>, of 12 to 33 tokens."""
    chance = torch.Generator().manual_seed(0)
    lengths = [10 + 7 * k % 22 for k in range(count)]
    middle = [torch.randint(10, shape.words, (length,), generator=chance) for length in lengths]
    return [torch.cat([torch.tensor([2]), ids, torch.tensor([7])]) for ids in middle]


def ours(model: ImageModel, asked: list[Tensor], count: int, sampling: Sampling) -> Tensor:
    """The picture tokens of our engine."""
    request = Drawing(Layout(((1, count),)), [model.prompt.read(asked)], torch.ones(1, len(asked)), sampling)
    *_, last = decode.draw(model, request, Seeded(list(range(len(asked)))))
    return last.tokens


def theirs(there, asked: list[Tensor], count: int, sampling: Sampling, shape: Shape) -> Tensor:
    """Those of transformers, which is kept from words as the authors keep it: by a list of what may not be said."""
    from transformers import LogitsProcessorList

    def pictures(ids: Tensor, logits: Tensor) -> Tensor:
        logits[:, : shape.words] = -torch.inf
        return logits

    chosen = {"do_sample": False}
    if sampling.temperature:
        chosen = {
            "do_sample": True, "temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p
        }  # fmt: skip
    ids = liquid.left_padded(asked, SPECIAL["pad"])
    present = liquid.left_padded([torch.ones_like(one) for one in asked], 0)
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
        asked = prompts(batch, shape)
        for name, sampling in (("likeliest", Sampling(0)), ("sampled", SAMPLING)):
            same = ours(model, asked, chosen.tokens, sampling) == theirs(there, asked, chosen.tokens, sampling, shape)
            seconds = take_turns({
                "ours": lambda a=asked, s=sampling: ours(model, a, chosen.tokens, s),
                "theirs": lambda a=asked, s=sampling: theirs(there, a, chosen.tokens, s, shape),
            }, chosen.rounds, chosen.cpu)  # fmt: skip
            found = {
                "same_tokens": f"{int(same.sum())}/{same.numel()}" if name == "likeliest" else "",
                "ours_tokens_s": batch * chosen.tokens / seconds["ours"],
                "theirs_tokens_s": batch * chosen.tokens / seconds["theirs"],
                "ratio": seconds["theirs"] / seconds["ours"],
            }
            figures["batches"].setdefault(batch, {})[name] = found
            rows.append([f"{batch}, {name}", *found.values()])
    title = f"Gemma shape, {parameters / 1e6:.1f} M parameters, {chosen.tokens} tokens, {chosen.threads} threads"
    show(chosen, figures, [table(title, ["batch", "same tokens", "ours tok/s", "theirs tok/s", "ratio"], rows)])


if __name__ == "__main__":
    sys.exit(main())
