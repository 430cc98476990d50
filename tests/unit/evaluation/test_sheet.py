"""A sheet shows every picture at its position, over white, row by row."""

import torch

from kiloword.evaluation.sheet import comparison, contact_sheet


def test_a_sheet_shows_every_picture_over_white():
    pixels = torch.full((3, 4, 2, 2), -1.0)
    pixels[1, :2], pixels[1, 3] = 1.0, 1.0
    sheet = contact_sheet(pixels, columns=2, gap=1)
    assert sheet.size == (7, 7)
    assert [sheet.getpixel(point) for point in ((1, 1), (4, 1), (1, 4))] == [(255,) * 3, (255, 255, 0), (255,) * 3]


def test_drawn_true_and_nearest_stand_side_by_side(tmp_path):
    colours = [torch.full((2, 4, 1, 1), value, dtype=torch.uint8) for value in (10, 20, 30)]
    for colour in colours:
        colour[:, 3] = 255
    sheet = comparison(*colours, path=tmp_path / "sheet.png", prompts_a_row=1)
    assert (tmp_path / "sheet.png").exists()
    for row in range(2):
        assert [sheet.getpixel((2 + 3 * column, 2 + 3 * row))[0] for column in range(3)] == [10, 20, 30]
