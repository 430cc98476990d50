"""The pictures of a report: names do not cover each other, and every line is on the sheet."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from kiloword.studies.report_pictures import MARGIN, columns, draw_plot, draw_sheet, heights, keep_strip, read_strip


def test_nearly_equal_numbers_make_one_column():
    assert columns([638, 640, 1300, 2304, 2551, 2560]) == [[638, 640], [1300], [2304, 2551, 2560]]
    assert columns([]) == []


def test_names_of_one_column_stand_above_each_other():
    points = [(640, 20.1), (638, 20.0), (2560, 20.0), (640, 25.0), (5000, 30.0)]
    found = heights(points)
    assert found[1:] == [20.0, 20.0, 25.0, 30.0] and found[0] == pytest.approx(20.35)


def test_a_plot_of_all_sorts_and_of_one(tmp_path: Path):
    lines = [{"name": "vq", "bits": 640.0, "psnr": 20.0}, {"name": "kl", "bits": None, "psnr": 22.0}]
    lines.append({"name": "fsq-cnn", "bits": 638.0, "psnr": 19.0})
    for number, some in enumerate((lines, lines[1:2])):
        draw_plot(tmp_path / f"{number}.png", some, some)
        with Image.open(tmp_path / f"{number}.png") as plot:
            assert len(plot.convert("RGB").getcolors(2**20) or []) > 20
    assert not list(tmp_path.glob(".*"))


def test_a_sheet_has_a_row_a_line_and_names_on_the_left(tmp_path: Path):
    green = torch.zeros(3, 4, 8, 8, dtype=torch.uint8)
    green[:, 1], green[:, 3] = 255, 255
    draw_sheet(tmp_path / "sheet.png", {"originals": green, "vq": green // 2})
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (MARGIN + 3 * 10 + 2, 2 * 12)
        assert sheet.getpixel((MARGIN + 5, 6)) == (0, 255, 0) != sheet.getpixel((MARGIN + 5, 18))
        assert min(sheet.crop((0, 0, MARGIN, 12)).convert("L").get_flattened_data()) < 100


def test_a_strip_keeps_every_number_even_where_nothing_is_seen(tmp_path: Path):
    pictures = torch.randint(0, 256, (3, 4, 8, 8), dtype=torch.uint8)
    pictures[0, 3] = 0
    keep_strip(tmp_path / "strip.webp", pictures)
    assert torch.equal(read_strip(tmp_path / "strip.webp"), pictures)
    assert [path.name for path in tmp_path.iterdir()] == ["strip.webp"]
