"""`kiloword orders`: every order as a picture of a table."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kiloword.cli import main
from kiloword.cli.orders import known
from kiloword.cli.orders_sheet import EDGE, KNOWN, UNKNOWN, table_of
from kiloword.orders.raster import PATHS
from kiloword.tokens import Layout, Schedule

PICTURES = Path(__file__).parents[2] / "docs" / "orders"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def facts(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    assert main(["orders", "draw", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", known())
@pytest.mark.parametrize("grid", ["4x4", "5x3", "1x1"])
def test_every_order_is_drawn(name: str, grid: str, capsys):
    values = facts(capsys, name, "--grid", grid)
    table = np.array(values["table"])
    assert values["path"] == f"order-{name}.png" and table.shape == (values["steps"] + 1, values["tokens"])
    assert table[0].all() and not table[-1].any() and (np.diff(table, axis=0) <= 0).all()
    assert values["grids"][-1] == [int(side) for side in grid.split("x")][::-1]
    with Image.open(values["path"]) as picture:
        assert picture.width > 300 and picture.height > 200
        assert picture.text["order"] == name  # pyright: ignore


def test_each_order_has_its_own_table(capsys):
    raster = np.array(facts(capsys, "raster")["table"])
    assert (raster == np.triu(np.ones((17, 16)))).all()
    spiral = facts(capsys, "raster-spiral")["table"]
    assert sorted(sum(row) for row in spiral) == list(range(17)) and spiral != raster.tolist()
    draft = facts(capsys, "draft", "--grid", "6x4")
    assert draft["grids"] == [[2, 3], [4, 6]] and draft["steps"] == draft["tokens"] == 30
    scales = facts(capsys, "next-scale", "--grid", "16x16")
    assert (scales["steps"], scales["tokens"]) == (10, 680)
    masked = facts(capsys, "masked", "--steps", 5, "--seed", 1)
    left = [sum(row) for row in masked["table"]]
    assert masked["steps"] == 5 and left == [16, 15, 12, 9, 4, 0]
    assert facts(capsys, "masked", "--steps", 5, "--seed", 2)["table"] != masked["table"]
    assert facts(capsys, "masked", "--steps", 5, "--seed", 1)["table"] == masked["table"]


def test_a_token_that_is_half_known_is_half_light():
    """Ramps, as those of diffusion, are tables, too."""
    import torch

    schedule = Schedule(torch.zeros(1, 2), torch.full((1, 2), 4.0))
    image = table_of(schedule.table()[0], Layout(((1, 2),)))
    pixels = np.asarray(image)
    high = (image.height - EDGE) // 5
    column = [pixels[EDGE + row * high + high // 2, EDGE + 8] for row in range(5)]
    assert np.abs(column[0] - np.array(UNKNOWN)).max() <= 1 and np.abs(column[4] - np.array(KNOWN)).max() <= 1
    assert np.abs(column[2] - (np.array(UNKNOWN) + np.array(KNOWN)) / 2).max() <= 1


def test_all_orders_are_listed_and_their_pictures_lie_in_the_docs(capsys):
    assert main(["orders", "list", "--json"]) == 0
    listed = [order["name"] for order in json.loads(capsys.readouterr().out)["orders"]]
    assert {f"raster-{path}" for path in PATHS if path != "rows"} <= set(listed)
    assert {"raster", "draft", "next-scale", "masked"} <= set(listed)
    assert main(["orders", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in listed)
    page = (PICTURES.parent / "idea.md").read_text(encoding="utf-8")
    for name in listed:
        assert f"orders/{name}.png" in page and (PICTURES / f"{name}.png").stat().st_size <= 30_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rastr",), "did you mean 'raster'?"),
        (("raster", "--grid", "four"), "write COLUMNSxROWS"),
        (("raster", "--grid", "0x4"), "at least one column and one row"),
        (("raster", "--grid", "100x100"), "10,000 tokens, more than can be seen"),
        (("next-scale", "--grid", "64x64"), "tokens, more than can be seen: at most 4,096"),
        (("raster", "--steps", "3"), "raster takes 16 steps for 16 tokens, not 3"),
        (("next-scale", "--steps", "3"), "one step a grid"),
        (("masked", "--steps", "17"), "masked takes 16 steps for 16 tokens, not 17"),
        (("masked", "--steps", "0"), "--steps is 0"),
        (("masked", "--seed", "-1"), "a seed is a whole number"),
        (("raster", "-o", "nowhere/a.png"), "there is no folder nowhere"),
        (("raster", "-o", "a.jpg"), "name it a.png"),
    ],
)
def test_mistakes_are_one_line(words, said, capsys):
    assert main(["orders", "draw", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1 and not list(Path().iterdir())


def test_no_plotting_library_is_imported():
    code = (
        "import sys; from kiloword.cli import main; main(['orders', 'draw', 'draft']); "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
