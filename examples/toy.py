"""The whole of kiloword on a tiny world, in about a minute on a CPU: python examples/toy.py

Pictures of coloured shapes become tokens, one transformer learns both to draw what words say and to say what a picture
shows, and is then asked for colours and shapes that it has never seen together. Writes toy.png: one row a prompt, on
the left an early draft, on the right the finished picture.
"""

import itertools
import math
import random
import time

import torch
from PIL import Image, ImageDraw
from torch.nn.functional import interpolate

from kiloword.document import to_describe, to_learn
from kiloword.engine.card import Card
from kiloword.engine.cpu.optimise import optimise_for_cpu
from kiloword.engine.drive import write
from kiloword.engine.painter import Painter
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.factorised import FactorisedConfig
from kiloword.heads.head import Sampling
from kiloword.noise import Seeded
from kiloword.orders.draft import DraftConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.pixels import composite, from_image
from kiloword.prompts.text_prefix import TextPrefixConfig
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokenizers.vit import ViTConfig
from kiloword.tokens import Categorical, Codes
from kiloword.training.optimiser import MuonConfig, schedule
from kiloword.transformer import AttentionConfig, RMSNormConfig, RotaryConfig, StackConfig, SwiGLUConfig

# 1. The world: 32x32 pixels, RGBA.

SIDE = 32
COLOURS = {
    "red": "#e03030", "green": "#30b050", "blue": "#3060e0", "yellow": "#f0d020", "black": "#303030", "pink": "#f080b0",
}  # fmt: skip
SHAPES = {  # corners, from -1 to 1
    "circle": [(math.cos(turn / 16 * math.pi), math.sin(turn / 16 * math.pi)) for turn in range(32)],
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle": [(0, -1), (1, 1), (-1, 1)],
    "cross": [(a / 3, b / 3) for a, b in (
        (-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1)
    )],
}  # fmt: skip
PLACES = {"": 0, " at the left": -7, " at the right": 7}
NEVER_SEEN = {("red", "cross"), ("green", "triangle"), ("blue", "square"), ("yellow", "circle")}
WORLD = list(itertools.product(COLOURS, SHAPES, PLACES))


def caption(colour: str, shape: str, place: str) -> str:
    return f"a {colour} {shape}{place}"


def picture(colour: str, shape: str, place: str, chance: random.Random) -> Image.Image:
    """A picture of the caption; size and place vary a little. Drawn four times larger, for smooth edges."""
    size = 4 * chance.uniform(7, 8)
    x, y = 4 * (SIDE / 2 + PLACES[place] + chance.uniform(-1, 1)), 4 * (SIDE / 2 + chance.uniform(-2, 2))
    image = Image.new("RGBA", (4 * SIDE, 4 * SIDE))
    ImageDraw.Draw(image).polygon([(x + size * a, y + size * b) for a, b in SHAPES[shape]], fill=COLOURS[colour])
    return image.convert("RGBa").resize((SIDE, SIDE), Image.Resampling.BOX).convert("RGBA")


