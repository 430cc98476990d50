"""Carrying out a recipe in a folder: pictures, tokenizer, tokens, model, checkpoint; every stage resumes."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from kiloword import checkpoint, parts
from kiloword.datasets import shards
from kiloword.datasets.emoji import wording
from kiloword.engine.card import Card
from kiloword.evaluation.image_set import draw_of
from kiloword.heads.shared_vocab import SharedVocabConfig
from kiloword.model import ImageModel
from kiloword.orders.denoise import DenoiseConfig
from kiloword.parts import ImageModelConfig
from kiloword.recipes.recipe import Recipe
from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.directions import DirectionsConfig
from kiloword.tokenizers.judge import ContrastiveJudge, JudgeConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokenizers.tokenizer import TokenizerConfig
from kiloword.tokens import Categorical
from kiloword.training.augmentation import shrink, to_bytes
from kiloword.training.loop import Run
from kiloword.training.precision import multiplies_bfloat16
from kiloword.training.tasks.contrastive_task import ContrastiveTask
from kiloword.training.tasks.image_model_task import Captions, ImageModelTask, versions_and_shown
from kiloword.training.tasks.tokenizer_task import TokenizerTask

LATENTS = 200_000  # that a quantizer is fitted to

Report = Callable[[str, int, int, dict[str, float]], None]  # stage, iteration, iterations, figures


@dataclass(frozen=True)
class Pictures:
    """Pictures as bytes at twice the recipe's side, what is said of them, their weights, and which are held out."""

    values: Tensor
    metadata: list[dict]
    weights: Tensor
    held_out: Tensor


def load_pictures(
    folder: Path, side: int, toned: float = 1.0, leave_out: tuple[str, ...] = (), most: int = 0
) -> Pictures:
    """All pictures of a shard folder, each weighed so that a subject's skin tones together weigh `toned`.

    With `most`, at most so many to learn and so many held out, none with a skin tone; their keys alone decide.
    """
    few = None
    if most:
        rows = [row for row in shards.load_metadata(folder) if row.get("style") not in leave_out]
        few = {row["key"] for split in plain_rows(rows) for row in split[:most]}
    values, metadata = [], []
    for sample in shards.read(folder):
        if sample.metadata.get("style") not in leave_out and (few is None or sample.key in few):
            values.append(to_bytes(sample.picture, 2 * side))
            metadata.append(sample.metadata)
    if not values:
        raise ValueError(f"{folder} holds no pictures: build them with `kiloword data build emoji`")
    tones = Counter((m.get("base"), m.get("style")) for m in metadata if m.get("skin_tones"))
    weights = [toned / tones[m["base"], m["style"]] if m.get("skin_tones") else 1.0 for m in metadata]
    trained = torch.tensor([m.get("split", "train") == "train" for m in metadata])
    plain = torch.tensor([not m.get("skin_tones") for m in metadata])
    held_out = (~trained & plain).nonzero()[:, 0]
    return Pictures(torch.stack(values), metadata, torch.tensor(weights) * trained, held_out)


