"""The words of a model: byte-pair merges trained on the texts of its pictures, and put into its parts.

Sennrich et al. 2015 (byte-pair encoding).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from kiloword.data import dialogue
from kiloword.heads.shared_vocab import SharedVocabConfig
from kiloword.parts import ImageModelConfig
from kiloword.recipes.recipe import Recipe
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokens import Categorical


def with_vocabulary(recipe: Recipe, metadata: Iterable[dict[str, Any]]) -> ImageModelConfig:
    """The model's parts with byte-pair merges trained on the texts of training pictures."""
    said = (text for m in metadata if m.get("split", "train") == "train" for text in dialogue.texts(m))
    return with_merges(recipe.model, BPEConfig.train(said, recipe.data.vocabulary))


def with_merges(model: ImageModelConfig, merges: BPEConfig) -> ImageModelConfig:
    """The model's parts with these text merges."""
    model, text = replace(model, prompt=replace(model.prompt, text=merges)), model.text
    if text is None:
        return model
    space = Categorical(merges.build().space.size)
    if isinstance(text.head, SharedVocabConfig):
        head = replace(text.head, text=space)
        model = replace(model, picture=replace(model.picture, head=head))
    else:
        head = replace(text.head, space=space)
    return replace(model, text=replace(text, tokenizer=merges, head=head))


def check_lengths(model: ImageModelConfig, metadata: Iterable[dict[str, Any]], describes: bool) -> None:
    """Raise ValueError if captions are longer than the model reads, or writes if it `describes`, and say how many."""
    merges, limit = getattr(model.prompt, "text", None), getattr(model.prompt, "limit", None)
    if not isinstance(merges, BPEConfig) or limit is None:
        return
    words = merges.build()
    if describes and model.text is not None:
        limit = min(limit, model.text.limit)
    count, longest = 0, 0
    for said in map(dialogue.answer, metadata):
        try:
            words.encode([said], limit)
        except ValueError:
            count, longest = count + 1, max(longest, len(said))
    if count:
        raise ValueError(
            f"{count} captions are longer than the {limit} text tokens that this model reads, the longest has "
            f"{longest} characters: shorten them, or train a model that reads more (--set model.prompt.limit=... "
            "--set model.text.limit=... --set task.capacity=...)"
        )
