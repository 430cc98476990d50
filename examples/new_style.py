"""A style that a model has never seen, learned from a hundred pictures: python examples/new_style.py --help

`pictures` writes a hundred icons of one style into a folder, captioned as a user might caption their own. `judge` asks
a model from before fine-tuning and one from after it for those subjects and for others, in that style's words, and says
whether what comes out looks like the right subject, and like the style at all.
"""

import argparse
import csv
from pathlib import Path

import torch

import kiloword
from kiloword.data import shards
from kiloword.data.user_cache import ensure_emoji
from kiloword.evaluation.feature_spaces import features
from kiloword.evaluation.image_set import ImageSet, key_hash, load_image_set
from kiloword.evaluation.session import Session
from kiloword.evaluation.sheet import comparison
from kiloword.evaluation.subject import Gallery

WORDING = "{} in my style"


def shuffled(image_set: ImageSet, style: str) -> list[int]:
    """The style's trained pictures without skin tones, one a subject, in an order that depends on their keys alone."""
    records = image_set.metadata
    indices = image_set.matching(style=style, split="train")
    first: dict[str, int] = {}
    for index in sorted(indices, key=lambda index: key_hash(0, records[index]["key"])):
        if not records[index]["skin_tones"]:
            first.setdefault(records[index]["base"], index)
    return list(first.values())


def write(folder: Path, style: str, count: int) -> None:
    """The first `count` pictures as PNG files, and what they show in metadata.csv."""
    data = ensure_emoji()
    image_set = load_image_set(data, (64, 64))
    chosen = [image_set.metadata[index] for index in shuffled(image_set, style)[:count]]
    records = {record["key"]: record for record in chosen}
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("file_name", "text"))
        for sample in shards.read(data):
            record = records.get(sample.metadata["key"])
            if record is not None:
                name = f"{record['code']}.png"
                sample.picture.save(folder / name)
                table.writerow((name, WORDING.format(record["caption"])))


def judge(before: str, after: str, style: str, count: int, sheet: Path) -> None:
    """The share of right subjects among the style's pictures, and of pictures whose nearest one is of that style."""
    image_set = load_image_set(ensure_emoji(), (64, 64))
    gallery, indices = Gallery(image_set), shuffled(image_set, style)
    columns = []
    for name, model in (("before", before), ("after", after)):
        session = Session(kiloword.load(model))
        for kind, chosen in (("the hundred", indices[:count]), ("others", indices[count : 2 * count])):
            prompts = [WORDING.format(image_set.metadata[index]["caption"]) for index in chosen]
            drawn, _ = session.drawn(prompts, [key_hash(0, image_set.metadata[index]["key"]) for index in chosen])
            hits = {key: float(hit.float().mean()) for key, hit in gallery.hits(chosen, drawn).items()}
            like = sum(looks_like(gallery, picture) == style for picture in drawn) / len(drawn)
            print(f"{name}, {kind}: top 1 {hits['top1']:.0%}, top 5 {hits['top5']:.0%}, in the style {like:.0%}")
            columns.append((drawn[:24], chosen[:24]))
    halves = [(columns[k][0], columns[k + 2][0], image_set.pixels[columns[k][1]]) for k in (0, 1)]
    comparison(*(torch.cat(three) for three in zip(*halves, strict=True)), path=sheet)


def looks_like(gallery: Gallery, picture: torch.Tensor) -> str:
    """The style of the picture that looks most like this one, whatever its style."""
    styles = list(gallery.by_style)
    nearest = [gallery.nearest(picture[None], [style], k=1)[0][0] for style in styles]
    target = gallery.features["pixels"][nearest]
    return styles[int((target - features("pixels", picture[None])).square().sum(1).argmin())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", default="twemoji")
    parser.add_argument("--count", type=int, default=100)
    orders = parser.add_subparsers(dest="order", required=True)
    orders.add_parser("pictures").add_argument("folder", type=Path)
    judged = orders.add_parser("judge")
    judged.add_argument("before")
    judged.add_argument("after")
    judged.add_argument("--sheet", type=Path, default=Path("new-style.png"))
    options = parser.parse_args()
    if options.order == "pictures":
        write(options.folder, options.style, options.count)
    else:
        judge(options.before, options.after, options.style, options.count, options.sheet)


if __name__ == "__main__":
    main()
