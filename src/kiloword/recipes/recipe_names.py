"""The names of all recipes, without loading any of them.

Source: defined here; each recipe cites its paper.
"""

MODELS = {
    "dalle-64": "kiloword.recipes.dalle:dalle_64",
    "emoji-64": "kiloword.recipes.emoji:emoji_64",
    "transfusion-64": "kiloword.recipes.transfusion:transfusion_64",
}
DECODERS = {"decoder-128": "kiloword.recipes.decoders:decoder_128"}
FAMILIES = (
    "emoji-glm", "emoji-igpt", "emoji-infinity", "emoji-llamagen", "emoji-mar", "emoji-metamorph", "emoji-rar",
    "emoji-unitok",
    "emoji-var",
)  # fmt: skip
SORTS = ("bsq", "bsq-scales", "fsq", "fsq-4", "gumbel", "kl", "multicode", "residual", "rq", "vq")  # of quantizers
TOKENIZERS = ("tokenizer-palette", *(f"tokenizer-{sort}{network}" for sort in SORTS for network in ("", "-cnn")))


def names() -> list[str]:
    """The recipes that can be carried out."""
    return sorted((*MODELS, *DECODERS, *FAMILIES, *TOKENIZERS))