def plain_rows(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    """Those to learn and those held out, none with a skin tone, in an order that their keys alone decide."""
    plain = sorted((row for row in rows if not row.get("skin_tones")), key=lambda row: draw_of(0, row["key"]))
    known = [row for row in plain if row.get("split", "train") == "train"]
    return known, [row for row in plain if row.get("split", "train") != "train"]


def train_recipe(
    recipe: Recipe, data: Path, out: Path, report: Report, start: str | None = None, tokenizer: str | None = None
) -> Path:
    """Everything from pictures to a checkpoint folder, which is returned.

    `start` names a checkpoint to go on with: its parts and weights stand in for the recipe's own, and its tokenizer
    is not taught again. `tokenizer` names one that stands in for the recipe's own, and is not taught again either.
    """
    if tokenizer is not None:
        recipe = with_tokenizer(recipe, checkpoint.read_tokenizer_config(checkpoint.find(tokenizer))[0])
    out.mkdir(parents=True, exist_ok=True)
    settings = {"recipe": recipe.name, "model": parts.to_json(recipe.model), "training": asdict(recipe.training)}
    (out / "recipe.json").write_text(json.dumps(settings, indent=1) + "\n")
    chosen = recipe.data
    pictures = load_pictures(data, chosen.side, chosen.toned, chosen.leave_out, chosen.pictures)
    torch.manual_seed(recipe.training.seed)
    if start is None:
        config = with_vocabulary(recipe, pictures.metadata)
        model = parts.build(config)
        if tokenizer is None:
            train_tokenizer(model, recipe, pictures, out, report)
        else:
            known, _ = checkpoint.load_tokenizer(tokenizer)
            picture_tokenizer(model).eval().load_state_dict(inner(known).state_dict())
    else:
        source = checkpoint.find(start)
        config, _ = checkpoint.read_config(source)
        model = parts.build(config)
        checkpoint.put_weights(model, source / checkpoint.WEIGHTS)
    train_model(model, recipe, pictures, out, report)
    train_decoder(model, recipe, pictures, out, report)
    judge = None if start is None else checkpoint.load_judge(checkpoint.find(start))
    if recipe.judge is not None and judge is None:
        judge = taught_judge(recipe.judge, config, recipe, pictures, out, report)
    folder = out / "checkpoint"
    checkpoint.save(folder, model, card(recipe, model.pixel_decoder.scale), config, judge=judge)
    return folder


def with_tokenizer(recipe: Recipe, tokenizer: TokenizerConfig) -> Recipe:
    """The recipe with another picture tokenizer, in what is around its own. Raises ValueError for other tokens."""
    own, tokenizer = recipe.model.picture.tokenizer, inner(tokenizer)
    around = replace(own, tokenizer=tokenizer) if isinstance(own, PyramidConfig | DirectionsConfig) else tokenizer
    with torch.device("meta"):
        known, wanted = around.build(), own.build()
    if (known.space, known.stride, known.channels) != (wanted.space, wanted.stride, wanted.channels):
        facts = [f"{t.space} of {t.stride}x{t.stride} pixels in {t.channels} channels" for t in (known, wanted)]
        raise ValueError(f"this tokenizer gives {facts[0]}, {recipe.name} is made for {facts[1]}")
    return replace(recipe, model=replace(recipe.model, picture=replace(recipe.model.picture, tokenizer=around)))


def with_vocabulary(recipe: Recipe, metadata: list[dict]) -> ImageModelConfig:
    """The model's parts with text merges learned from the captions of what is trained."""
    said = (text for m in metadata if m.get("split", "train") == "train" for text in wording.texts(m))
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


def fabric() -> Fabric:
    """One device, and the faster of its number formats."""
    return Fabric(accelerator="auto", devices=1, precision="bf16-mixed" if multiplies_bfloat16() else "32-true")


def train_tokenizer(model: ImageModel, recipe: Recipe, pictures: Pictures, out: Path, report: Report) -> None:
    autoencoder = picture_tokenizer(model)
    if autoencoder.quantizer.fits_at_once:
        autoencoder.quantizer.fit(latents(autoencoder, pictures, recipe.data.side))
        return
    training = recipe.tokenizer_training
    task = TokenizerTask(
        autoencoder, pictures.values, pictures.weights, pictures.held_out, recipe.reconstruction,
        iterations=training.iterations,
    )  # fmt: skip
    finish(Run(task, training, out / "tokenizer", fabric()), "tokenizer", report)


@torch.no_grad()
def latents(tokenizer: Autoencoder, pictures: Pictures, side: int) -> Tensor:
    """Latents [p, c] of places all over the pictures that are learned."""
    chosen = pictures.values[pictures.weights > 0]
    layout = tokenizer.layout(side, side)
    chosen = chosen[:: max(1, len(chosen) * layout.count // LATENTS)]
    found = [tokenizer.encoder(shrink(batch, side), layout).movedim(1, -1).flatten(0, 2) for batch in chosen.split(256)]
    return torch.cat(found)


def train_model(model: ImageModel, recipe: Recipe, pictures: Pictures, out: Path, report: Report) -> None:
    task = image_model_task(model, recipe, pictures, out / "tokens.npy")
    if recipe.task.hard:
        task.weights = task.weights * cached_hardness(task, out / "hardness.npy", report) ** recipe.task.hard
    finish(Run(task, recipe.training, out / "model", fabric()), "model", report)


def image_model_task(model: ImageModel, recipe: Recipe, pictures: Pictures, path: Path) -> ImageModelTask:
    """What a recipe teaches a model; `path` (.npy) keeps the tokens of its tokenizer."""
    tokenizer = model.picture.tokenizer
    tokens, shown = cached_tokens(model, pictures.values, recipe.data.side, recipe.data.versions, path)
    layout = tokenizer.layout(recipe.data.side, recipe.data.side)
    captions, config = captions_of(pictures), recipe.task
    return ImageModelTask(model, layout, tokens, captions, pictures.weights, pictures.held_out, config, shown)


def train_decoder(model: ImageModel, recipe: Recipe, pictures: Pictures, out: Path, report: Report) -> None:
    """Go on with the decoder alone, whole pictures mostly: the encoder, and so every token, stays what it is."""
    if recipe.decoder_training is None:
        return
    autoencoder = picture_tokenizer(model)
    autoencoder.requires_grad_(True)
    autoencoder.encoder.requires_grad_(False)
    config = replace(recipe.reconstruction, nested=0.1, masked=0.1)
    task = TokenizerTask(autoencoder, pictures.values, pictures.weights, pictures.held_out, config)
    finish(Run(task, recipe.decoder_training, out / "decoder", fabric()), "decoder", report)


def captions_of(pictures: Pictures) -> Captions:
    """The many ways to ask for a picture, and the one answer."""
    return Captions(
        ask=lambda row, chance: wording.ask(pictures.metadata[row], chance),
        answer=lambda row: wording.answer(pictures.metadata[row]),
    )


def taught_judge(
    judge: JudgeConfig, model: ImageModelConfig, recipe: Recipe, pictures: Pictures, out: Path, report: Report
) -> ContrastiveJudge:
    """A judge with the words of the model, taught which tokens and texts belong together."""
    words = getattr(model.prompt, "text", None)
    if not isinstance(words, BPEConfig):
        raise ValueError(f"a judge reads what {recipe.name} is asked for in words of its own, and it has none")
    torch.manual_seed(recipe.judge_training.seed)
    module = replace(judge, words=words).build()
    tokens = torch.from_numpy(np.load(out / "tokens.npy"))
    task = ContrastiveTask(module, tokens, captions_of(pictures), pictures.weights, pictures.held_out)
    finish(Run(task, recipe.judge_training, out / "judge", fabric()), "judge", report)
    return module.cpu()


def picture_tokenizer(model: ImageModel) -> Autoencoder:
    """The autoencoder itself, out of the pyramid that wraps it."""
    return cast(Autoencoder, inner(model.picture.tokenizer))


def inner(tokenizer: Any) -> Any:
    """A tokenizer, or its settings, out of what wraps it."""
    return getattr(tokenizer, "tokenizer", tokenizer)


def finish(run: Run, stage: str, report: Report) -> None:
    """Train to the end and leave the averaged weights in the module."""
    run.train(lambda iteration, figures: report(stage, iteration, run.config.iterations, figures))
    run.module.load_state_dict(run.average)
    run.module.eval()


def cached_tokens(
    model: ImageModel, values: Tensor, side: int, count: int, path: Path
) -> tuple[Tensor, Tensor | None]:
    """Token versions of all pictures, made once, and what is shown of them if that is not the same."""
    beside = path.with_name("shown.npy")
    if not path.exists():
        target, shown = versions_and_shown(model, values, side, count)
        if not torch.equal(target, shown):
            keep(beside, shown)
        keep(path, target)
    return torch.from_numpy(np.load(path)), torch.from_numpy(np.load(beside)) if beside.exists() else None


def cached_hardness(task: ImageModelTask, path: Path, report: Report) -> Tensor:
    """How hard every picture is for a model that has learned nothing yet in this run, found once."""
    if not path.exists():
        keep(path, task.hardness(lambda done, count: report("hardness", done, count, {})))
    return torch.from_numpy(np.load(path))


def keep(path: Path, numbers: Tensor) -> None:
    """Written as a whole or not at all."""
    temporary = path.with_name(path.name + ".part.npy")
    np.save(temporary, numbers.numpy())
    temporary.replace(path)


def card(recipe: Recipe, scale: int = 1) -> Card:
    """What a user has to know of the recipe's model: one that never drew without a prompt is not guided.

    A model that was there before may have a decoder, which draws `scale` times as large.
    """
    side, guidance = scale * recipe.data.side, 3.0 if recipe.task.null else 1.0
    denoises = isinstance(recipe.model.picture.order, DenoiseConfig)  # from noise as loud as what it has learned from
    styles = {style: phrase for style, phrase in wording.PHRASES.items() if style not in recipe.data.leave_out}
    return Card(
        recipe.name, ((side, side),), styles, guidance=guidance, temperature=1.0 if denoises else 0.5,
        licence="Apache-2.0; trained on pictures under MIT, Apache-2.0 and CC-BY-4.0 (see NOTICE)", about=recipe.about,
    )  # fmt: skip
