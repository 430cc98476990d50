"""`kiloword verify --model`: what a tokenizer keeps of pictures, in decibels and side by side.

Peak signal-to-noise ratio of the picture as its tokenizer's authors prepare it.
"""

import json
from pathlib import Path

from kiloword import checkpoint, published
from kiloword.cli.messages import say
from kiloword.cli.output import target, write_png
from kiloword.cli.panels import Panel, enlarged, sheet
from kiloword.engine import surgery
from kiloword.engine.fitting import fit, showable
from kiloword.pictures import read_picture
from kiloword.pixels import psnr
from kiloword.published.prepare import prepare


def rebuild(model: str, paths: list[Path], output: Path | None, as_json: bool) -> None:
    """Print the PSNR of each picture; write all beside their reconstructions into one PNG."""
    pictures = [read_picture(path) for path in paths]
    out = target(output, f"{Path(model).name} verified", 1).path(0)
    tokenizer, card = checkpoint.load_tokenizer(model)
    panels = []
    for path, picture in zip(paths, pictures, strict=True):
        if card.page:
            picture = prepare(picture, published.page(card.page).preparation)
        fitted = fit(tokenizer, picture)
        drawn = fitted.inside(surgery.draw(tokenizer, surgery.read(tokenizer, fitted), fitted.layout))
        true = fitted.inside(showable(fitted.pixels))
        decibels, size = float(psnr(drawn, true)), f"{true.shape[3]}x{true.shape[2]}"
        panels += [Panel(path.name, enlarged(true[0])), Panel(f"rebuilt, {decibels:.2f} dB", enlarged(drawn[0]))]
        facts = {"picture": str(path), "model": card.name, "size": size, "psnr": round(decibels, 3)}
        print(json.dumps(facts, ensure_ascii=False) if as_json else f"{path}  {size}  {decibels:.2f} dB")
    texts = {"Software": "kiloword", "model": card.name}
    write_png(out, sheet(f"pictures and what {card.name} keeps of them", panels, columns=2), texts)
    say(f"side by side: {out}")
