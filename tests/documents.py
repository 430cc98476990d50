"""Models that take any document, and random documents: texts and pictures of two sizes, given or predicted."""

from functools import cache

import torch
from hypothesis import strategies as st

import chat_template
import shared_vocab
import tiny
from kiloword import parts
from kiloword.model import ImageModel
from kiloword.tokens import Categorical, Layout, Picture, Text

SIZES = ((4, 2), (2, 3))  # rows and columns of tokens
REQUIRED = ("stream of text", "chat template")  # models whose pictures need a prompt


@cache
def model(name: str) -> ImageModel:
    """By how it reads texts and how it draws."""
    match name:
        case "prefix, raster":
            return tiny.model("shades", "rows", "categorical")
        case "prefix, codes":
            return tiny.model("single", "columns", "factorised")
        case "stream of text":
            return shared_vocab.model()
        case "chat template":
            return chat_template.model()
    torch.manual_seed(0)
    words = tiny.words()
    vocabulary = parts.CategoricalConfig(Categorical(words.build().space.size), tiny.WIDTH)
    text = parts.TextConfig(words, vocabulary, limit=8)
    prompt = parts.TextPrefixConfig(words, tiny.WIDTH)
    pictures, stack = {
        "prefix, masked": ((tiny.SHADES, parts.MaskedConfig(3), tiny.HEADS["categorical"]), tiny.stack()),
        "prefix, denoised": ((tiny.vectors(), parts.DenoiseConfig(3), tiny.velocity()), tiny.stack()),
        "prefix, denoised and modulated": (
            (tiny.vectors(), parts.DenoiseConfig(3), tiny.velocity(parts.ModulatingLevelConfig())), tiny.modulated(),
        ),
    }[name]  # fmt: skip
    built = parts.ImageModelConfig(parts.ModalityConfig(*pictures), prompt, stack, text).build()
    return tiny.awake(built).eval()


NAMES = (
    "prefix, raster", "prefix, codes", "prefix, masked", "prefix, denoised", "prefix, denoised and modulated",
    "stream of text", "chat template",
)  # fmt: skip


def picture(name: str, size: tuple[int, int], seed: int, predict: bool) -> Picture:
    """Of random tokens."""
    layout = Layout((size,))
    return Picture(layout, tiny.tokens_of(model(name).picture.tokenizer.space, layout, 1, seed)[0], predict)


@st.composite
def plans(draw: st.DrawFn, name: str, longest: int = 4) -> list[tuple]:
    """Plans of documents: one to `longest` segments, the last of which is predicted; a picture that needs a prompt
    follows one."""
    plan: list[tuple] = []
    for index in reversed(range(draw(st.integers(1, longest)))):
        predict = index == 0 or draw(st.booleans())
        if draw(st.booleans()):
            plan.append((draw(st.sampled_from([*tiny.TEXTS, ""] if predict else [*tiny.TEXTS, "", None])), predict))
            continue
        if predict and name in REQUIRED and not (plan and len(plan[-1]) == 2 and not plan[-1][1]):
            plan.append((draw(st.sampled_from([*tiny.TEXTS, None])), False))
        plan.append((draw(st.sampled_from(SIZES)), draw(st.integers(0, 99)), predict))
    return plan


def built(name: str, plan: list[tuple]) -> list[Text | Picture]:
    """A document of a plan's segments."""
    return [Text(*part) if len(part) == 2 else picture(name, *part) for part in plan]


def text(segment: Text | Picture) -> bool:
    return isinstance(segment, Text)


def other(name: str, segment: Text | Picture) -> Text | Picture:
    """Another segment of the same kind and length, or nearly so."""
    if isinstance(segment, Text):
        return Text("a pear" if segment.words != "a pear" else "blue house", segment.predict)
    return picture(name, segment.layout.sizes[0], 1234, segment.predict)