def pictures(things: list[tuple[str, str, str]], each: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    """Pixels in [-1, 1] with premultiplied alpha [b, 4, 32, 32], and captions."""
    chance = random.Random(seed)
    chosen = [thing for thing in things for _ in range(each)]
    return torch.stack([from_image(picture(*thing, chance)) for thing in chosen]), [caption(*thing) for thing in chosen]


# 2. The model: a modality is a tokenizer x an order x a head.

WIDTH = 96
LEVELS = (8, 8, 8, 8, 8, 8)


def stack(width: int, depth: int, **more) -> StackConfig:
    attention = AttentionConfig(width // 32, query_norm=RMSNormConfig())
    return StackConfig(width, depth, attention, SwiGLUConfig(2 * width), **more)


def model_config(captions: list[str]) -> ImageModelConfig:
    """16 tokens of 8x8 pixels each, after a draft of 4 tokens; words as byte pairs."""
    words = BPEConfig.train(captions, size=300)
    network = ViTConfig(fine=stack(32, 1), coarse=stack(96, 1), patch=4, merge=2)
    return ImageModelConfig(
        picture=ModalityConfig(
            tokenizer=PyramidConfig(AutoencoderConfig(network, network, FSQConfig(LEVELS))),
            order=DraftConfig(),
            head=FactorisedConfig(Codes(LEVELS), WIDTH, positions=20),
        ),
        prompt=TextPrefixConfig(words, WIDTH),
        transformer=stack(WIDTH, 3, position=RotaryConfig((8, 8, 8, 8))),
        text=TextConfig(words, CategoricalConfig(Categorical(words.build().space.size), WIDTH), limit=12),
    )


# 3. Learning: first pictures to tokens and back, then tokens from words and words from tokens.


def teach(name: str, module: torch.nn.Module, iterations: int, rate: float, loss_of) -> None:
    """Plain training: Muon for the matrices of the transformers, AdamW for the rest; warm-up and cosine."""
    optimisers, started = MuonConfig(rate).build(module), time.perf_counter()
    for iteration in range(iterations):
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = rate * schedule(iteration, iterations, warmup=20)
        loss = loss_of()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if (iteration + 1) % 100 == 0:
            print(f"{name} {iteration + 1:4d}/{iterations}  loss {loss:.4f}  {time.perf_counter() - started:5.1f} s")


def reconstruction_loss(tokenizer, pixels: torch.Tensor, layout) -> torch.Tensor:
    """Squared error of whole pictures, of half-size drafts, and of pictures whose last tokens are not known yet."""
    total = torch.zeros(())
    for scale, size in enumerate((SIDE // 2, SIDE)):
        seen = interpolate(pixels, size=(size, size), mode="area")
        grid = tokenizer.grid(layout, scale)
        latent = tokenizer.tokenizer.encode(seen, grid).latent
        stop = torch.randint(1, 8 * grid.count, (len(pixels), 1))
        drawn = tokenizer.tokenizer.render(latent, grid, torch.arange(grid.count) < stop)
        total = total + (drawn - seen).square().mean()
    return total


def both_ways_loss(model, tokens: torch.Tensor, captions: list[str], layout) -> torch.Tensor:
    """Draw 24 captions, a tenth of them left out (that is what guidance compares with), and describe 8 pictures."""
    indices = torch.randint(len(tokens), (32,)).tolist()
    draw, describe = indices[:24], indices[24:]
    prompts = [captions[index] if random.random() > 0.1 else None for index in draw]
    documents = to_learn(prompts, layout, tokens[draw])
    documents += to_describe(tokens[describe], layout, [captions[index] for index in describe])
    losses = model.loss(documents)
    return losses["picture"].mean() + losses["text"].masked().sum(1).mean() / 4


# 4. Asking for what it has never seen.


def nearest_captions(drawn: torch.Tensor) -> list[str]:
    """What each picture looks most like, among 20 pictures of everything in the world, over white."""
    known, captions = pictures(WORLD, each=20, seed=2)
    distance = torch.cdist(composite(drawn).flatten(1), composite(known).flatten(1))
    return [captions[index] for index in distance.argmin(1).tolist()]


def share(found: list[str], true: list[str]) -> float:
    return sum(a == b for a, b in zip(found, true, strict=True)) / len(found)


def ask(painter: Painter, things: list[tuple[str, str, str]], name: str) -> None:
    pixels, captions = pictures(things, each=2, seed=3)
    drawn = torch.stack([from_image(painter.generate(text, seed=seed)[0]) for seed, text in enumerate(captions)])
    layout = painter.model.picture.tokenizer.layout(SIDE, SIDE)
    with torch.no_grad():
        tokens = painter.model.picture.tokenizer.encode(pixels, layout).shown
        documents = to_describe(tokens, layout)
        descriptions = write(painter.model, documents, Sampling(temperature=0), Seeded(range(len(pixels))))
    right, described = share(nearest_captions(drawn), captions), share(descriptions, captions)
    print(f"{name:10s}  drawn as asked {right:4.0%}   described rightly {described:4.0%}   of {len(captions)}")


def strip(painter: Painter, prompts: list[str]) -> Image.Image:
    """One row a prompt: five previews, then the picture, three times enlarged over white."""
    rows = [[preview.image for preview in painter.stream(prompt, partials=5, seed=1)] for prompt in prompts]
    side = 3 * SIDE + 4
    sheet = Image.new("RGBA", (side * len(rows[0]), side * len(rows)), "white")
    for y, x in itertools.product(range(len(rows)), range(len(rows[0]))):
        sheet.alpha_composite(rows[y][x].resize((3 * SIDE, 3 * SIDE), Image.Resampling.NEAREST), (x * side, y * side))
    return sheet


def main() -> None:
    torch.manual_seed(0)
    random.seed(0)
    seen = [thing for thing in WORLD if thing[:2] not in NEVER_SEEN]
    unseen = [thing for thing in WORLD if thing[:2] in NEVER_SEEN]
    pixels, captions = pictures(seen, each=60, seed=1)
    model = model_config(captions).build()
    tokenizer = model.picture.tokenizer
    layout = tokenizer.layout(SIDE, SIDE)
    print(f"{len(pixels)} pictures, {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")

    def some() -> torch.Tensor:
        return pixels[torch.randint(len(pixels), (16,))]

    teach("tokenizer", tokenizer, 700, 1e-2, lambda: reconstruction_loss(tokenizer, some(), layout))
    with torch.no_grad():
        tokens = torch.cat([tokenizer.encode(part, layout).target for part in pixels.split(256)])
    teach("model", model, 800, 1e-2, lambda: both_ways_loss(model, tokens, captions, layout))

    painter = Painter(optimise_for_cpu(model), Card("toy", ((SIDE, SIDE),), guidance=3.0, temperature=0.6))
    ask(painter, seen, "seen")
    ask(painter, unseen, "never seen")
    strip(painter, [caption(*thing) for thing in unseen[::2]]).save("toy.png")
    print("toy.png shows how pictures come about that were never seen")


if __name__ == "__main__":
    main()
